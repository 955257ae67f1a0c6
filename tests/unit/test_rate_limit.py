"""Token buckets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Kind, TooManyRequests
from shared.http.attempts import Attempts, AttemptSettings, Budgets
from shared.http.client_address import LOOPBACK, ClientAddresses, Sent
from shared.rate_limit import Budget, RateLimit


class HeldClock:
    """Seconds, which go when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def limit(clock: HeldClock, burst: int = 3, fade: float = 10.0, capacity: int = 100) -> RateLimit:
    return RateLimit(Budget(burst, fade), capacity=capacity, clock=clock)


def admits(limited: RateLimit, key: str = "a") -> bool:
    try:
        limited.check(key)
    except TooManyRequests:
        return False
    return True


def test_failures_are_admitted_up_to_the_budget() -> None:
    clock = HeldClock()
    limited = limit(clock)
    for _ in range(3):
        assert admits(limited)
        limited.failed("a")
    with pytest.raises(TooManyRequests) as refused:
        limited.check("a")
    assert refused.value.kind is Kind.EXHAUSTED
    assert refused.value.retry_after == pytest.approx(10)
    assert admits(limited, "b")
    clock.now += 9.9
    assert not admits(limited)
    clock.now += 0.2
    assert admits(limited)
    limited.failed("a")
    assert not admits(limited)


def test_looking_costs_nothing_and_remembers_nothing() -> None:
    limited = limit(HeldClock())
    for _ in range(100):
        assert admits(limited)
    assert len(limited) == 0


def test_who_failed_many_times_side_by_side_waits_no_longer() -> None:
    clock = HeldClock()
    limited = limit(clock)
    for _ in range(1000):
        limited.failed("a")
    clock.now += 10.1
    assert admits(limited)


def test_taking_is_looking_and_charging() -> None:
    limited = limit(HeldClock(), burst=1)
    limited.take("a")
    with pytest.raises(TooManyRequests):
        limited.take("a")


def test_what_has_faded_takes_no_memory() -> None:
    clock = HeldClock()
    limited = limit(clock)
    for number in range(50):
        limited.failed(str(number))
    assert len(limited) == 50
    clock.now += 10.1
    for _ in range(26):
        assert admits(limited, "somebody else")
    assert len(limited) == 0


def test_a_full_table_forgets_the_oldest_and_refuses_nobody_for_it() -> None:
    limited = limit(HeldClock(), burst=1, capacity=10)
    for number in range(1000):
        assert admits(limited, str(number))
        limited.failed(str(number))
        assert len(limited) <= 10
    assert admits(limited, "0")
    assert not admits(limited, "999")


def test_who_goes_on_failing_is_not_forgotten_for_others() -> None:
    limited = limit(HeldClock(), burst=1, capacity=10)
    for number in range(1000):
        limited.failed("a")
        limited.failed(str(number))
        assert not admits(limited)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 30)), max_size=60))
def test_no_key_is_admitted_more_often_than_its_budget(course: list[tuple[str, float]]) -> None:
    clock = HeldClock()
    limited = limit(clock, burst=3, fade=10.0, capacity=3)
    admitted: dict[str, list[float]] = {"a": [], "b": [], "c": []}
    for key, wait in course:
        clock.now += wait
        if admits(limited, key):
            limited.failed(key)
            admitted[key].append(clock.now)
    for times in admitted.values():
        for first, at in enumerate(times):
            for number, other in enumerate(times[first:], start=1):
                assert number <= 3 + (other - at) / 10.0 + 1e-6


@pytest.mark.parametrize(("burst", "fade"), [(0, 1.0), (1, 0.0), (1, -1.0)])
def test_a_budget_that_admits_nothing_is_a_mistake(burst: int, fade: float) -> None:
    with pytest.raises(ValueError, match="admits something"):
        RateLimit(Budget(burst, fade))


def at(address: str) -> Sent:
    return Sent("127.0.0.1", [(b"x-forwarded-for", address.encode())])


def test_attempts_count_for_client_and_address_together() -> None:
    attempts = Attempts(ClientAddresses(LOOPBACK), Budgets(Budget(2, 60), Budget(5, 60)))
    for _ in range(2):
        attempts.check(at("192.0.2.7"), ("client", "a"))
        attempts.failed(at("192.0.2.7"), ("client", "a"))
    with pytest.raises(TooManyRequests):
        attempts.check(at("192.0.2.7"), ("client", "a"))
    attempts.check(at("192.0.2.8"), ("client", "a"))
    attempts.check(at("192.0.2.7"), ("client", "b"))
    attempts.check(at("192.0.2.7"), ("code", "a"))
    for _ in range(3):
        attempts.failed(at("192.0.2.7"), ("client", "b"))
    with pytest.raises(TooManyRequests):
        attempts.check(at("192.0.2.7"), ("client", "c"))
    attempts.check(at("192.0.2.8"), ("client", "a"))


def test_a_client_is_still_watched_where_its_address_is_forgotten() -> None:
    attempts = Attempts(ClientAddresses(LOOPBACK), Budgets(Budget(1, 3600), Budget(9, 1e-9)))
    attempts.failed(at("192.0.2.7"), ("client", "a"))
    attempts.check(at("192.0.2.8"), ("client", "a"))
    assert len(attempts) == 1
    assert attempts.watching
    with pytest.raises(TooManyRequests):
        attempts.check(at("192.0.2.7"), ("client", "a"))


def test_all_requests_of_an_address_are_counted_where_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TLS_CA_FILE", "TLS_CERTIFICATE_FILE", "TLS_KEY_FILE"):
        monkeypatch.setenv(f"STAGEDOOR_{name}", "/unused")
    assert AttemptSettings().attempts.total is None
    monkeypatch.setenv("STAGEDOOR_ADDRESS_REQUESTS_PER_SECOND", "0.21")
    attempts = Attempts(ClientAddresses(LOOPBACK), AttemptSettings().attempts)
    for _ in range(3):
        attempts.check(at("192.0.2.7"))
    with pytest.raises(TooManyRequests) as refused:
        attempts.check(at("192.0.2.7"))
    assert 2 < refused.value.retry_after < 5
    attempts.check(at("192.0.2.8"))
