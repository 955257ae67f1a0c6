"""Leadership: one at a time, handed on when the one who has it falls silent."""

import asyncio

import asyncpg
import pytest

from shared.leadership import Leadership
from tests.support.facts import Facts
from tests.support.postgres import password
from tests.support.work import Work, eventually


def candidate(facts: Facts) -> Leadership:
    return Leadership(facts.database.dsn("ledger"), password("ledger"), "the work of a test")


async def idle() -> None:
    await asyncio.Event().wait()


async def end_session(facts: Facts) -> None:
    async with facts.database.connection() as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'leader of %'"
        )


async def test_one_leads_and_another_takes_over_when_it_is_gone(facts: Facts, work: Work) -> None:
    one, two = candidate(facts), candidate(facts)
    first = work.start(one.run(idle))
    await eventually(lambda: one.leading)
    work.start(two.run(idle))
    await asyncio.wait((first,), timeout=0.5)
    assert (one.leading, two.leading) == (True, False)
    await work.stop(first)
    await eventually(lambda: two.leading)
    assert not one.leading


async def test_a_leader_whose_session_was_ended_stops_its_work(facts: Facts, work: Work) -> None:
    started: list[bool] = []
    stopped: list[bool] = []

    async def working() -> None:
        started.append(True)
        try:
            await idle()
        finally:
            stopped.append(True)

    one = candidate(facts)
    work.start(one.run(working))
    await eventually(lambda: one.leading)
    await end_session(facts)
    await eventually(lambda: bool(stopped))
    await eventually(lambda: len(started) == 2 and one.leading)


async def test_a_leader_that_says_nothing_does_not_lead_for_ever(facts: Facts, work: Work) -> None:
    silent = await asyncpg.connect(
        facts.database.dsn("ledger"),
        password=password("ledger"),
        server_settings={"idle_in_transaction_session_timeout": "3000"},
    )
    await silent.transaction().start()
    assert await silent.fetchval("SELECT log.lead()")
    other = candidate(facts)
    work.start(other.run(idle))
    await eventually(lambda: other.leading, 10)
    assert silent.is_closed()


async def test_what_the_work_raises_is_raised(facts: Facts) -> None:
    async def failing() -> None:
        raise ValueError("a mistake in the work")

    with pytest.raises(ValueError, match="a mistake in the work"):
        await candidate(facts).run(failing)
