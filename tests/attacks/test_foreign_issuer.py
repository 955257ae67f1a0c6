"""Tokens of another issuer (RFC 8725 section 3.8)."""

import pytest

from stagedoor.verdict import Reason
from tests.support.attacking import reason
from tests.support.sdk_tokens import ISSUER, SigningKey, claims, guard


@pytest.mark.parametrize("issuer", [f"{ISSUER}/", ISSUER.upper(), "https://evil.example", f"{ISSUER}@evil.example", ""])
def test_a_foreign_issuer(key: SigningKey, issuer: str) -> None:
    assert reason(guard(key).check(key.sign(claims(iss=issuer)))) is Reason.WRONG_ISSUER
