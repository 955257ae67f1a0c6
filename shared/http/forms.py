"""Parameters of requests, read strictly: a request that two readers could understand differently is refused.

Of the names, `name=value` pairs and percent escapes of `application/x-www-form-urlencoded` (RFC 6749 appendix B)
nothing is repaired: no broken escape, no other character set, no parameter twice.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

from starlette.requests import Request

from shared.errors import Refusal
from shared.http.errors import invalid_request, too_large, unsupported_media_type

FORM_BYTES: Final = 64 * 1024
"""The longest form that is read."""
MOST_PARAMETERS: Final = 100
REPEATABLE: Final = frozenset({"resource", "audience"})
"""RFC 8707 section 2, RFC 8693 section 2.1."""

_USUAL = "application/x-www-form-urlencoded"
_FORM = re.compile(r'application/x-www-form-urlencoded(?:[ \t]*;[ \t]*charset="?utf-8"?)?', re.IGNORECASE)
_ENCODED = re.compile(r"[%+\0]")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


class Params:
    """The parameters of one request. Those without a value count as left out (RFC 6749 section 3.1)."""

    __slots__ = ("_values",)

    def __init__(self, values: dict[str, tuple[str, ...]]) -> None:
        self._values = values

    def get(self, name: str) -> str | None:
        """The value, or None. Raises `Refusal` if a repeatable parameter has several: they are asked for with `all`."""
        values = self._values.get(name, ())
        if len(values) > 1:
            raise invalid_request(f"{name} is given more than once")
        return values[0] if values else None

    def require(self, name: str) -> str:
        """The value; raises `Refusal` (invalid_request) if it is missing."""
        value = self.get(name)
        if value is None:
            raise invalid_request(f"{name} is missing")
        return value

    def all(self, name: str) -> tuple[str, ...]:
        """All values of a repeatable parameter, in their order."""
        return self._values.get(name, ())

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Params({', '.join(sorted(self._values))})"


async def read_form(request: Request, *, limit: int = FORM_BYTES) -> list[tuple[str, str]]:
    """The pairs of a form, in their order.

    Raises `Refusal`: 415 for another media type or character set, 413 past `limit` bytes, 400 (invalid_request) for
    anything malformed.
    """
    types, encodings = request.headers.getlist("content-type"), request.headers.getlist("content-encoding")
    _require_form(types, encodings)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large(limit)
    return parse_pairs(bytes(body), "body")


def form_of(types: Sequence[str], encodings: Sequence[str], body: bytes) -> list[tuple[str, str]]:
    """The pairs of a form that is there as a whole; `types` and `encodings` are what its headers say of it.

    Raises `Refusal` as `read_form` does.
    """
    _require_form(types, encodings)
    if len(body) > FORM_BYTES:
        raise too_large(FORM_BYTES)
    return parse_pairs(body, "body")


def _require_form(types: Sequence[str], encodings: Sequence[str]) -> None:
    if len(types) != 1 or not (types[0] == _USUAL or _FORM.fullmatch(types[0].strip(" \t"))):
        raise unsupported_media_type("the body has to be application/x-www-form-urlencoded, in UTF-8")
    if any(encoding.lower() != "identity" for encoding in encodings):
        raise unsupported_media_type("the body must not be compressed")


def read_query(request: Request) -> list[tuple[str, str]]:
    """The pairs of the query string, in their order; as strict as a form."""
    return parse_pairs(request.scope["query_string"], "query string")


def parse_pairs(raw: bytes, where: str) -> list[tuple[str, str]]:
    """Pairs of `application/x-www-form-urlencoded`; raises `Refusal` (invalid_request) for anything malformed."""
    if not raw:
        return []
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError:
        raise invalid_request(f"the {where} holds bytes that have to be escaped") from None
    decode = _decode if _ENCODED.search(text) else _as_it_is
    pieces = [piece for piece in text.split("&") if piece]
    if len(pieces) > MOST_PARAMETERS:
        raise invalid_request(f"the {where} has more than {MOST_PARAMETERS} parameters")
    pairs = []
    for piece in pieces:
        name, _, value = piece.partition("=")
        decoded = decode(name, where)
        if not decoded:
            raise invalid_request(f"the {where} has a parameter without a name")
        pairs.append((decoded, decode(value, where)))
    return pairs


def single(pairs: Iterable[tuple[str, str]], repeatable: Collection[str] = REPEATABLE) -> Params:
    """The pairs as parameters; raises `Refusal` (invalid_request) if one is there twice that may not (RFC 6749, 3.1).

    The empty ones count for that, too, and are left out afterwards.
    """
    seen: set[str] = set()
    values: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        if name in seen and name not in repeatable:
            raise _repeated(name)
        seen.add(name)
        if value:
            values[name] = (*values.get(name, ()), value)
    return Params(values)


def _repeated(name: str) -> Refusal:
    # The name is the caller's own text: it is quoted only if it looks like a parameter's name.
    shown = name if re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name) else "a parameter"
    return invalid_request(f"{shown} is given more than once")


def _as_it_is(text: str, _: str) -> str:
    return text


def _decode(text: str, where: str) -> str:
    if "+" in text:
        text = text.replace("+", " ")
    if "%" in text:
        if _BROKEN_ESCAPE.search(text):
            raise invalid_request(f"the {where} has a broken percent escape")
        try:
            text = unquote_to_bytes(text).decode("utf-8")
        except UnicodeDecodeError:
            raise invalid_request(f"the {where} is not UTF-8") from None
    if "\0" in text:
        raise invalid_request(f"the {where} holds a NUL")
    return text
