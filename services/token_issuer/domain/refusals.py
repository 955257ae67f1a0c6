"""How the token endpoint says no (RFC 6749 section 5.2)."""

from shared.errors import Kind, Refusal


def invalid_grant(message: str) -> Refusal:
    """The code or the refresh token cannot be used; the words tell apart only what the holder may know."""
    return Refusal(Kind.INVALID, "invalid_grant", message)
