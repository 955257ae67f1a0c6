"""Tokens that have a key used for another algorithm, or another key's name (RFC 8725 section 2.1)."""

import hmac
import json

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from stagedoor.keys import Algorithm, StaticKeys, parse_jwk
from stagedoor.verdict import Allowed, Reason
from tests.support.attacking import reason
from tests.support.doors import REFUSED, Doors, parts, unsigned
from tests.support.sdk_tokens import SigningKey, b64, claims, guard


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


async def test_the_public_keys_as_shared_secrets_at_every_door(doors: Doors) -> None:
    """They are public, so everybody could sign with them."""
    secrets = [json.dumps(doors.honest.jwks).encode(), b""]
    for jwk in doors.honest.jwks["keys"]:
        public = parse_jwk(jwk)
        assert public is not None
        secrets += [
            public.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            public.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            json.dumps(jwk).encode(),
        ]
    for token in (*doors.honest.access_tokens, doors.honest.id_token):
        header, said, _ = parts(token)
        for secret in secrets:
            signed = unsigned({**header, "alg": "HS256"}, said)
            forged = f"{signed}.{b64(hmac.digest(secret, signed.encode(), 'sha256'))}"
            assert await doors.answers(forged) == REFUSED


async def test_swapped_algorithms_at_every_door(doors: Doors) -> None:
    """The thief's keys are of the kinds that the issuer has; the names are those of its keys."""
    kids = {jwk["alg"]: jwk["kid"] for jwk in doors.honest.jwks["keys"]}
    assert set(kids) == {"ES256", "RS256"}
    for token in (*doors.honest.access_tokens, doors.honest.id_token):
        header, said, signature = parts(token)
        other = "RS256" if header["alg"] == "ES256" else "ES256"
        for changed in ({"alg": other}, {"kid": kids[other]}, {"alg": other, "kid": kids[other]}):
            assert await doors.answers(f"{unsigned({**header, **changed}, said)}.{signature}") == REFUSED
        for algorithm in Algorithm:
            for kid in kids.values():
                thief = SigningKey(kid, algorithm)
                assert await doors.answers(thief.sign(said, {"typ": header["typ"]})) == REFUSED
