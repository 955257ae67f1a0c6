"""The small aggregates: signing keys, tokens without a grant, revocations."""

from services.token_issuer.domain import access_token, revocation, signing_keys
from services.token_issuer.domain.signing_keys import Introduce, KeyState
from services.token_issuer.events import (
    AccessTokenIssued,
    AccessTokenRevoked,
    KeyUse,
    SigningKeyActivated,
    SigningKeyCompromised,
    SigningKeyCreated,
    SigningKeyRetired,
)
from tests.support.decider import given
from tests.unit.token_issuer.world import API, HUB, NOW

JWK = {"kty": "EC"}
FIRST = Introduce("k1", "ES256", KeyUse.ACCESS_TOKEN, JWK)


def test_a_first_key_is_announced_and_used() -> None:
    created = SigningKeyCreated(kid="k1", algorithm="ES256", use=KeyUse.ACCESS_TOKEN, public_jwk=JWK)
    given(signing_keys.decider).when(FIRST).then(created, SigningKeyActivated(kid="k1"))


def test_who_comes_second_brings_none() -> None:
    history = signing_keys.decide(FIRST, signing_keys.Keys())
    second = Introduce("k2", "ES256", KeyUse.ACCESS_TOKEN, JWK)
    given(signing_keys.decider, *history).when(second).then_nothing()
    other = Introduce("k3", "RS256", KeyUse.ID_TOKEN, JWK)
    assert len(given(signing_keys.decider, *history).when(other).events) == 2


def test_the_life_of_a_key() -> None:
    history = (
        *signing_keys.decide(FIRST, signing_keys.Keys()),
        SigningKeyCreated(kid="k2", algorithm="ES256", use=KeyUse.ACCESS_TOKEN, public_jwk=JWK),
    )
    pending = given(signing_keys.decider, *history).state
    assert (pending.active(KeyUse.ACCESS_TOKEN), pending.by_kid["k2"].state) == ("k1", KeyState.PENDING)
    after = given(signing_keys.decider, *history, SigningKeyActivated(kid="k2")).state
    assert (after.active(KeyUse.ACCESS_TOKEN), after.by_kid["k1"].state) == ("k2", KeyState.RETIRING)
    gone = (*history, SigningKeyActivated(kid="k2"), SigningKeyRetired(kid="k1"), SigningKeyCompromised(kid="k2"))
    last = given(signing_keys.decider, *gone).state
    assert last.active(KeyUse.ACCESS_TOKEN) is None
    assert {key.state for key in last.by_kid.values()} == {KeyState.RETIRED, KeyState.COMPROMISED}


ISSUE = access_token.Issue("j", HUB, HUB, ("read",), (API,), 3600)
ISSUED = AccessTokenIssued(
    jti="j", client_id=HUB, sub=HUB, scopes=("read",), audiences=(API,), access_token_seconds=3600
)


def test_a_token_of_its_own_is_issued_once() -> None:
    given(access_token.decider).when(ISSUE).then(ISSUED).when(ISSUE).refused("token_exists")


def test_a_token_is_revoked_once() -> None:
    revoke = revocation.Revoke("j", HUB, NOW)
    revoked = AccessTokenRevoked(jti="j", client_id=HUB, token_ends_at=NOW)
    given(revocation.decider).when(revoke).then(revoked).when(revoke).then_nothing()
