"""Reference tokens for tests, and an issuer that is asked about them."""

import json
import secrets
import string
import time
from typing import Any
from zlib import crc32

from stagedoor.feed import Answer, OnlineError
from tests.support.sdk_tokens import AUDIENCE, ISSUER

_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase


def base62(number: int, length: int) -> str:
    text = ""
    while number:
        number, digit = divmod(number, 62)
        text = _DIGITS[digit] + text
    return text.rjust(length, "0")


def make(kind: str = "pat", number: int | None = None) -> str:
    """A well-formed one; of random bits unless told."""
    text = f"stagedoor_{kind}_{base62(secrets.randbits(256) if number is None else number, 43)}"
    return text + base62(crc32(text.encode("ascii")), 6)


def claims(**changes: Any) -> dict[str, Any]:
    """What the issuer says of one; a change to None leaves the claim out."""
    now = int(time.time())
    full = {
        "iss": ISSUER,
        "sub": "sub-freddie",
        "aud": [AUDIENCE],
        "client_id": "com.backstagehub/app",
        "scope": "read",
        "iat": now,
        "exp": now + 90 * 86400,
        "jti": "ref-1",
        "pos": 100,
        "epoch": 1,
        "reference": "pat",
        **changes,
    }
    return {name: value for name, value in full.items() if value is not None}


class Desk:
    """An `Online` that knows some reference tokens."""

    def __init__(self) -> None:
        self.known: dict[str, dict[str, Any]] = {}
        self.refused: dict[str, str] = {}
        self.asked: list[str] = []
        self.down = False
        self.position = 1000

    def issue(self, kind: str = "pat", **changes: Any) -> str:
        token = make(kind)
        self.known[token] = claims(reference=kind, **changes)
        return token

    async def validate(self, token: str, *, audience: str, with_claims: bool = False, **_: Any) -> Answer:
        self.asked.append(token)
        if self.down:
            raise OnlineError("it is down")
        if token in self.refused:
            return Answer(allowed=False, reason=self.refused[token], position=self.position)
        if token not in self.known:
            return Answer(allowed=False, reason="unknown_token", position=self.position)
        said = self.known[token]
        if audience not in said["aud"]:
            return Answer(allowed=False, reason="wrong_audience", position=self.position)
        return Answer(allowed=True, reason="", position=self.position, claims=json.dumps(said) if with_claims else "")
