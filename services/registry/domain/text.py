"""Words that people will read on a page where they decide whom to trust."""

import re
import unicodedata

from services.registry.domain.refusals import invalid

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories of what cannot be seen or reorders what can, such as bidirectional overrides."""

_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,64}")
"""RFC 6749 section 3.3, and a bound on the length."""

PROTOCOL_SCOPES = frozenset({"openid", "profile", "email", "address", "phone", "offline_access"})
"""Of the protocol itself (OpenID Connect Core sections 5.4, 11); they depend on the flow, so nobody registers them."""
CLAIM_SCOPES = "claim:"
"""How the scopes of single claims begin (section 5.5), which are the protocol's, too."""


def check_text(text: str, what: str, *, longest: int = 100, empty: bool = False) -> None:
    """Refuse text that is too long, blank at an end, or not what it looks like."""
    if not text and empty:
        return
    if not 1 <= len(text) <= longest:
        raise invalid(f"{what} has to have 1 to {longest} characters")
    if text != text.strip():
        raise invalid(f"{what} begins or ends with a space")
    if any(unicodedata.category(character) in _INVISIBLE for character in text):
        raise invalid(f"{what} has control characters or others that cannot be seen")


def check_scope(name: str) -> None:
    """Refuse what is not a scope token, and what belongs to the protocol."""
    if not _SCOPE_TOKEN.fullmatch(name):
        raise invalid(
            "a scope has 1 to 64 printable ASCII characters without spaces, quotes or backslashes", "invalid_scope"
        )
    if name in PROTOCOL_SCOPES or name.startswith(CLAIM_SCOPES):
        raise invalid(
            f"{name} is a scope of the protocol; it depends on the flow and is not registered", "invalid_scope"
        )


def check_distinct(values: tuple[object, ...], what: str, *, most: int) -> None:
    """Refuse a list that is too long, or says something twice."""
    if len(values) > most:
        raise invalid(f"there can be {most} {what} at most")
    if len(set(values)) != len(values):
        raise invalid(f"{what} are listed twice")
