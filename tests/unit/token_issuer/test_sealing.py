"""The sealed request: nobody on the way can read it, change it, or keep it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from services.token_issuer.sealing import AuthorizationRequest, Sealing
from shared.errors import Refusal
from shared.keys import MasterKey
from tests.unit.token_issuer.world import API, CALLBACK, HUB, NOW, later

REQUEST = AuthorizationRequest(
    client_id=HUB,
    redirect_uri=CALLBACK,
    redirect_uri_given=True,
    scopes=("read",),
    audiences=(API,),
    scopes_given=True,
    state="Grüße, 日本",
    nonce=None,
    code_challenge="c" * 43,
    response_mode="query",
    prompt=("login",),
    max_age=0,
    expected_sub=None,
    begun_at=NOW,
    position=7,
)
SEALING = Sealing(MasterKey(b"m" * 32), timedelta(minutes=15))


def test_it_opens_to_what_was_sealed() -> None:
    sealed = SEALING.seal(REQUEST)
    assert HUB not in sealed
    assert SEALING.open(sealed, later(minutes=14)) == REQUEST


def test_it_is_over_after_a_while() -> None:
    with pytest.raises(Refusal) as refused:
        SEALING.open(SEALING.seal(REQUEST), later(minutes=15))
    assert refused.value.code == "request_expired"


def test_a_changed_or_foreign_one_does_not_open() -> None:
    sealed = SEALING.seal(REQUEST)
    foreign = Sealing(MasterKey(b"x" * 32), timedelta(minutes=15)).seal(REQUEST)
    for wrong in (sealed[:-4] + "AAAA", sealed[1:], "A" + sealed[1:], foreign, "", "é", "gAAAA" * 9000):
        with pytest.raises(Refusal) as refused:
            SEALING.open(wrong, NOW)
        assert refused.value.code == "invalid_request"


def test_the_longest_request_still_opens() -> None:
    longest = replace(REQUEST, state="日" * 2048, redirect_uri="https://a.example/" + "x" * 2030, nonce="日" * 512)
    assert SEALING.open(SEALING.seal(longest), NOW) == longest
