"""Questions that are asked at the same time are one statement, and each has its own answer."""

import asyncio
from collections.abc import Sequence

import pytest

from shared.log.append import LogUnavailable
from shared.questions import Together
from tests.support.work import eventually


class Database:
    """Answers when it is let; a question for a negative number is a mistake."""

    def __init__(self) -> None:
        self.statements: list[list[int]] = []
        self.open = asyncio.Event()
        self.reachable = True

    async def double(self, numbers: Sequence[int]) -> list[int]:
        self.statements.append(list(numbers))
        await self.open.wait()
        if not self.reachable:
            raise LogUnavailable
        if any(number < 0 for number in numbers):
            raise ValueError("less than nothing")
        return [2 * number for number in numbers]


async def until_asked(database: Database, statements: int) -> None:
    await eventually(lambda: len(database.statements) == statements)


async def test_those_of_one_moment_are_one_statement() -> None:
    database = Database()
    database.open.set()
    together = Together(database.double)
    assert await asyncio.gather(*(together.ask(number) for number in range(5))) == [0, 2, 4, 6, 8]
    assert database.statements == [[0, 1, 2, 3, 4]]


async def test_a_question_is_never_answered_by_a_statement_from_before_it() -> None:
    database = Database()
    together = Together(database.double)
    early = [asyncio.create_task(together.ask(1))]
    await until_asked(database, 1)
    early.append(asyncio.create_task(together.ask(1)))
    await until_asked(database, 2)
    late = [asyncio.create_task(together.ask(number)) for number in (1, 2)]
    await asyncio.sleep(0)
    assert database.statements == [[1], [1]]
    database.open.set()
    assert await asyncio.gather(*early, *late) == [2, 2, 2, 4]
    assert database.statements == [[1], [1], [1, 2]]


async def test_a_mistake_is_its_own_asker_s_alone() -> None:
    database = Database()
    database.open.set()
    together = Together(database.double)
    answers = await asyncio.gather(*(together.ask(number) for number in (1, -1, 2)), return_exceptions=True)
    assert answers[0] == 2
    assert isinstance(answers[1], ValueError)
    assert answers[2] == 4


async def test_out_of_reach_is_everybody_s() -> None:
    database = Database()
    database.open.set()
    database.reachable = False
    together = Together(database.double)
    answers = await asyncio.gather(*(together.ask(number) for number in (1, 2)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [LogUnavailable, LogUnavailable]
    assert database.statements == [[1, 2]]
    database.reachable = True
    assert await together.ask(3) == 6


async def test_who_has_gone_is_not_asked_for() -> None:
    database = Database()
    together = Together(database.double)
    kept = [asyncio.create_task(together.ask(1))]
    await until_asked(database, 1)
    kept.append(asyncio.create_task(together.ask(2)))
    await until_asked(database, 2)
    gone = asyncio.create_task(together.ask(3))
    kept.append(asyncio.create_task(together.ask(4)))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    database.open.set()
    assert await asyncio.gather(*kept) == [2, 4, 8]
    assert database.statements == [[1], [2], [4]]
