"""Whoever was erased is found out, or goes on: by what is left of them, by what they still hold, by old keys."""

import asyncio
import json
import os
import secrets
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx
import pytest

from infra import migrate
from infra.local.failure import SystemFailure
from infra.local.nats import password_file
from infra.local.ports import LOOPBACK
from infra.local.postgres import SUPERUSER
from infra.local.process import until
from infra.local.services import python_environment
from infra.local.sign_in import Visitor
from infra.local.system import System
from services.identity import events as identity
from services.identity.events import UserKind
from services.token_issuer.events import ReferenceKind
from services.token_issuer.references import forgetting
from shared.errors import Refusal
from shared.evidence import stagedoor_verify
from shared.messaging.access import STREAM, NatsAccess
from shared.messaging.follower import Follower
from stagedoor.verdict import Reason
from tests.support.attacking import reason
from tests.support.command import CommandRefused, stagedoor
from tests.support.doors import API, HUB, INTROSPECTION, USERINFO, VALIDATE, Doors
from tests.support.issuing import Stage, error, query
from tests.support.postgres import Database, passwords
from tests.support.read_models import differences
from tests.support.references import judge, make, open_hub

PASSWORD = "in-the-lap-of-the-gods"
PATIENCE_SECONDS = 30.0
"""Within this every guard of a healthy system has heard of a denial, on a busy machine, too; it takes milliseconds."""


class TestWhatTheyHold:
    """At the issuer: each thing that was given before the erasure."""

    async def test_access_and_refresh_tokens(self, stage: Stage) -> None:
        hub, freddie = await open_hub(stage), await stage.user()
        body = await stage.tokens(hub, freddie)
        assert reason(await stage.validate(body["access_token"])) is None
        await stage.of_user(freddie, identity.UserErased(sub=freddie))
        assert reason(await stage.validate(body["access_token"])) is Reason.DENIED_SUBJECT
        assert (await stage.introspect(hub, body["access_token"])).json() == {"active": False}
        assert error(await stage.refresh(hub, body["refresh_token"])) == "invalid_grant"
        assert (await stage.introspect(hub, body["refresh_token"])).json() == {"active": False}

    async def test_a_code(self, stage: Stage) -> None:
        """Although the issuer has not heard of the erasure when the code comes: the fence has."""
        hub, freddie = await open_hub(stage), await stage.user()
        code = await stage.code(hub, freddie)
        await stage.of_user(freddie, identity.UserErased(sub=freddie))
        assert error(await stage.redeem(hub, code)) == "invalid_grant"

    async def test_a_session_that_goes_on(self, stage: Stage) -> None:
        hub, freddie = await open_hub(stage), await stage.user()
        person, position = await stage.sign_in(freddie)
        begun = await stage.begin(hub)
        await stage.of_user(freddie, identity.UserErased(sub=freddie))
        answer = query((await stage.issue(begun, person, position)).redirect.uri)
        assert (answer["error"], "code" in answer) == ("access_denied", False)

    async def test_personal_access_tokens_and_what_they_called_them(self, stage: Stage) -> None:
        await open_hub(stage)
        freddie, roger = await stage.user(), await stage.user()
        made, kept = await make(stage, freddie), await make(stage, roger)
        assert (await judge(stage, made.token)).allowed
        await stage.of_user(freddie, identity.UserErased(sub=freddie))
        assert (await judge(stage, made.token)).reason == "denied_subject"
        with pytest.raises(Refusal):
            await make(stage, freddie)
        assert await listed(stage) == {(made.event.jti, "", "ended"), (kept.event.jti, "the van's laptop", "active")}

    async def test_what_they_called_tokens_before_anybody_could_be_erased(
        self, stage: Stage, database: Database
    ) -> None:
        """The notes of then do not say whose they are; the migration finds out."""
        await open_hub(stage)
        freddie = await stage.user()
        made = await make(stage, freddie)
        await stage.issuer.log.pool.execute("UPDATE reference_notes SET sub = ''")
        async with database.connection() as superuser:
            await superuser.execute("DELETE FROM log.steps")  # those of before were taken without being written down
        await migrate.migrate(database.dsn(SUPERUSER), database.server.password, passwords(migrate.tenants()))
        await stage.of_user(freddie, identity.UserErased(sub=freddie))
        assert await listed(stage) == {(made.event.jti, "", "ended")}

    async def test_tokens_of_an_account_of_services(self, stage: Stage) -> None:
        account = await stage.user(UserKind.SERVICE)
        hub = await open_hub(stage, service_account=account)
        made = await make(stage, await stage.user(), ReferenceKind.SERVICE)
        body = (await stage.token(hub, grant_type="client_credentials")).json()
        await stage.of_user(account, identity.UserErased(sub=account))
        assert (await judge(stage, made.token)).reason == "denied_subject"
        assert reason(await stage.validate(body["access_token"])) is Reason.DENIED_SUBJECT
        assert error(await stage.token(hub, grant_type="client_credentials")) == "unauthorized_client"


