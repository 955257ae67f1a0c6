"""Keys of applications: which are believed, and who has some."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from services.registry.domain.application import AddSecret, Change, NewSecret, Register, decider
from services.registry.domain.public_keys import MOST_KEYS, check_keys, jwks_text, public_keys
from services.registry.events import ApplicationChanged, ApplicationRegistered, AuthMethod, PublicJwk
from shared.errors import Refusal
from tests.support.decider import given
from tests.unit.registry.applications import FIRST, HUB, KNOWN, confidential, public, register, registered

METADATA = "invalid_client_metadata"
# The keys of RFC 7515 appendix A.3, RFC 8037 appendix A.2, and a modulus of 2048 bits.
EC = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
ED = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
RSA = {"kty": "RSA", "n": "w" + "A" * 340 + "Q", "e": "AQAB"}
SIGNING = {"auth_method": AuthMethod.PRIVATE_KEY_JWT, "jwks": (PublicJwk(**EC, kid="one"),)}


def text(*keys: dict[str, Any]) -> str:
    return json.dumps({"keys": keys})


@pytest.mark.parametrize("key", [EC, ED, RSA, {**EC, "alg": "ES256"}, {**RSA, "alg": "PS256"}, {**ED, "alg": "EdDSA"}])
def test_good_keys(key: dict[str, Any]) -> None:
    read = public_keys(text({**key, "kid": "one", "use": "sig", "key_ops": ["verify"], "x5t": "abc"}))
    check_keys(read)
    assert json.loads(jwks_text(read)) == {"keys": [{**key, "kid": "one"}]}


@pytest.mark.parametrize(
    "key",
    [
        {**EC, "alg": "HS256"},
        {**EC, "alg": "none"},
        {**EC, "alg": "RS256"},
        {**RSA, "alg": "RS1"},
        {**EC, "crv": "P-521"},
        {**EC, "crv": "secp256k1"},
        {**ED, "crv": "X25519"},
        {**EC, "y": EC["x"]},
        {**EC, "x": EC["x"] + "A"},
        {**EC, "x": EC["x"] + "="},
        {**EC, "n": "AQAB"},
        {"kty": "EC", "crv": "P-256", "x": EC["x"]},
        {**ED, "x": "AA"},
        {**RSA, "n": "w" + "A" * 168 + "Q"},
        {**RSA, "n": "w" + "A" * 341},
        {**RSA, "e": "AQ"},
        {**RSA, "e": "Ag"},
        {**RSA, "kid": ""},
        {**EC, "kid": "a b"},
        {**EC, "kid": "k" * 129},
        {"kty": "DSA"},
        {},
        {**EC, "kty": 7},
        {**EC, "x": 7},
        {**EC, "use": "enc"},
        {**EC, "key_ops": ["sign"]},
    ],
)
def test_other_keys_are_refused(key: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as refused:
        check_keys(public_keys(text(key)))
    assert refused.value.code == METADATA


@pytest.mark.parametrize(
    "private", [{**EC, "d": "AA"}, {**RSA, "p": "AA", "q": "AA"}, {"kty": "oct", "k": "AA"}, {"kty": "oct"}]
)
def test_a_set_with_anything_private_in_it_is_refused_whole(private: dict[str, Any]) -> None:
    with pytest.raises(Refusal, match="not public"):
        public_keys(text(EC, private))


@pytest.mark.parametrize(
    "document", ["", "x", "[]", "{}", '{"keys": {}}', '{"keys": []}', '{"keys": [1]}', "9" * 40000]
)
def test_what_is_no_set_is_refused(document: str) -> None:
    with pytest.raises(Refusal):
        public_keys(document)


def test_a_member_that_is_there_twice_is_refused() -> None:
    with pytest.raises(Refusal):
        public_keys('{"keys": [{"kty": "EC", "kty": "RSA"}]}')


@drawn(st.text() | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps))
def test_no_text_breaks_it(document: str) -> None:
    with pytest.raises(Refusal):
        public_keys(document)


def test_several_keys_can_be_told_apart() -> None:
    check_keys(public_keys(text({**EC, "kid": "a"}, {**ED, "kid": "b"})))
    for keys in ([EC, ED], [{**EC, "kid": "a"}, {**ED, "kid": "a"}]):
        with pytest.raises(Refusal):
            check_keys(public_keys(text(*keys)))
    many = [{**EC, "kid": str(number)} for number in range(MOST_KEYS + 1)]
    with pytest.raises(Refusal):
        check_keys(public_keys(text(*many)))


def test_an_application_that_signs_has_no_secret() -> None:
    settings = confidential(**SIGNING)
    signs = ApplicationRegistered(client_id=HUB, settings=settings)
    given(decider).when(register(settings)).then(signs)
    more = AddSecret(HUB, NewSecret("two", "11" * 32), datetime(1985, 7, 13, tzinfo=UTC))
    given(decider, signs).when(more).refused("no_secrets")


def test_whoever_signs_has_keys_in_one_place() -> None:
    for changes in (
        {"auth_method": AuthMethod.PRIVATE_KEY_JWT},
        {**SIGNING, "jwks_uri": "https://hub.example/keys"},
        {**SIGNING, "jwks": (PublicJwk(**{**EC, "crv": "P-384"}),)},
        {"jwks": SIGNING["jwks"]},
        {"jwks_uri": "https://hub.example/keys"},
        {"require_signed_request_object": True},
    ):
        given(decider).when(register(confidential(**changes))).refused(METADATA, "key")
    given(decider).when(register(public(**SIGNING))).refused(METADATA)


@pytest.mark.parametrize(
    ("uri", "outside", "demo"),
    [
        ("https://hub.example/keys", True, True),
        ("http://localhost:8480/keys", False, True),
        ("https://localhost/keys", False, True),
        ("https://127.0.0.1/keys", False, True),
        ("http://hub.example/keys", False, False),
        ("file:///etc/passwd", False, False),
        ("https://brian@hub.example/keys", False, False),
        ("https://hub.example/keys#one", False, False),
    ],
)
def test_where_keys_are_fetched_from(uri: str, *, outside: bool, demo: bool) -> None:
    settings = confidential(auth_method=AuthMethod.PRIVATE_KEY_JWT, jwks_uri=uri)
    for in_demo, admitted in ((False, outside), (True, demo)):
        asked = given(decider).when(Register(HUB, settings, KNOWN, FIRST, demo=in_demo))
        if admitted:
            asked.then(ApplicationRegistered(client_id=HUB, settings=settings))
        else:
            asked.refused(METADATA, "JWKS URI")


def test_from_a_secret_to_a_key_and_back_is_one_change() -> None:
    signs = confidential(**SIGNING)
    changed = ApplicationChanged(client_id=HUB, settings=signs, narrowed=False, proof_changed=True)
    given(decider, *registered()).when(Change(HUB, SIGNING, KNOWN)).then(changed)
    # Left open, it is what the keys say.
    to_keys = {"auth_method": None, "jwks": SIGNING["jwks"]}
    given(decider, *registered()).when(Change(HUB, to_keys, KNOWN)).then(changed)
    back = {"auth_method": None, "jwks": ()}
    given(decider, *registered(), changed).when(Change(HUB, back, KNOWN)).then(
        ApplicationChanged(client_id=HUB, settings=confidential(), narrowed=False, proof_changed=True)
    )
    given(decider, *registered(), changed).when(Change(HUB, {"jwks": ()}, KNOWN)).refused(METADATA, "keys")


def test_only_who_can_keep_a_secret_goes_without_pkce() -> None:
    free = confidential(require_pkce=False)
    given(decider).when(register(free)).then(*registered(free))
    signs = confidential(**SIGNING, require_pkce=False)
    given(decider).when(register(signs)).then(ApplicationRegistered(client_id=HUB, settings=signs))
    given(decider).when(register(public(require_pkce=False))).refused(METADATA, "PKCE")
