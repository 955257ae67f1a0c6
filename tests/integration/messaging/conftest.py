"""What these tests share: a log, a NATS server, and a table that learns of facts."""

import pytest

from tests.support.facts import Facts
from tests.support.nats import nats_server as nats_server  # noqa: PLC0414  (a fixture)
from tests.support.postgres import Database
from tests.support.postgres import database as database  # noqa: PLC0414  (a fixture)
from tests.support.postgres import databases as databases  # noqa: PLC0414  (a fixture)

SEEN = """
    CREATE TABLE IF NOT EXISTS token_issuer.seen (
        position bigint PRIMARY KEY CHECK (position > 0), source text NOT NULL, type text NOT NULL, epoch integer);
    GRANT SELECT, INSERT, UPDATE, DELETE ON token_issuer.seen TO token_issuer
"""


@pytest.fixture
async def facts(database: Database) -> Facts:
    """Facts, and a table `token_issuer.seen` for a projection of the tests."""
    prepared = Facts(database)
    await prepared.execute(SEEN)
    return prepared
