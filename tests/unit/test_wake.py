"""Who waits for denials is left alone by what brings none, and hears of everything else at once."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest

from shared.log.log import Log, denials_up_to
from shared.wake import Wake

_KNOWN = denials_up_to(1, 7)


async def _woken(wake: Wake, waits: Callable[[], Coroutine[Any, Any, None]], *said: tuple[str, ...]) -> bool:
    """Whether someone who waits is woken by this; all that wakes does so at once, in the turns that follow."""
    waiting = asyncio.create_task(waits())
    await asyncio.sleep(0)
    for each in said:
        wake.wake(each)
    for _ in range(20):
        await asyncio.sleep(0)
    woken = waiting.done()
    waiting.cancel()
    return woken


@pytest.fixture
def wake() -> Wake:
    return Wake(cast("Log", None))


@pytest.mark.parametrize(
    ("said", "woken"),
    [
        ((_KNOWN,), False),
        ((denials_up_to(1, 8),), True),
        ((denials_up_to(2, 7),), True),
        ((_KNOWN, denials_up_to(1, 8)), True),
        ((denials_up_to(1, 8), _KNOWN), True),
        ((), True),
        (("",), True),
    ],
)
async def test_what_concerns_one_who_waits_for_a_denial(wake: Wake, said: tuple[str, ...], woken: bool) -> None:
    assert await _woken(wake, lambda: wake.after_denial(wake.mark, 1, 7, 60.0), said) is woken
    assert await _woken(wake, lambda: wake.after(wake.mark, 60.0), said)


async def test_a_word_between_the_mark_and_the_wait_is_not_missed(wake: Wake) -> None:
    mark = wake.mark
    wake.wake((_KNOWN,))
    assert not await _woken(wake, lambda: wake.after_denial(mark, 1, 7, 60.0))
    wake.wake((denials_up_to(1, 8),))
    wake.wake((_KNOWN,))
    assert await _woken(wake, lambda: wake.after_denial(mark, 1, 7, 60.0))


async def test_what_is_too_long_ago_to_know_counts_as_news(wake: Wake) -> None:
    mark = wake.mark
    for _ in range(100):
        wake.wake((_KNOWN,))
    assert await _woken(wake, lambda: wake.after_denial(mark, 1, 7, 60.0))


async def test_a_word_that_was_made_up_does_not_hide_the_next(wake: Wake) -> None:
    """Any login may notify: it names a denial that is yet to come, so that the true word would be nothing new."""
    forged = denials_up_to(1, 8)
    assert await _woken(wake, lambda: wake.after_denial(wake.mark, 1, 7, 60.0), (forged,))
    mark = wake.mark  # it is looked, and there is none
    assert await _woken(wake, lambda: wake.after_denial(mark, 1, 7, 60.0), (forged,))


async def test_a_wait_ends_by_itself(wake: Wake) -> None:
    await asyncio.wait_for(wake.after_denial(wake.mark, 1, 7, 0.01), 5.0)
    await asyncio.wait_for(wake.after(wake.mark, 0.01), 5.0)
