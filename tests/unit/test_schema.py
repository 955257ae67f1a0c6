"""What a program says to tables that are too old for it, too new, or out of reach."""

import asyncio
from pathlib import Path
from typing import Any, cast

import asyncpg
import pytest

from shared.log import schema
from shared.log.append import LogUnavailable
from shared.log.log import Log
from shared.log.schema import Schema, check
from shared.log.steps import StepsRefused

KNOWN = {"log": 3, "registry": 1}


class Answering:
    """A log that gives these answers, one after the other."""

    def __init__(self, *answers: Any) -> None:
        self.left = list(answers)

    async def schema_steps(self) -> dict[str, tuple[int, int]]:
        answer = self.left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return cast("dict[str, tuple[int, int]]", answer)


@pytest.mark.parametrize(
    "taken",
    [
        {"log": (3, 1), "registry": (1, 1)},
        {"log": (9, 3), "registry": (1, 1)},
        {"log": (3, 1), "registry": (5, 1), "identity": (0, 1)},
    ],
)
def test_tables_that_have_all_that_is_needed_will_do(taken: dict[str, tuple[int, int]]) -> None:
    check(KNOWN, taken)


@pytest.mark.parametrize(
    ("taken", "why"),
    [
        ({"log": (2, 1), "registry": (1, 1)}, "too old for this program: log is at step 2, and step 3 is needed"),
        ({"log": (3, 1)}, "too old for this program: registry is at step 0, and step 1 is needed"),
        ({}, "too old for this program: log is at step 0"),
        ({"log": (9, 4), "registry": (1, 1)}, "this program is too old for the database: log is at step 9"),
        ({"log": (3, 1), "registry": (2, 2)}, "this program is too old for the database: registry is at step 2"),
    ],
)
def test_others_are_refused(taken: dict[str, tuple[int, int]], why: str) -> None:
    with pytest.raises(StepsRefused) as refused:
        check(KNOWN, taken)
    assert why in refused.value.message
    assert "\n" not in refused.value.message


@pytest.mark.parametrize(
    "failure", [asyncpg.InvalidCatalogNameError, asyncpg.UndefinedFunctionError, asyncpg.InsufficientPrivilegeError]
)
async def test_a_database_of_before_there_were_steps_is_too_old(failure: type[Exception]) -> None:
    with pytest.raises(StepsRefused, match="log is at step 0"):
        await Schema.of(cast("Log", Answering(failure())), "registry", Path("/nowhere"))


async def test_tables_out_of_reach_are_looked_at_as_soon_as_they_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_PAUSE_SECONDS", 0.001)
    fits = {"log": (99, 1)}
    log = Answering(LogUnavailable(), LogUnavailable(), fits, fits)
    tables = await Schema.of(cast("Log", log), "ledger", Path("/nowhere"))
    await asyncio.wait_for(tables.run(), 5)
    assert log.left == [fits]

    tables = await Schema.of(cast("Log", Answering(LogUnavailable(), {})), "ledger", Path("/nowhere"))
    with pytest.raises(StepsRefused):
        await asyncio.wait_for(tables.run(), 5)
