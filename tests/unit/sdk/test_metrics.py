"""A guard tells Prometheus how old its view is, what it decided, and how late denials came."""

import gc
from datetime import UTC, datetime, timedelta

from prometheus_client import CollectorRegistry

from stagedoor.denials import Denial, DenialKind, DenialRule
from stagedoor.feed import Answer
from stagedoor.metrics import GuardCollector
from tests.support.sdk_tokens import AUDIENCE, HeldOnline, SigningKey, claims, guard

KEY = SigningKey()


def _denial(number: int, recorded_at: datetime | None) -> Denial:
    return Denial(
        number=number,
        position=1000 + number,
        epoch=1,
        kind=DenialKind.CLIENT,
        id=f"com.example/{number}",
        rule=DenialRule.STANDING,
        recorded_at=recorded_at,
    )


def _registry(*guards: object) -> tuple[CollectorRegistry, GuardCollector]:
    registry, collector = CollectorRegistry(), GuardCollector()
    registry.register(collector)
    return registry, collector


def _told(registry: CollectorRegistry, name: str, **more: str) -> float | None:
    return registry.get_sample_value(f"stagedoor_guard_{name}", {"audience": AUDIENCE, **more})


async def test_verdicts_are_counted_by_reason() -> None:
    registry, collector = _registry()
    one = guard(KEY, online=HeldOnline(Answer(allowed=True, reason="", position=5000)))
    collector.add(one)
    good, new = KEY.sign(claims()), KEY.sign(claims(pos=5000, jti="new"))
    for token in (good, good, new, KEY.sign(claims(aud=["urn:other"])), "nonsense"):
        await one.validate(token)
    assert _told(registry, "verdicts_total", reason="allowed") == 3, "the one that was asked online, too"
    assert _told(registry, "verdicts_total", reason="wrong_audience") == 1
    assert _told(registry, "verdicts_total", reason="malformed") == 1


def test_age_position_and_number_of_denials_are_as_they_are_now() -> None:
    registry, collector = _registry()
    unfed = guard(KEY, loaded=False)
    collector.add(unfed)
    assert _told(registry, "view_age_seconds") == float("inf")
    del unfed
    gc.collect()
    assert _told(registry, "view_age_seconds") is None, "of a guard that is gone nothing is told"
    now = [50.0]
    fed = guard(KEY, boot=lambda: now[0])
    collector.add(fed)
    assert (_told(registry, "view_age_seconds") or 0.0) < 5
    assert _told(registry, "max_staleness_seconds") == 30
    fed.view.apply(_denial(1, None))
    assert (_told(registry, "position"), _told(registry, "denials")) == (1000, 1)


def test_how_late_a_denial_came_is_measured_once() -> None:
    registry, collector = _registry()
    one = guard(KEY)
    collector.add(one)
    before = datetime.now(UTC) - timedelta(seconds=2)
    early, first = _denial(2, before), _denial(1, before)
    for denial in (early, early, first, first, early):
        one.view.apply(denial)
    assert one.view.number == 2
    assert _told(registry, "denial_delay_seconds_count") == 2
    assert 4 <= (_told(registry, "denial_delay_seconds_sum") or 0.0) < 20
    one.view.apply(_denial(3, None))
    assert _told(registry, "denial_delay_seconds_count") == 2, "an issuer of before does not say when it was"
