"""The small parts: the clock that follows the log's, and the bound on looking for what is not known."""

from datetime import timedelta

from services.token_issuer.issuer import Allowance
from services.token_issuer.log_clock import LogClock
from services.token_issuer.settings import Policy, TokenIssuerSettings
from tests.unit.token_issuer.world import ISSUER, NOW, PLACES, application, later, public, settings

_FILES = dict.fromkeys(("tls_ca_file", "tls_certificate_file", "tls_key_file"), "/dev/null")


def policy(**changes: object) -> Policy:
    return Policy.of(TokenIssuerSettings.model_validate({**_FILES, **changes}))


def test_a_clock_that_is_an_hour_ahead_is_set_right_by_the_log() -> None:
    clock = LogClock(lambda: later(hours=1), elapsed=lambda: 7.0)
    assert clock() == later(hours=1)
    clock.learn(NOW)
    assert clock() == NOW


def test_a_clock_that_is_set_while_it_runs_changes_nothing() -> None:
    wall, since_boot = [NOW], [100.0]
    clock = LogClock(lambda: wall[0], elapsed=lambda: since_boot[0])
    clock.learn(NOW)
    wall[0], since_boot[0] = later(hours=-5), 130.0
    assert clock() == later(seconds=30)
    clock.learn(later(seconds=31))
    assert clock() == later(seconds=31)


def test_strangers_can_make_it_look_only_so_often() -> None:
    moments = [0.0]
    allowance = Allowance(5, clock=lambda: moments[0])
    assert [allowance.take() for _ in range(7)] == [True] * 5 + [False] * 2
    moments[0] += 0.4
    assert [allowance.take() for _ in range(3)] == [True, True, False]
    moments[0] += 3600
    assert [allowance.take() for _ in range(6)] == [True] * 5 + [False]


def test_the_defaults() -> None:
    rules = policy()
    assert (rules.issuer, rules.places) == (ISSUER, PLACES)
    assert (rules.code, rules.grace) == (timedelta(seconds=60), timedelta(seconds=10))
    assert rules.access_token_life(application()) == 3600
    assert rules.refresh_life(application()) == timedelta(days=30)
    assert rules.refresh_life(application(public())) == timedelta(hours=24)


def test_an_application_may_have_its_own_lifetimes() -> None:
    short = application(settings(access_token_seconds=120, refresh_token_seconds=3600))
    assert policy().access_token_life(short) == 120
    assert policy().refresh_life(short) == timedelta(hours=1)
    forever = application(settings(access_token_seconds=10**9))
    assert policy().access_token_life(forever) == 24 * 3600
