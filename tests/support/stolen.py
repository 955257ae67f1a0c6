"""A running system's service in the hands of a thief: its database login, its NATS user, its certificate, its files."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import grpc
import nats
import pytest
from google.protobuf.descriptor import ServiceDescriptor
from nats.aio.client import Client
from nats.js.errors import ServiceUnavailableError

from infra.local import services
from infra.local.certificates import Authority
from infra.local.nats import password_file
from infra.local.ports import LOOPBACK
from infra.local.postgres import Postgres
from infra.local.system import System
from infra.migrate import CATEGORIES, EVENTS
from protos.stagedoor.identity.v1.identity_pb2 import DESCRIPTOR as IDENTITY
from protos.stagedoor.ledger.v1.ledger_pb2 import DESCRIPTOR as LEDGER
from protos.stagedoor.registry.v1.registry_pb2 import DESCRIPTOR as REGISTRY
from protos.stagedoor.registry.v1.system_pb2 import DESCRIPTOR as SYSTEM
from protos.stagedoor.tokens.v1.tokens_pb2 import DESCRIPTOR as TOKENS
from shared.errors import Refusal
from shared.ids import new_command_id, new_id
from shared.keys import MasterKey
from shared.log.append import Append, Context
from shared.log.event import Catalogue, Event
from shared.log.group_commit import AppendFailed
from shared.log.log import Log
from shared.rpc.client import channel, translate
from shared.rpc.tls import Tls
from tests.support.permissions import RefusedError, consume, refused, settled

SERVED: Mapping[str, Sequence[ServiceDescriptor]] = {
    "registry": (REGISTRY.services_by_name["Registry"], SYSTEM.services_by_name["SystemApplications"]),
    "identity": (IDENTITY.services_by_name["Identity"],),
    "token_issuer": (TOKENS.services_by_name["Authorization"], TOKENS.services_by_name["Tokens"]),
    "ledger": (LEDGER.services_by_name["Ledger"],),
}
"""The gRPC services of each service, but for validation, which everybody with a certificate may ask."""


class Thief:
    """Holds what one service holds. `outside`: a resource server of another team, which has no database login."""

    def __init__(self, system: System, name: str, stack: AsyncExitStack, *, outside: bool = False) -> None:
        self.system = system
        self.name = name
        self.outside = outside
        self._stack = stack

    # The database

    @property
    def postgres(self) -> Postgres:
        """The running server."""
        part = self.system.part("postgres")
        assert isinstance(part, Postgres)
        return part

    async def database(self) -> asyncpg.Connection:
        """A connection with the service's login."""
        password = services.database_password(self.system.home, self.name).read_text().strip()
        connection = await asyncpg.connect(self.postgres.dsn(self.name), password=password)
        self._stack.push_async_callback(connection.close)
        return connection

    async def owner(self) -> asyncpg.Connection:
        """A superuser's connection: what the thief does not have, to look at what there is."""
        connection = await asyncpg.connect(self.postgres.dsn(), password=self.postgres.password)
        self._stack.push_async_callback(connection.close)
        return connection

    async def reads_nothing_of(self, schema: str) -> None:
        """Neither the tables of another service, nor its facts in the log, nor over NATS."""
        own, owner = await self.database(), await self.owner()
        tables = [
            row["tablename"]
            for row in await owner.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1", schema)
        ]
        assert tables
        for table in tables:
            assert await refused(own, f"SELECT 1 FROM {schema}.{table}"), table  # noqa: S608  (names of tables)
        await self.hears_no_facts_of(schema)

    async def hears_no_facts_of(self, source: str) -> None:
        """Neither in the log nor over NATS."""
        own, owner = await self.database(), await self.owner()
        assert await refused(own, f"SELECT log.read(0, ARRAY['{source}'], 1)")
        streams = await owner.fetch("SELECT DISTINCT stream FROM log.events WHERE type LIKE $1 LIMIT 20", f"{source}.%")
        assert streams
        log = await self.log()
        for row in streams:
            assert (await log.load(row["stream"])).events == (), row["stream"]
        await self.consumes_nothing_of(source)

    async def consumes_nothing_of(self, source: str) -> None:
        """Over NATS."""
        client = await self.nats()
        with pytest.raises((TimeoutError, ServiceUnavailableError)):
            await consume(client, source)
        with pytest.raises(RefusedError, match=r"(?i)permissions violation"):
            await settled(client)
        listener = await self.nats()
        await listener.subscribe(f"stagedoor.events.{source}.>")
        with pytest.raises(RefusedError, match=r"(?i)permissions violation"):
            await settled(listener)

    async def changes_nothing_of(self, schema: str) -> None:
        """The tables of another service, and of the log."""
        own, owner = await self.database(), await self.owner()
        columns = await owner.fetch(
            "SELECT c.relname AS table, min(a.attname) AS column FROM pg_class c JOIN pg_attribute a"
            " ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''"
            " WHERE c.relnamespace = $1::regnamespace AND c.relkind IN ('r', 'p') GROUP BY 1",
            schema,
        )
        assert columns
        for row in columns:
            table = f"{schema}.{row['table']}"
            for statement in (
                f"INSERT INTO {table} DEFAULT VALUES",
                f"UPDATE {table} SET {row['column']} = null",  # noqa: S608  (names of a catalogue)
                f"DELETE FROM {table}",  # noqa: S608  (as above)
                f"TRUNCATE {table}",
                f"ALTER TABLE {table} DISABLE TRIGGER ALL",
                f"DROP TABLE {table}",
            ):
                assert await refused(own, statement), statement

    # The log

    async def facts_of(self, *sources: str) -> str:
        """Everything that the log tells it of these services, for tests that look for something in it."""
        rows = await (await self.database()).fetch("SELECT * FROM log.read(0, $1::text[], 5000)", list(sources))
        found = "\n".join(repr(tuple(row.values())) for row in rows)
        assert all(f"{source}." in found for source in sources)
        return found

    async def log(self) -> Log:
        """The log with the service's login."""
        password = services.database_password(self.system.home, self.name).read_text().strip()
        log = await Log.open(self.postgres.dsn(self.name), password, Catalogue.of(*EVENTS.values()), pool_size=1)
        self._stack.push_async_callback(log.close)
        return log

    async def appends_nothing_of(self, *sources: str) -> None:
        """No event of these services: neither into their streams nor into its own."""
        log, before = await self.log(), await self._appended()
        for source in sources:
            classes = list(Catalogue.of(EVENTS[source]))
            assert classes
            for real in classes:

                class Forged(Event, stored_as=real.stored_as):
                    """Has the name, and nothing else."""

                for category in (CATEGORIES[source][0], *CATEGORIES[self.name][:1]):
                    append = Append(
                        f"{category}-{new_id()}", 0, (Forged(),), Context("service:thief", new_id(), new_command_id())
                    )
                    with pytest.raises(AppendFailed, match=r"InsufficientPrivilegeError"):
                        await log.append(append)
        assert await self._appended() == before

    async def _appended(self) -> int:
        count: int = await (await self.owner()).fetchval(
            "SELECT count(*) FROM log.events WHERE actor = 'service:thief'"
        )
        return count

    # NATS

    async def nats(self) -> Client:
        """A connection as the service's NATS user."""

        async def ignored(_: Exception) -> None:
            """Refusals are read from `last_error`."""

        user = "resource_server" if self.outside else self.name
        client = await nats.connect(
            f"nats://{LOOPBACK}:{self.system.ports.nats}",
            user=user,
            password=password_file(self.system.home, user).read_text().strip(),
            inbox_prefix=f"_INBOX_{user}".encode(),
            allow_reconnect=False,
            error_cb=ignored,
        )
        self._stack.push_async_callback(client.close)
        return client

    async def publishes_nothing_to(self, *subjects: str) -> None:
        """The server refuses each."""
        for subject in subjects:
            client = await self.nats()
            await client.publish(subject, b"{}")
            with pytest.raises(RefusedError, match=r"(?i)permissions violation for publish"):
                await settled(client)

    async def hears_nothing_on(self, *subjects: str) -> None:
        """The server refuses each."""
        for subject in subjects:
            client = await self.nats()
            await client.subscribe(subject)
            with pytest.raises(RefusedError, match=r"(?i)permissions violation for subscription"):
                await settled(client)

    # gRPC

    def tls(self) -> Tls:
        """The certificate."""
        authority = Authority(self.system.home.certificates)
        shown = authority.resource(self.name) if self.outside else authority.service(self.name)
        return Tls.read_files(authority.certificate, shown.certificate, shown.key)

    def channel(self, service: str) -> grpc.aio.Channel:
        """A channel to another service, with the certificate."""
        opened = channel(self.system.ports.grpc_address(service), self.tls(), service)
        self._stack.push_async_callback(opened.close, None)
        return opened

    async def calls_nothing_of(self, service: str, *names: str, token: str = "") -> None:
        """Refused by certificate: every method of these gRPC services, with or without an administrator's token."""
        opened = self.channel(service)
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        served = [one for one in SERVED[service] if not names or one.name in names]
        assert served
        for method in (method for one in served for method in one.methods):
            path = f"/{method.containing_service.full_name}/{method.name}"
            call: Any = (opened.unary_stream if method.server_streaming else opened.unary_unary)(
                path, request_serializer=bytes, response_deserializer=bytes
            )
            answer = call(b"", metadata=metadata, timeout=10, wait_for_ready=True)
            told = await refusal(anext(aiter(answer)) if method.server_streaming else answer)
            assert told.code == OPEN_TO_ALL.get(path, "caller_not_allowed"), path

    # Files

    def master_key(self) -> MasterKey:
        """Its own."""
        return MasterKey.read(self.system.home.master_key(self.name))


OPEN_TO_ALL = {"/stagedoor.tokens.v1.Tokens/ReportLeaked": "malformed"}
"""Whoever has a certificate may call these, and how an empty call is refused. To report a token one has to hold it."""


async def refusal(call: Any) -> Refusal:
    """How a gRPC call is refused."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return translate(error)
    raise AssertionError("the call was answered")


@asynccontextmanager
async def stolen(system: System, name: str, *, outside: bool = False) -> AsyncIterator[Thief]:
    """A thief of one service; what was opened is closed afterwards."""
    async with AsyncExitStack() as stack:
        yield Thief(system, name, stack, outside=outside)
