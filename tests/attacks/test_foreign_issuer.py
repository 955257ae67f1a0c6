"""Tokens of another issuer (RFC 8725 section 3.8)."""

import pytest

from stagedoor.verdict import Reason
from tests.support.attacking import reason
from tests.support.doors import REFUSED, Doors, parts
from tests.support.sdk_tokens import ISSUER, SigningKey, claims, guard


@pytest.mark.parametrize("issuer", [f"{ISSUER}/", ISSUER.upper(), "https://evil.example", f"{ISSUER}@evil.example", ""])
def test_a_foreign_issuer(key: SigningKey, issuer: str) -> None:
    assert reason(guard(key).check(key.sign(claims(iss=issuer)))) is Reason.WRONG_ISSUER


async def test_an_issuer_of_the_attackers_own(doors: Doors) -> None:
    """It signs well, with keys of its own under the names of ours."""
    for token in (*doors.honest.access_tokens, doors.honest.id_token):
        header, said, _ = parts(token)
        thief = SigningKey(header["kid"])
        for issuer in (doors.issuer, f"{doors.issuer}/", "https://mallory.example/id"):
            assert await doors.answers(thief.sign({**said, "iss": issuer}, {"typ": header["typ"]})) == REFUSED
