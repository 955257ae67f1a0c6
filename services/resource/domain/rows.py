"""What tours and merchandise have in common: whose they are, and how their words have to be."""

import unicodedata
from dataclasses import dataclass

from shared.errors import Kind, Refusal

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories of what cannot be seen, or reorders what can."""
LONGEST_TEXT = 200


@dataclass(frozen=True, slots=True)
class Author:
    """Who writes, as the token says."""

    sub: str
    """The user, or the application itself where it acts for nobody; the row belongs to it."""
    client_id: str
    """The application through which it is done."""


def not_found(what: str) -> Refusal:
    """There is no such row, or it is somebody else's: whoever asks is not told which."""
    return Refusal(Kind.NOT_FOUND, "not_found", f"there is no such {what}")


def invalid(message: str) -> Refusal:
    """The row cannot be like that."""
    return Refusal(Kind.INVALID, "invalid_request", message)


def check_text(text: str, name: str) -> None:
    """Refuse text that is too long, blank at an end, or holds what cannot be seen."""
    if not 1 <= len(text) <= LONGEST_TEXT:
        raise invalid(f"{name} has to have 1 to {LONGEST_TEXT} characters")
    if text != text.strip():
        raise invalid(f"{name} begins or ends with a space")
    if any(unicodedata.category(character) in _INVISIBLE for character in text):
        raise invalid(f"{name} has control characters or others that cannot be seen")
