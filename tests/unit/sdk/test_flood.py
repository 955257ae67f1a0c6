"""Memory of a guard under a flood of sign-ins and sign-outs, which leaves a denial each time."""

import gc
import time
import tracemalloc
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

import stagedoor.guard
from stagedoor.clock import since_boot
from stagedoor.denials import Denial, DenialKind, DenialRule, DenialView, Snapshot
from tests.support.sdk_tokens import SigningKey, claims, guard
from tests.support.work import eventually


def test_it_is_flat_while_denials_end_and_bounded_while_they_do_not() -> None:
    key, now = SigningKey(), datetime.now(UTC)
    checked = guard(key, most_denials=1000, remember=250)
    kept: list[int] = []
    tracemalloc.start()
    try:
        for hour in range(8):
            for each in range(1, 1501):
                number = 1500 * hour + each
                until = now + timedelta(hours=hour, seconds=each)
                checked.view.apply(
                    Denial(
                        number=number,
                        position=1000 + number,
                        epoch=1,
                        kind=DenialKind.SESSION,
                        id=f"sid-{number}",
                        rule=DenialRule.STANDING,
                        until=until,
                    )
                )
                assert len(checked.view) <= 1001
            if hour % 2:
                checked.view.prune((now + timedelta(hours=hour)).timestamp())
            for number in range(100):
                checked.check(key.sign(claims(jti=f"{hour} {number}", pos=checked.view.position)))
            gc.collect()
            kept.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert checked.view.fresh(since_boot())
    assert 234 <= len(checked._memory) <= 250
    assert max(kept[3:]) < 1.3 * max(kept[:3])


def test_a_denial_takes_as_much_memory_as_is_said() -> None:
    """As the feed brings them: each is a text that is read, of which the identifier stays, and two numbers."""
    view, now = DenialView(), datetime.now(UTC)
    view.replace(Snapshot(position=1000, number=0, epoch=1, denials=()))
    texts = [
        msgspec.json.encode(
            Denial(
                number=number,
                position=1000 + 7 * number,
                epoch=1,
                kind=DenialKind.SESSION,
                id=f"{number:022}",
                rule=DenialRule.STANDING,
                until=now + timedelta(days=1, seconds=number),
            )
        )
        for number in range(1, 50_001)
    ]
    gc.collect()
    tracemalloc.start()
    try:
        for text in texts:
            view.apply(msgspec.json.decode(text, type=Denial))
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(view) == len(texts)
    assert taken / len(texts) < 300


async def test_what_has_expired_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stagedoor.guard, "_PRUNE_EVERY", 0.01)
    key, now, later = SigningKey(), time.time(), 0.0
    checked = guard(key, now=lambda: now + later, leeway=5)
    for life in (60, 65, 3600):
        checked.check(key.sign(claims(jti=f"for {life}", exp=int(now) + life)))
    async with checked:
        later = 66.0
        await eventually(lambda: len(checked._memory) == 2)
        later = 71.0
        await eventually(lambda: len(checked._memory) == 1)
