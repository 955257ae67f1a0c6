"""User names and passwords: what they may look like, and the one form in which they are compared."""

import unicodedata
from collections.abc import Container

from shared.errors import Kind, Refusal

NAME_LIMIT = 64
"""Characters of a user name, after normalisation."""
PASSWORD_MINIMUM = 8
PASSWORD_LIMIT = 256
"""Characters of a password, after normalisation."""

_ROUNDS = 8
"""More than any text needs."""


def normalised(user_name: str) -> str:
    """The form in which names are compared and reserved: NFKC and case-folded (Unicode 3.13), no space around it.

    Each of these can make another one necessary, so they are repeated until nothing changes.
    """
    name = user_name
    for _ in range(_ROUNDS):
        before, name = name, unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).strip()
        if name == before:
            break
    return name


def valid_user_name(user_name: str) -> str:
    """The normalised name, or a refusal: 1 to 64 characters, no white space, nothing invisible."""
    if len(user_name) > 4 * NAME_LIMIT:
        raise Refusal(Kind.INVALID, "invalid_user_name", f"a user name has at most {NAME_LIMIT} characters")
    name = normalised(user_name)
    if not 1 <= len(name) <= NAME_LIMIT:
        raise Refusal(Kind.INVALID, "invalid_user_name", f"a user name has 1 to {NAME_LIMIT} characters")
    if any(unicodedata.category(character)[0] in "CZ" for character in name):
        raise Refusal(Kind.INVALID, "invalid_user_name", "a user name has no spaces and no invisible characters")
    return name


def normalised_password(password: str) -> str:
    """The form in which passwords are hashed, the same from every keyboard (NIST SP 800-63B section 3.1.1.2)."""
    return unicodedata.normalize("NFKC", password)


def plausible_password(password: str) -> bool:
    """Whether the length is one that a password can have; nothing else is worth hashing."""
    return len(password) <= PASSWORD_LIMIT and (
        PASSWORD_MINIMUM <= len(normalised_password(password)) <= PASSWORD_LIMIT
    )


def valid_password(password: str, user_name: str, frequent: Container[str]) -> str:
    """The normalised password, or a refusal.

    8 to 256 characters, not the user's own name, and none of those that guessing begins with (OWASP ASVS 5.0, 6.2.4):
    `frequent` has them in the form in which names are compared. There are no rules of composition: they make passwords
    worse (NIST SP 800-63B section 3.1.1.2).
    """
    if not plausible_password(password):
        raise Refusal(
            Kind.INVALID,
            "invalid_password",
            f"a password has at least {PASSWORD_MINIMUM} characters and at most {PASSWORD_LIMIT}",
        )
    if normalised(password) == normalised(user_name):
        raise Refusal(Kind.INVALID, "invalid_password", "the password must not be the user name")
    if normalised(password) in frequent:
        raise Refusal(
            Kind.INVALID, "invalid_password", "this password is one that many people have, and the first to be guessed"
        )
    return normalised_password(password)
