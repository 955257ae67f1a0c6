"""Headers of every answer: what browsers must not do with it, unless the answer itself says otherwise."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

CONTENT_SECURITY_POLICY: Final = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
"""For answers that are no pages; pages set their own."""

_ALWAYS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)
_UNLESS_SET: Final = ((b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),)
_NOT_STORED: Final = ((b"cache-control", b"no-store"), (b"pragma", b"no-cache"))
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FORBIDDEN: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class UnsafeHeader(Exception):  # noqa: N818  (it is the header that is unsafe)
    """An answer's header holds a character that would begin another header (RFC 9110 section 5.5)."""


def secured(given: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers with those that belong to every answer; raises `UnsafeHeader`.

    An answer may set a stricter or laxer value of its own for all of them.
    """
    headers = list(given)
    if _FORBIDDEN.search(b" ".join([value for _, value in headers])):
        raise UnsafeHeader("a header of the answer holds a forbidden character")
    return headers + _missing(tuple([name for name, _ in headers]))


@lru_cache(maxsize=512)
def _missing(names: tuple[bytes, ...]) -> list[tuple[bytes, bytes]]:
    """What answers with these headers lack; a service has few kinds of answers."""
    if not all(map(_NAME.fullmatch, names)):
        raise UnsafeHeader("a header of the answer has a name that is none")
    lowered = {name.lower() for name in names}
    wanted = [*_ALWAYS, *_UNLESS_SET]
    if b"cache-control" not in lowered:
        wanted += _NOT_STORED
    return [pair for pair in wanted if pair[0] not in lowered]
