"""Tokens that bring their key along, point to one, or ask for special treatment (RFC 8725 section 3.10)."""

import pytest

from stagedoor.verdict import Denied, Reason
from tests.support.attacking import reason
from tests.support.sdk_tokens import SigningKey, claims, guard


def test_a_key_in_the_header_is_not_used(key: SigningKey) -> None:
    thief = SigningKey("thief")
    for extra in (
        {"jwk": thief.jwk},
        {"jwk": thief.jwk, "kid": key.kid},
        {"jku": "https://evil.example/jwks"},
        {"x5u": "https://evil.example/chain"},
        {"x5c": ["MIIB"]},
    ):
        assert isinstance(guard(key).check(thief.sign(claims(), extra)), Denied)
        # Even the issuer's own signature does not make such a header acceptable.
        assert isinstance(guard(key).check(key.sign(claims(), extra)), Denied)


@pytest.mark.parametrize("extra", [{"crit": ["exp"]}, {"crit": []}, {"b64": False, "crit": ["b64"]}, {"zip": "DEF"}])
def test_critical_extensions_are_refused(key: SigningKey, extra: dict[str, object]) -> None:
    assert reason(guard(key).check(key.sign(claims(), extra))) is Reason.MALFORMED
