"""Golden samples through the real log: stored, hashed, projected into real tables, read, and told to followers."""

from collections.abc import Mapping

import msgspec
import pytest

from infra.migrate import CATEGORIES, READS
from services.identity import read_model as identity
from services.identity import subscriptions as identity_follows
from services.registry import read_model as registry
from services.resource import read_model as tours
from services.token_issuer import read_model as issuer
from services.token_issuer import subscriptions as issuer_follows
from shared.evidence.stagedoor_verify import leaf_hash
from shared.handle import Project, pending
from shared.ids import new_command_id, new_id
from shared.log.append import Append, Context
from shared.log.event import Event, Recorded
from shared.log.log import Log
from shared.messaging.message import Body, encode
from tests.support.golden import CATALOGUE, KEY, files_of
from tests.support.hashes import data_digest, is_intact
from tests.support.postgres import Database
from tests.support.postgres import database as database  # noqa: PLC0414  (a fixture)

OWN: Mapping[str, Project] = {
    "registry": registry.project,
    "identity": identity.project,
    "token_issuer": issuer.project,
    "resource": tours.project,
    "ledger": lambda _: (),
}
FOLLOWED: Mapping[str, tuple[str, Project]] = {
    "token_issuer": (issuer_follows.PROJECTION, issuer_follows.project),
    "identity": (identity_follows.PROJECTION, identity_follows.project_registry),
}


@pytest.fixture
async def logs(database: Database) -> Mapping[str, Log]:
    return {login: await database.log(login, CATALOGUE) for login in READS}


def as_it_was_written(event: type[Event], text: str) -> Event:
    """An event that is stored as this text, as it was by those who wrote it so."""
    writing: type[Event] = type(event.__name__, (event,), {"to_json": lambda _self, _key=None: text})
    return writing.from_json(text, KEY)


async def test_every_sample_goes_through_the_log_unchanged(logs: Mapping[str, Log]) -> None:
    texts: list[str] = []
    for event in CATALOGUE:
        for path in files_of(event):
            text, source = path.read_text(), event.source
            context = Context(f"service:{source}", new_id(), new_command_id())
            stream = f"{CATEGORIES[source][0]}-{new_id()}"
            rows = tuple(OWN[source](pending(event.from_json(text, KEY), stream, 1, context)))
            fact = as_it_was_written(event, text)
            await logs[source].append(Append(stream, 0, (fact,), context, rows, personal_key=KEY))
            texts.append(text)
    stored = await logs["ledger"].read_rows(0, limit=1000)
    assert [row.data for row in stored] == texts, "byte for byte"
    assert all(is_intact(row) and row.data_digest == data_digest(row.salt, row.data) for row in stored)
    evidence = await logs["ledger"].pool.fetch("SELECT * FROM log.evidence(0, 1000)")
    assert [leaf_hash(one["leaf"]) for one in evidence] == [row.leaf_hash for row in stored]
    told = []
    for row in stored:
        body = msgspec.json.decode(encode(row, row.position - 1).body, type=Body)
        assert bytes(body.data).decode() == row.data, "byte for byte, over NATS too"
        told.append(CATALOGUE[body.type].from_json(row.data))
    for login, (projection, project) in FOLLOWED.items():
        seen = await logs[login].read(0, limit=1000)
        assert [one.event for one in seen] == [
            event for event in told if event.source == login or event.source in READS[login]
        ]
        await follow(logs[login], login, projection, project, seen)


async def follow(log: Log, login: str, projection: str, project: Project, seen: list[Recorded]) -> None:
    for source in READS[login]:
        at = 0
        for one in (one for one in seen if one.event.source == source):
            position = one.position
            assert isinstance(position, int)
            assert await log.apply(projection, source, at, position, tuple(project(one)))
            at = position
        assert (await log.checkpoints(projection))[source] == at > 0
