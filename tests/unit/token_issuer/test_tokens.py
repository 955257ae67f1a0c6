"""The tokens, read by an independent library; and what the issuer does not take for one of its own."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import msgspec
import pytest
from msgspec.structs import replace

from services.token_issuer.domain.grant import Grant
from services.token_issuer.events import KeyUse
from services.token_issuer.signing import SigningKey, generate, load, read
from services.token_issuer.tokens import ACCESS_TOKEN, ID_TOKEN, Content, Issued, access_token, at_hash, id_token
from stagedoor.keys import PublicKey, StaticKeys
from stagedoor.token import AccessToken
from stagedoor.token import read as read_access_token
from tests.unit.token_issuer.world import API, CALLBACK, HUB, ISSUER, NOW, PLACES, later

GRANT = Grant(
    gid="g",
    client_id=HUB,
    sub="freddie",
    sid="s",
    scopes=("openid", "read"),
    audiences=(API, PLACES.userinfo),
    redirect_uri=CALLBACK,
    redirect_uri_given=True,
    code_digest="",
    code_challenge=None,
    nonce="n",
    auth_time=NOW,
    amr=("pwd",),
    roles=(),
    opened_at=NOW,
    code_expires_at=later(seconds=60),
    refresh_expires_at=None,
    tokens_end_at=later(hours=1),
    jti="j",
    access_token_seconds=600,
)
ISSUED = Issued(3, 42, later(seconds=5.9))


@pytest.fixture(scope="module")
def keys() -> dict[KeyUse, tuple[SigningKey, dict[str, str]]]:
    return {use: generate(use) for use in KeyUse}


def content(**changes: Any) -> Content:
    whole = Content("j", "freddie", HUB, ("openid", "read"), (API, PLACES.userinfo), 600, (), GRANT)
    return replace(whole, **changes)


def test_an_access_token_is_as_rfc_9068_has_it(keys: dict[KeyUse, tuple[SigningKey, dict[str, str]]]) -> None:
    key, jwk = keys[KeyUse.ACCESS_TOKEN]
    token = access_token(key, ISSUER, content(), ISSUED)
    assert jwt.get_unverified_header(token) == {"alg": "ES256", "typ": "at+jwt", "kid": jwk["kid"]}
    claims = jwt.decode(token, jwt.PyJWK(jwk), algorithms=["ES256"], audience=API, options={"verify_exp": False})
    begun = int(NOW.timestamp())
    assert claims == {
        "iss": ISSUER,
        "sub": "freddie",
        "aud": [API, PLACES.userinfo],
        "client_id": HUB,
        "scope": "openid read",
        "iat": begun + 5,
        "nbf": begun + 5,
        "exp": begun + 605,
        "jti": "j",
        "pos": 42,
        "epoch": 3,
        "sid": "s",
        "gid": "g",
        "auth_time": begun,
        "acr": "urn:stagedoor:acr:password",
        "amr": ["pwd"],
    }


def test_the_sdk_reads_it(keys: dict[KeyUse, tuple[SigningKey, dict[str, str]]]) -> None:
    key, _ = keys[KeyUse.ACCESS_TOKEN]
    token = access_token(key, ISSUER, content(roles=("auditor",)), ISSUED)
    verified = read_access_token(token, StaticKeys([key.public]), ISSUER)
    assert isinstance(verified, AccessToken)
    assert (verified.pos, verified.epoch, verified.roles) == (42, 3, frozenset({"auditor"}))


@pytest.mark.parametrize("changes", [{}, {"roles": ("auditor",)}, {"grant": None, "sub": HUB}])
def test_the_sdk_reads_it_the_short_way(
    keys: dict[KeyUse, tuple[SigningKey, dict[str, str]]], changes: dict[str, Any]
) -> None:
    """It is spelled, and its claims are ordered, as the SDK would write them."""
    key, _ = keys[KeyUse.ACCESS_TOKEN]
    verified = read_access_token(
        access_token(key, ISSUER, content(**changes), ISSUED), StaticKeys([key.public]), ISSUER
    )
    assert isinstance(verified, AccessToken)
    assert msgspec.json.encode(verified.said) == verified.payload


def test_a_token_without_a_person_names_no_session(keys: dict[KeyUse, tuple[SigningKey, dict[str, str]]]) -> None:
    key, _ = keys[KeyUse.ACCESS_TOKEN]
    token = access_token(key, ISSUER, content(grant=None, sub=HUB), ISSUED)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert not {"sid", "gid", "auth_time", "amr", "roles"} & claims.keys()


def test_an_id_token_says_nothing_personal(keys: dict[KeyUse, tuple[SigningKey, dict[str, str]]]) -> None:
    key, jwk = keys[KeyUse.ID_TOKEN]
    token = id_token(key, ISSUER, GRANT, ISSUED, beside="access", nonce="n")
    assert jwt.get_unverified_header(token) == {"alg": "RS256", "typ": "JWT", "kid": jwk["kid"]}
    claims = jwt.decode(token, jwt.PyJWK(jwk), algorithms=["RS256"], audience=HUB, options={"verify_exp": False})
    begun = int(NOW.timestamp())
    assert claims == {
        "iss": ISSUER,
        "sub": "freddie",
        "aud": HUB,
        "iat": begun + 5,
        "exp": begun + 605,
        "auth_time": begun,
        "acr": "urn:stagedoor:acr:password",
        "amr": ["pwd"],
        "sid": "s",
        "at_hash": at_hash("access"),
        "nonce": "n",
    }


def test_at_hash_is_that_of_the_standard() -> None:
    # OpenID Connect Core appendix A.4
    assert at_hash("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y") == "77QmUPtjPfzWtF2AnpK9RQ"


def test_a_key_comes_back_from_its_private_half(keys: dict[KeyUse, tuple[SigningKey, dict[str, str]]]) -> None:
    for use, (key, _) in keys.items():
        again = load(use, key.private_der())
        assert again.kid == key.kid
        assert read(again.sign("JWT", {"a": 1}), lambda _, key=key: key.public, "JWT") == {"a": 1}  # type: ignore[misc]
    with pytest.raises(ValueError, match="another kind"):
        load(KeyUse.ACCESS_TOKEN, keys[KeyUse.ID_TOKEN][0].private_der())


def _part(value: object) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


FORGERIES: dict[str, Callable[[str, SigningKey], str]] = {
    "alg none": lambda token, key: f"{_part({'alg': 'none', 'typ': 'JWT', 'kid': key.kid})}.{token.split('.')[1]}.",
    "no signature": lambda token, _: token.rpartition(".")[0] + ".",
    "HS256 under the public key": lambda token, key: (
        f"{_part({'alg': 'HS256', 'typ': 'JWT', 'kid': key.kid})}." + token.partition(".")[2]
    ),
    "another kid": lambda token, _: (
        f"{_part({'alg': 'RS256', 'typ': 'JWT', 'kid': '../x'})}." + token.partition(".")[2]
    ),
    "kid of another type": lambda token, _: (
        f"{_part({'alg': 'RS256', 'typ': 'JWT', 'kid': 1})}." + token.partition(".")[2]
    ),
    "a key of its own": lambda _, __: generate(KeyUse.ID_TOKEN)[0].sign("JWT", {"iss": ISSUER, "sub": "x", "aud": HUB}),
    "jwk in the header": lambda token, key: (
        f"{_part({'alg': 'RS256', 'typ': 'JWT', 'kid': key.kid, 'jwk': {}})}." + token.partition(".")[2]
    ),
    "other claims": lambda token, _: f"{token.split('.')[0]}.{_part({'sub': 'brian'})}.{token.split('.')[2]}",
    "padding": lambda token, _: token + "=",
    "an access token's type": lambda _, key: key.sign(ACCESS_TOKEN, {"iss": ISSUER}),
    "four parts": lambda token, _: token + ".x",
    "nothing": lambda _, __: "",
    "too long": lambda token, _: token + "x" * 9000,
    "foreign characters": lambda token, _: token[:-1] + "é",
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_forged_hint_is_not_read(
    forge: Callable[[str, SigningKey], str], keys: dict[KeyUse, tuple[SigningKey, dict[str, str]]]
) -> None:
    key, _ = keys[KeyUse.ID_TOKEN]

    def find(kid: str) -> PublicKey | None:
        return key.public if kid == key.kid else None

    token = id_token(key, ISSUER, GRANT, ISSUED, beside="access", nonce=None)
    assert read(token, find, ID_TOKEN) is not None
    assert read(forge(token, key), find, ID_TOKEN) is None


def test_whole_seconds() -> None:
    assert Issued(1, 1, NOW + timedelta(microseconds=999_999)).iat == int(NOW.timestamp())
