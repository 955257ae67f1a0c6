"""Memory of a guard under a flood of sign-ins and sign-outs, which leaves a denial each time."""

import gc
import tracemalloc
from datetime import UTC, datetime, timedelta

from stagedoor.clock import since_boot
from stagedoor.denials import Denial, DenialKind, DenialRule
from tests.support.sdk_tokens import SigningKey, claims, guard


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