async def listed(stage: Stage) -> set[tuple[str, str, str]]:
    """The reference tokens with their names and states, once the issuer has heard of everything."""
    await stage.follow()
    log = stage.issuer.log
    erased = Follower(log, forgetting.PROJECTION, forgetting.SOURCES, forgetting.project, None)
    await erased.reach((await log.head()).position)
    page = await stage.issuer.questions.references.page(None, None, stage.clock(), before=None, limit=10)
    return {(one.reference.jti, one.label, one.state) for one in page}


@dataclass
class Mercury:
    """Somebody who signed in to a running system, and was erased."""

    name: str
    sub: str
    traces: tuple[str, ...]
    """What only they are called."""
    registered: int
    """Position of the fact."""
    visitor: Visitor
    access_token: str
    refresh_token: str
    wrapped: bytes
    """Their key as it was in the database."""
    folder: Path
    """With a proof of their registration from before, and the log's key."""


async def fetch(system: System, statement: str, *arguments: object) -> list[asyncpg.Record]:
    """As the superuser."""
    connection = await asyncpg.connect(system.postgres.dsn(), password=system.postgres.password)
    try:
        found: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
    finally:
        await connection.close()
    return found


@pytest.fixture
async def mercury(system: System, doors: Doors, tmp_path: Path) -> Mercury:
    """Brian makes them known, they sign in at BackstageHub, and Brian erases them."""
    mark = secrets.token_hex(6)
    name, given, email = f"mercury-{mark}", f"Farrokh{mark}", f"f@{mark}.example"
    password = tmp_path / "password"
    await asyncio.to_thread(password.write_text, PASSWORD)
    (added,) = await stagedoor(
        system, "users", "add", name, "--given-name", given, "--email", email, "--password-file", str(password)
    )
    flow = doors.flow("openid profile email read offline_access")
    visitor = Visitor(name, PASSWORD)
    visitor.browser.headers["user-agent"] = f"Queen{mark}/1"
    given_tokens = await flow.redeem(
        flow.code(await visitor.go(flow.address)), client_secret=doors.application(HUB)["client_secret"]
    )
    access = str(given_tokens["access_token"])
    bearer = {"Authorization": f"Bearer {access}"}
    told = (await doors.http.get(f"{doors.issuer}/connect/userinfo", headers=bearer)).json()
    assert (told["given_name"], told["email"], told["preferred_username"]) == (given, email, name)
    (key,) = await fetch(system, "SELECT wrapped FROM identity.personal_keys WHERE sub = $1", added["sub"])

    registered = int(added["position"]) - 1  # then comes the password
    proof = tmp_path / "before.proof"

    async def proved() -> bool:
        status, said = await audit(system, "prove", str(registered), "--out", str(proof))
        assert status == 0 or "not_yet" in said or "checkpoint" in said, said
        return status == 0

    assert await until(proved, 30)
    await stagedoor(system, "audit", "checkpoint", "--out", str(tmp_path / "c"), "--key-out", str(tmp_path / "log.key"))
    (erased,) = await stagedoor(system, "users", "erase", name, "--yes")
    assert erased["sub"] == added["sub"]
    return Mercury(
        name=name,
        sub=added["sub"],
        traces=(mark,),
        registered=registered,
        visitor=visitor,
        access_token=access,
        refresh_token=str(given_tokens["refresh_token"]),
        wrapped=key["wrapped"],
        folder=tmp_path,
    )


async def audit(system: System, *arguments: str) -> tuple[int | None, str]:
    """What `stagedoor audit` says to Brian."""
    environment = {**python_environment(), "STAGEDOOR_HOME": str(system.home.path)}
    return await _run(environment, "-m", "services.cli.main", "audit", *arguments)


async def check(proof: Path, key: Path) -> tuple[int | None, str]:
    """What the offline verifier says."""
    return await _run(dict(os.environ), stagedoor_verify.__file__, str(proof), "--key", str(key))


async def _run(environment: dict[str, str], *arguments: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *arguments),
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode, out.decode()


@pytest.mark.timeout(180)
async def test_nothing_leads_back_to_the_person_in_a_running_system(
    system: System, doors: Doors, mercury: Mercury
) -> None:
    await _they_do_not_go_on(system, doors, mercury)
    await _nobody_takes_their_name(system, mercury)
    await _nothing_is_stored_in_the_clear(system, mercury)
    await _the_log_still_proves_what_it_says(system, mercury)
    await _an_old_key_opens_nothing(system, mercury)
    assert await differences(system, ["identity", "token_issuer"]) == []
    await mercury.visitor.browser.aclose()


