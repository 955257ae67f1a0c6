"""The rules of a grant that is bound to a client certificate (RFC 8705 sections 3, 4 and 7.1)."""

from dataclasses import replace
from datetime import timedelta

import pytest

from services.token_issuer.domain.binding import Key, cnf
from services.token_issuer.domain.grant import decider
from services.token_issuer.events import CodeRedeemed, RefreshTokenRotated
from shared.ids import digest
from tests.unit.token_issuer.test_grant import OPEN, REDEEM, REFRESH
from tests.unit.token_issuer.test_grant_keys import after, refused

OWN = Key(None, binds_refresh=True, x5t_s256="own")
OTHER = Key(None, binds_refresh=True, x5t_s256="other")
NAMESAKE = Key("own", binds_refresh=True)
"""Shown by a proof: what it is called by is no certificate."""
KEPT_BY_A_SECRET = replace(OWN, binds_refresh=False)
WRONG = [None, OTHER, NAMESAKE]


def test_a_code_gives_tokens_that_are_bound() -> None:
    (redeemed,) = decider.decide(replace(REDEEM, key=OWN), after(OPEN))
    assert isinstance(redeemed, CodeRedeemed)
    assert (redeemed.x5t_s256, redeemed.refresh_x5t_s256) == ("own", "own")
    assert (redeemed.jkt, redeemed.refresh_jkt) == (None, None)


def test_without_a_refresh_token_there_is_none_to_bind() -> None:
    (redeemed,) = decider.decide(replace(REDEEM, key=OWN), after(replace(OPEN, refresh_lifetime=None)))
    assert isinstance(redeemed, CodeRedeemed)
    assert (redeemed.x5t_s256, redeemed.refresh_x5t_s256) == ("own", None)


@pytest.mark.parametrize("key", WRONG)
def test_a_bound_refresh_token_needs_its_certificate(key: Key | None) -> None:
    state = after(OPEN, replace(REDEEM, key=OWN))
    assert refused(replace(REFRESH, key=key), state) == "invalid_grant"
    (rotated,) = decider.decide(replace(REFRESH, key=OWN), state)
    assert isinstance(rotated, RefreshTokenRotated)
    assert (rotated.x5t_s256, rotated.refresh_x5t_s256) == ("own", "own")
    following = replace(REFRESH, presented_digest=digest("r2"), successor_digest=digest("r3"), key=key)
    assert refused(following, after(OPEN, replace(REDEEM, key=OWN), replace(REFRESH, key=OWN))) == "invalid_grant"


@pytest.mark.parametrize("certificate", ["own", "other"])
def test_one_that_is_kept_by_client_authentication_goes_with_any(certificate: str) -> None:
    state = after(OPEN, replace(REDEEM, key=KEPT_BY_A_SECRET))
    (rotated,) = decider.decide(replace(REFRESH, key=replace(KEPT_BY_A_SECRET, x5t_s256=certificate)), state)
    assert isinstance(rotated, RefreshTokenRotated)
    assert (rotated.x5t_s256, rotated.refresh_x5t_s256) == (certificate, None)


@pytest.mark.parametrize("begun_with", [OWN, KEPT_BY_A_SECRET])
def test_a_retry_comes_with_the_same_certificate(begun_with: Key) -> None:
    first = replace(REFRESH, key=begun_with)
    again = replace(first, now=REFRESH.now + timedelta(seconds=9))
    state = after(OPEN, replace(REDEEM, key=begun_with), first)
    assert decider.decide(again, state) == ()
    for key in WRONG:
        assert refused(replace(again, key=key), state) == "invalid_grant"


def test_what_a_token_says_of_it() -> None:
    assert cnf(None, None) is None
    assert cnf("k", None) == {"jkt": "k"}
    assert cnf(None, "c") == {"x5t#S256": "c"}
    assert cnf("k", "c") == {"jkt": "k", "x5t#S256": "c"}
