"""How the token endpoint says no (RFC 6749 section 5.2, RFC 8628 section 3.5), and to user codes."""

from shared.errors import Kind, Refusal


def invalid_grant(message: str) -> Refusal:
    """The code or the refresh token cannot be used; the words tell apart only what the holder may know."""
    return Refusal(Kind.INVALID, "invalid_grant", message)


def authorization_pending() -> Refusal:
    """Nobody has answered yet what the device asked for: ask again, after the interval."""
    return Refusal(Kind.INVALID, "authorization_pending", "nobody has allowed it yet, or refused it")


def slow_down(seconds: int) -> Refusal:
    """The same, and the device asked too soon; from now on it waits so long."""
    return Refusal(Kind.INVALID, "slow_down", f"asked too soon: wait for {seconds} seconds from one time to the next")


def access_denied() -> Refusal:
    """The person refused what the device asked for."""
    return Refusal(Kind.INVALID, "access_denied", "the person said no")


def expired_token() -> Refusal:
    """The device code is too old: begin anew."""
    return Refusal(Kind.INVALID, "expired_token", "the device code has expired")


def unknown_user_code() -> Refusal:
    """The one answer to a user code that nobody was given, that is too old, or that was used (RFC 8628 section 5.1)."""
    return Refusal(Kind.NOT_FOUND, "user_code_unknown", "This code is not known here, is too old, or was used before.")