async def _they_do_not_go_on(system: System, doors: Doors, mercury: Mercury) -> None:
    refused = {API: "401 invalid_token", USERINFO: "401 invalid_token", INTROSPECTION: "inactive", VALIDATE: "denied"}

    async def all_refuse() -> bool:
        answers = await doors.answers(mercury.access_token)
        return {door: answers[door] for door in refused} == refused

    assert await until(all_refuse, PATIENCE_SECONDS)
    form = {"grant_type": "refresh_token", "refresh_token": mercury.refresh_token}
    answer = await doors.http.post(f"{doors.issuer}/connect/token", data=form, auth=doors.secret())
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    # The browser still has the cookie of the session: it is asked to sign in, and cannot.
    with pytest.raises(SystemFailure, match="The name or the password is not right"):
        await mercury.visitor.go(doors.flow("openid read").address)
    assert "erased" not in (await _page_of(mercury.visitor, f"{doors.issuer}/account"))


async def _page_of(visitor: Visitor, address: str) -> str:
    answer: httpx.Response = await visitor.browser.get(address, follow_redirects=True)
    return answer.text.lower()


async def _nobody_takes_their_name(system: System, mercury: Mercury) -> None:
    async def refused(*arguments: str) -> str:
        with pytest.raises(CommandRefused) as refusal:
            await stagedoor(system, "users", *arguments)
        assert refusal.value.status == 1
        return refusal.value.reason.rpartition("(")[2]

    told = asyncio.gather(
        refused("add", mercury.name.upper(), "--no-password"),
        refused("erase", mercury.name, "--yes"),
        refused("show", mercury.sub, "--sub"),
    )
    assert tuple(await told) == ("name_taken)", "unknown_user)", "user_erased)")


async def _nothing_is_stored_in_the_clear(system: System, mercury: Mercury) -> None:
    """Neither in a table of a service or of the log, nor in the stream, nor in what processes said or keep in files."""

    async def found() -> list[str]:
        tables = await fetch(
            system,
            "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
        )
        places = []
        for table in tables:
            rows = await fetch(system, f"SELECT t::text AS row FROM {table['name']} t")  # noqa: S608  (a catalogue's)
            if any(trace in row["row"].lower() for row in rows for trace in mercury.traces):
                places.append(table["name"])
        return places

    assert await found() == []
    assert await fetch(system, "SELECT FROM identity.personal_keys WHERE sub = $1", mercury.sub) == []
    messages = await _messages_of(system, mercury.sub)
    types = {message["type"] for message in messages}
    assert types >= {"identity.UserRegistered", "identity.SessionStarted", "identity.UserErased"}
    text = json.dumps(messages).lower()
    assert [trace for trace in mercury.traces if trace in text] == []
    for folder in ("logs", "nats", "ledger"):
        for file in (system.home.path / folder).rglob("*"):
            # A server writes under another name first, and renames.
            with suppress(FileNotFoundError, IsADirectoryError):
                held = (await asyncio.to_thread(file.read_bytes)).lower()
                assert [trace for trace in mercury.traces if trace.encode() in held] == [], file


async def _messages_of(system: System, sub: str) -> list[dict[str, object]]:
    """What stands in the stream about them."""
    rows = await fetch(system, "SELECT position FROM log.events WHERE data LIKE $1 ORDER BY position", f"%{sub}%")
    secret = password_file(system.home, "ledger").read_text().strip()

    async def closed() -> None:
        """Nobody is told."""

    client = await NatsAccess(f"nats://{LOOPBACK}:{system.ports.nats}", "ledger", secret).connect(closed)
    try:
        stream = client.jetstream(timeout=10)

        async def complete() -> bool:
            state = (await stream.stream_info(STREAM)).state
            return bool(state.last_seq >= rows[-1]["position"])

        assert await until(complete, 30)
        return [json.loads((await stream.get_msg(STREAM, row["position"])).data or b"") for row in rows]
    finally:
        await client.close()


async def _the_log_still_proves_what_it_says(system: System, mercury: Mercury) -> None:
    """The proof from before and one of now, offline too; and the whole log."""
    (verified,) = await stagedoor(system, "audit", "verify")
    assert verified
    after = mercury.folder / "after.proof"
    status, said = await audit(system, "prove", str(mercury.registered), "--out", str(after))
    assert status == 0, said
    for proof in ("before.proof", "after.proof"):
        status, said = await check(mercury.folder / proof, mercury.folder / "log.key")
        assert status == 0, said


async def _an_old_key_opens_nothing(system: System, mercury: Mercury) -> None:
    """Somebody puts the table of keys back as it was: while identity runs, and when it starts."""
    await fetch(system, "INSERT INTO identity.personal_keys VALUES ($1, $2)", mercury.sub, mercury.wrapped)
    await stagedoor(system, "rebuild", "identity")
    assert await fetch(system, "SELECT FROM identity.users WHERE sub = $1", mercury.sub) == []
    await system.stop_part("identity")
    await system.start_part("identity")
    await system.ready()
    assert await fetch(system, "SELECT FROM identity.personal_keys WHERE sub = $1", mercury.sub) == []
