"""What these tests share: a log with facts in it, and the ledger's service over it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.ledger.serving import Serving, serving
from tests.support.facts import Facts
from tests.support.parties import Parties
from tests.support.parties import parties as parties  # noqa: PLC0414  (a fixture)
from tests.support.postgres import database as database  # noqa: PLC0414  (a fixture)
from tests.support.postgres import databases as databases  # noqa: PLC0414  (a fixture)
from tests.support.work import Work


@pytest.fixture
async def ledger(facts: Facts, work: Work, parties: Parties, tmp_path: Path) -> AsyncIterator[Serving]:
    """The service, and a client with the operator's certificate."""
    async with serving(facts, work, parties, tmp_path / "ledger") as running:
        yield running
