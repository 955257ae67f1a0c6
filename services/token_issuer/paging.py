"""Pages of lists over gRPC: how many entries, and where the next one begins."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error

from shared.errors import Kind, Refusal

_USUAL = 100
_LARGEST = 1000


def page_size(asked: int) -> int:
    """How many entries a page has. Raises `Refusal` INVALID."""
    if not 0 <= asked <= _LARGEST:
        raise Refusal(Kind.INVALID, "invalid_request", f"a page has at most {_LARGEST} entries")
    return asked or _USUAL


def page_token(last: int) -> str:
    """Names the page after the entry with this number."""
    return urlsafe_b64encode(str(last).encode()).decode()


def page_start(token: str) -> int | None:
    """The number that a page comes after; None for the first page. Raises `Refusal` INVALID."""
    if not token:
        return None
    try:
        text = urlsafe_b64decode(token).decode("ascii")
    except (Base64Error, ValueError):
        text = ""
    if not (text.isdigit() and len(text) <= 18):
        raise Refusal(Kind.INVALID, "invalid_request", "the page token is not one of this server")
    return int(text)
