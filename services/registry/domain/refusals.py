"""How the registry says that a request is wrong."""

from shared.errors import Kind, Refusal


def invalid(message: str, code: str = "invalid_client_metadata") -> Refusal:
    """The request is wrong and stays wrong. The usual code is that of RFC 7591 section 3.2.2."""
    return Refusal(Kind.INVALID, code, message)
