"""Tokens that say they need no signature (RFC 8725 section 2.1)."""

import json

import pytest

from stagedoor.verdict import Reason
from tests.support.attacking import reason
from tests.support.doors import REFUSED, Doors, parts, unsigned
from tests.support.sdk_tokens import SigningKey, b64, claims, guard


@pytest.mark.parametrize("none", ["none", "None", "NONE", "nOnE", ""])
@pytest.mark.parametrize("signature", ["", "AAAA"])
def test_alg_none(key: SigningKey, none: str, signature: str) -> None:
    header = {"alg": none, "typ": "at+jwt", "kid": key.kid}
    token = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims()).encode())}.{signature}"
    assert reason(guard(key).check(token)) in (Reason.MALFORMED, Reason.BAD_SIGNATURE)


@pytest.mark.parametrize("none", ["none", "None", "NONE", "", None])
async def test_alg_none_at_every_door(doors: Doors, none: str | None) -> None:
    for token in (*doors.honest.access_tokens, doors.honest.id_token):
        header, said, signature = parts(token)
        without = {name: value for name, value in header.items() if name != "alg"}
        signed = unsigned(without if none is None else {**header, "alg": none}, said)
        for last in ("", signature):
            assert await doors.answers(f"{signed}.{last}") == REFUSED
