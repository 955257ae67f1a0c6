"""Proofs that nobody with the key has made (RFC 9449 section 11, RFC 8725), at a resource and at the issuer."""

import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.token_issuer.events import AccessTokenIssued
from shared.ids import new_id
from stagedoor import Denied, Proof
from stagedoor.verdict import Reason
from tests.support.dpop import TOKEN, ProofKey, ask, ath
from tests.support.issuing import Stage, error
from tests.support.sdk_tokens import SigningKey, b64, claims, guard

_URI = "https://api.example.com/tours"
_OWNER, _THIEF = ProofKey(name="owner"), ProofKey(name="thief")


def parts(method: str, uri: str, token: str | None, **header: Any) -> str:
    """Header and claims, not signed."""
    said = {"jti": new_id(), "htm": method, "htu": uri, "iat": int(time.time())}
    said |= {} if token is None else {"ath": ath(token)}
    full = {"typ": "dpop+jwt", "alg": "ES256", "jwk": _OWNER.jwk, **header}
    return f"{b64(json.dumps(full).encode())}.{b64(json.dumps(said).encode())}"


def by_hmac(text: str, secret: bytes) -> str:
    return f"{text}.{b64(hmac.digest(secret, text.encode(), hashlib.sha256))}"


def by_thief(text: str) -> str:
    signer = SigningKey()
    signer.ec = _THIEF.private
    return f"{text}.{b64(signer.signature(text.encode()))}"


def private_jwk(key: ProofKey) -> dict[str, str]:
    number = key.private.private_numbers().private_value
    return {**key.jwk, "d": urlsafe_b64encode(number.to_bytes(32)).rstrip(b"=").decode()}


def forgeries(method: str, uri: str, token: str | None) -> dict[str, str]:
    octets = b64(b"k" * 32)
    pem = _OWNER.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return {
        "none": parts(method, uri, token, alg="none") + ".",
        "none, signed": by_thief(parts(method, uri, token, alg="none")),
        "blank": parts(method, uri, token) + ".",
        "zeros": parts(method, uri, token) + "." + b64(b"\0" * 64),
        "symmetric": by_hmac(parts(method, uri, token, alg="HS256", jwk={"kty": "oct", "k": octets}), b"k" * 32),
        "symmetric by the public key": by_hmac(parts(method, uri, token, alg="HS256"), pem),
        "another's key embedded": by_thief(parts(method, uri, token)),
        "a key with its private half": _OWNER.signed(
            {"jti": "x", "htm": method, "htu": uri, "iat": int(time.time()), "ath": token and ath(token)},
            jwk=private_jwk(_OWNER),
        ),
        "a key by address": by_thief(parts(method, uri, token, jwk=None, jku="https://mallory.example/jwks")),
        "a key by name": by_thief(parts(method, uri, token, jwk=None, kid=_OWNER.jkt)),
        "a certificate": by_thief(parts(method, uri, token, x5c=["AAAA"])),
        "an access token": SigningKey().sign(claims()),
    }


NAMES = tuple(forgeries("GET", _URI, None))


@pytest.mark.parametrize("name", NAMES)
def test_at_a_resource(name: str) -> None:
    key = SigningKey()
    token = key.sign(claims(cnf={"jkt": _OWNER.jkt}))
    verdict = guard(key).check(token, proof=Proof("GET", _URI, forgeries("GET", _URI, token)[name]))
    assert isinstance(verdict, Denied)
    assert verdict.reason is Reason.INVALID_PROOF


@pytest.mark.parametrize("name", NAMES)
async def test_at_the_issuer(stage: Stage, name: str) -> None:
    hub = await stage.register(resources=True)
    forged = forgeries("POST", TOKEN, None)[name]
    answer = await ask(stage, hub, None, forged, grant_type="client_credentials")
    assert (answer.status_code, error(answer)) == (400, "invalid_dpop_proof")
    assert forged not in answer.text
    assert await stage.facts(AccessTokenIssued) == []


async def test_several_at_the_issuer(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    one, other = (_OWNER.proof("POST", TOKEN) for _ in range(2))
    for proofs in ((one, other), (one, one), (one, ""), ("", one), (f"{one}, {other}",), ("",), ("x" * 9000,)):
        answer = await ask(stage, hub, None, *proofs, grant_type="client_credentials")
        assert error(answer) == "invalid_dpop_proof", proofs
    assert await stage.facts(AccessTokenIssued) == []
    assert (await ask(stage, hub, None, one, grant_type="client_credentials")).status_code == 200


async def test_the_host_at_the_issuer_is_not_the_clients_to_say(stage: Stage) -> None:
    """A proof that was made for an issuer of the thief's (RFC 9449 section 11.9)."""
    hub = await stage.register(resources=True)
    proof = _OWNER.proof("POST", "https://mallory.example/id/connect/token")
    for name in ("Host", "X-Forwarded-Host"):
        headers = {**hub.headers(), "DPoP": proof, name: "mallory.example", "X-Forwarded-Proto": "https"}
        answer = await stage.http.post(TOKEN, data={"grant_type": "client_credentials"}, headers=headers)
        assert error(answer) == "invalid_dpop_proof"
