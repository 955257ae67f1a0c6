"""Signatures that fit anything, if a library is careless."""

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from stagedoor.token import base64url_bytes
from stagedoor.verdict import Reason
from tests.support.attacking import reason
from tests.support.sdk_tokens import SigningKey, b64, claims, guard


def test_a_signature_of_zeros(key: SigningKey) -> None:
    signed = key.sign(claims()).rpartition(".")[0]
    for blank in (bytes(64), bytes(32) + b"\x01" * 32, b"", bytes(63), bytes(65), bytes(4096)):
        verdict = guard(key).check(f"{signed}.{b64(blank)}")
        assert reason(verdict) in (Reason.BAD_SIGNATURE, Reason.MALFORMED)


def test_a_der_encoded_signature_is_not_the_one_of_a_jws(key: SigningKey) -> None:
    signed, _, signature = key.sign(claims()).rpartition(".")
    raw = base64url_bytes(signature.encode())
    assert raw is not None
    der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    assert reason(guard(key).check(f"{signed}.{b64(der)}")) is Reason.BAD_SIGNATURE
