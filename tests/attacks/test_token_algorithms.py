"""Tokens that try to choose how they are verified (RFC 8725 sections 2.1 and 2.2)."""

import hmac
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from stagedoor.keys import Algorithm, StaticKeys
from stagedoor.token import _decode
from stagedoor.verdict import Allowed, Denied, Reason, Verdict
from tests.support.sdk_tokens import SigningKey, b64, claims, guard


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey()


@pytest.fixture(scope="module")
def rsa_key() -> SigningKey:
    return SigningKey("key-rsa", Algorithm.RS256)


def reason(verdict: Verdict) -> Reason | None:
    return verdict.reason if isinstance(verdict, Denied) else None


@pytest.mark.parametrize("none", ["none", "None", "NONE", "nOnE", ""])
@pytest.mark.parametrize("signature", ["", "AAAA"])
def test_alg_none(key: SigningKey, none: str, signature: str) -> None:
    header = {"alg": none, "typ": "at+jwt", "kid": key.kid}
    token = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims()).encode())}.{signature}"
    assert reason(guard(key).check(token)) in (Reason.MALFORMED, Reason.BAD_SIGNATURE)


def test_a_public_key_used_as_a_shared_secret(rsa_key: SigningKey) -> None:
    public = rsa_key.public.key
    secrets = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(rsa_key.jwk).encode(),
    ]
    for secret in secrets:
        header = {"alg": "HS256", "typ": "at+jwt", "kid": rsa_key.kid}
        signed = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims()).encode())}"
        token = f"{signed}.{b64(hmac.digest(secret, signed.encode(), 'sha256'))}"
        assert reason(guard(rsa_key).check(token)) is Reason.BAD_SIGNATURE


def test_a_key_is_used_with_its_own_algorithm_only(key: SigningKey, rsa_key: SigningKey) -> None:
    checked = guard(key, keys=StaticKeys([key.public, rsa_key.public]))
    assert isinstance(checked.check(key.sign(claims())), Allowed)
    assert isinstance(checked.check(rsa_key.sign(claims())), Allowed)
    for signer, other in ((key, rsa_key), (rsa_key, key)):
        assert reason(checked.check(signer.sign(claims(), {"alg": other.algorithm}))) is Reason.BAD_SIGNATURE
        assert reason(checked.check(signer.sign(claims(), {"kid": other.kid}))) is Reason.BAD_SIGNATURE
    for algorithm in ("RS384", "PS256", "ES384", "EdDSA", "es256", ["ES256"], None, 1):
        assert reason(checked.check(key.sign(claims(), {"alg": algorithm}))) in (
            Reason.BAD_SIGNATURE,
            Reason.MALFORMED,
        )


def test_the_signature_of_another_key_under_a_known_id(key: SigningKey) -> None:
    thief = SigningKey(key.kid)
    assert reason(guard(key).check(thief.sign(claims()))) is Reason.BAD_SIGNATURE


def test_a_signature_of_zeros(key: SigningKey) -> None:
    signed = key.sign(claims()).rpartition(".")[0]
    for blank in (bytes(64), bytes(32) + b"\x01" * 32, b"", bytes(63), bytes(65), bytes(4096)):
        verdict = guard(key).check(f"{signed}.{b64(blank)}")
        assert reason(verdict) in (Reason.BAD_SIGNATURE, Reason.MALFORMED)


def test_a_der_encoded_signature_is_not_the_one_of_a_jws(key: SigningKey) -> None:
    signed, _, signature = key.sign(claims()).rpartition(".")
    raw = _decode(signature.encode())
    assert raw is not None
    der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    assert reason(guard(key).check(f"{signed}.{b64(der)}")) is Reason.BAD_SIGNATURE
