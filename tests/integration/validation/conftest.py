"""What these tests share: a log, and the validation service over it."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.validation.serving import Serving, serving
from tests.support.facts import Facts
from tests.support.parties import Parties
from tests.support.parties import parties as parties  # noqa: PLC0414  (a fixture)
from tests.support.postgres import database as database  # noqa: PLC0414  (a fixture)
from tests.support.postgres import databases as databases  # noqa: PLC0414  (a fixture)
from tests.support.work import Work


@pytest.fixture
async def validation(facts: Facts, work: Work, parties: Parties) -> AsyncIterator[Serving]:
    """The service, which knows a resource with the caller `resource/stagehands`."""
    async with serving(facts, work, parties) as running:
        yield running
