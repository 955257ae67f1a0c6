"""Waiting for the log to grow, and reading its head for many at once."""

import asyncio
import time
from collections.abc import AsyncIterator

from shared.head import HeadReader
from shared.log.append import Head, LogUnavailable
from shared.wake import Wake


class HeldLog:
    """A log whose head and changes the test decides."""

    def __init__(self) -> None:
        self.position = 0
        self.readings = 0
        self.may_answer = asyncio.Event()
        self.failing = False

    async def head(self) -> Head:
        self.readings += 1
        await self.may_answer.wait()
        if self.failing:
            raise LogUnavailable
        return Head(1, self.position, 0)

    async def changes(self) -> AsyncIterator[None]:
        yield


def wake() -> Wake:
    return Wake(HeldLog())  # type: ignore[arg-type]  # it stands in for the log


async def test_growth_between_the_mark_and_the_wait_is_not_missed() -> None:
    waking = wake()
    mark = waking.mark
    waking.wake()
    await asyncio.wait_for(waking.after(mark, 3600), 30)


async def test_everybody_who_waits_is_woken() -> None:
    waking = wake()
    waiting = [asyncio.create_task(waking.after(waking.mark, 3600)) for _ in range(5)]
    await asyncio.wait(waiting, timeout=0.01)
    waking.wake()
    await asyncio.wait_for(asyncio.gather(*waiting), 30)


async def test_waiting_ends_by_itself() -> None:
    waking = wake()
    began = time.monotonic()
    await waking.after(waking.mark, 0.05)
    assert 0.04 < time.monotonic() - began < 5
    await waking.after(waking.mark, -1)


async def test_whoever_asks_while_a_head_is_being_read_gets_the_next_one() -> None:
    log = HeldLog()
    reader = HeadReader(log)  # type: ignore[arg-type]  # it stands in for the log
    first = asyncio.create_task(reader.read())
    await asyncio.wait((first,), timeout=0.01)
    later = [asyncio.create_task(reader.read()) for _ in range(10)]
    await asyncio.wait(later, timeout=0.01)
    log.position = 7
    log.may_answer.set()
    readings = await asyncio.wait_for(asyncio.gather(first, *later), 30)
    assert log.readings == 2
    assert {reading.head.position for reading in readings[1:]} == {7}
    assert readings[0].read_at <= readings[1].read_at


async def test_a_failure_reaches_everybody_who_asked_and_nobody_later() -> None:
    log = HeldLog()
    log.failing = True
    log.may_answer.set()
    reader = HeadReader(log)  # type: ignore[arg-type]  # it stands in for the log
    asked = await asyncio.gather(reader.read(), reader.read(), return_exceptions=True)
    assert all(isinstance(answer, LogUnavailable) for answer in asked)
    log.failing = False
    assert (await reader.read()).head.position == 0
