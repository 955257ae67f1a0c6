"""The rules of a grant that is bound to a key (RFC 9449 sections 5 and 10)."""

from dataclasses import replace
from datetime import timedelta

import pytest

from services.token_issuer.domain.binding import Key
from services.token_issuer.domain.grant import Open, Redeem, Refresh, State, decider
from services.token_issuer.events import CodeRedeemed, GrantEnded, GrantEndReason, RefreshTokenRotated
from shared.errors import Refusal
from shared.ids import digest
from tests.unit.token_issuer.test_grant import OPEN, REDEEM, REFRESH

OWN, OTHER = Key("own", binds_refresh=True), Key("other", binds_refresh=True)
KEPT_BY_A_SECRET = Key("own", binds_refresh=False)


def after(*commands: Open | Redeem | Refresh) -> State:
    """The state after these have been decided in turn."""
    state: State = None
    for command in commands:
        for event in decider.decide(command, state):
            state = decider.evolve(state, event)
    return state


def refused(command: Redeem | Refresh, state: State) -> str:
    with pytest.raises(Refusal) as told:
        decider.decide(command, state)
    return told.value.code


@pytest.mark.parametrize("key", [None, OTHER])
def test_a_code_for_a_key_is_redeemed_with_that_key(key: Key | None) -> None:
    state = after(replace(OPEN, dpop_jkt="own"))
    assert refused(replace(REDEEM, key=key), state) == "invalid_grant"
    (redeemed,) = decider.decide(replace(REDEEM, key=OWN), state)
    assert isinstance(redeemed, CodeRedeemed)
    assert (redeemed.jkt, redeemed.refresh_jkt) == ("own", "own")


def test_a_code_for_a_key_is_replayed_with_that_key() -> None:
    state = after(replace(OPEN, dpop_jkt="own"), replace(REDEEM, key=OWN))
    for key in (None, OTHER):
        assert refused(replace(REDEEM, key=key), state) == "invalid_grant"
    (ended,) = decider.decide(replace(REDEEM, key=OWN), state)
    assert isinstance(ended, GrantEnded)
    assert ended.reason is GrantEndReason.CODE_REUSED


def test_without_a_refresh_token_there_is_none_to_bind() -> None:
    (redeemed,) = decider.decide(replace(REDEEM, key=OWN), after(replace(OPEN, refresh_lifetime=None)))
    assert isinstance(redeemed, CodeRedeemed)
    assert (redeemed.jkt, redeemed.refresh_jkt) == ("own", None)


@pytest.mark.parametrize("key", [None, OTHER])
def test_a_bound_refresh_token_needs_its_key(key: Key | None) -> None:
    state = after(OPEN, replace(REDEEM, key=OWN))
    assert refused(replace(REFRESH, key=key), state) == "invalid_grant"
    (rotated,) = decider.decide(replace(REFRESH, key=OWN), state)
    assert isinstance(rotated, RefreshTokenRotated)
    assert (rotated.jkt, rotated.refresh_jkt) == ("own", "own")


@pytest.mark.parametrize("key", [None, OTHER])
def test_one_that_is_kept_by_a_secret_goes_with_any_key(key: Key | None) -> None:
    state = after(OPEN, replace(REDEEM, key=KEPT_BY_A_SECRET))
    shown = None if key is None else replace(key, binds_refresh=False)
    (rotated,) = decider.decide(replace(REFRESH, key=shown), state)
    assert isinstance(rotated, RefreshTokenRotated)
    assert (rotated.jkt, rotated.refresh_jkt) == (None if key is None else "other", None)


@pytest.mark.parametrize("begun_with", [None, OWN, KEPT_BY_A_SECRET])
def test_a_retry_comes_with_the_same_key(begun_with: Key | None) -> None:
    first = replace(REFRESH, key=begun_with)
    state = after(OPEN, replace(REDEEM, key=begun_with), first)
    again = replace(first, now=REFRESH.now + timedelta(seconds=9))
    assert decider.decide(again, state) == ()
    for key in {None, OWN, OTHER} - {begun_with} - ({OWN} if begun_with is KEPT_BY_A_SECRET else set()):
        assert refused(replace(again, key=key), state) == "invalid_grant"


@pytest.mark.parametrize("key", [None, OWN, OTHER])
def test_after_the_grace_it_is_reuse_whoever_comes(key: Key | None) -> None:
    state = after(OPEN, replace(REDEEM, key=OWN), replace(REFRESH, key=OWN))
    late = replace(REFRESH, key=key, now=REFRESH.now + timedelta(seconds=11))
    older = replace(late, presented_digest=digest("r0"), outdated=True)
    for command in (late, older):
        (ended,) = decider.decide(command, state)
        assert isinstance(ended, GrantEnded)
        assert ended.reason is GrantEndReason.REFRESH_TOKEN_REUSED


def test_the_first_proof_of_a_public_application_binds_it() -> None:
    state = after(OPEN, REDEEM, replace(REFRESH, key=OWN))
    following = replace(REFRESH, presented_digest=digest("r2"), successor_digest=digest("r3"))
    for key in (None, OTHER):
        assert refused(replace(following, key=key), state) == "invalid_grant"
    (rotated,) = decider.decide(replace(following, key=OWN), state)
    assert isinstance(rotated, RefreshTokenRotated)
    assert rotated.refresh_jkt == "own"
