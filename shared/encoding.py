"""Encodings, read strictly: a text that two readers could understand differently is none."""

import json
from base64 import urlsafe_b64decode
from binascii import Error, b2a_base64
from typing import Any, Final, NoReturn

_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")


def base64url(raw: bytes) -> bytes:
    """base64url without padding (RFC 7515 section 2)."""
    return b2a_base64(raw, newline=False).translate(_URL_SAFE).rstrip(b"=")


def from_base64url(text: str) -> bytes | None:
    """The bytes of a text in its one canonical form; None for anything else."""
    try:
        raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (Error, ValueError):
        return None
    return raw if base64url(raw).decode() == text else None


def strict_json(text: str) -> Any:
    """The value of a JSON text (RFC 8259) in which no member is named twice.

    Raises `ValueError` for anything else, for what Python alone takes for JSON, and for what is nested without end.
    """
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_refused)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is named twice")
    return members


def _refused(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
