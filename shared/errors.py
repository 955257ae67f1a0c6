"""One typed refusal, for every edge.

    Refusal                  the request is understood and not done; nothing has changed
    ├── Unavailable          it could not be decided now; trying again later is right
    └── TooManyRequests      it was not looked at, because the caller has tried too often

A refusal has a `Kind`, from which each edge derives its status (`shared.rpc.status`,
`shared.http.errors`), a stable `code` that programs compare, and a message for people. The message never
contains a secret, a token or personal data: it is logged and returned as it is.
"""

from enum import StrEnum


class Kind(StrEnum):
    """Why something was refused, independent of the protocol that carries the answer."""

    INVALID = "invalid"
    """The request itself is wrong and stays wrong."""
    UNAUTHENTICATED = "unauthenticated"
    """The caller did not prove who it is."""
    FORBIDDEN = "forbidden"
    """The caller is known and may not do this."""
    NOT_FOUND = "not_found"
    ALREADY_EXISTS = "already_exists"
    PRECONDITION = "precondition"
    """The request would be right in another state of the system."""
    CONFLICT = "conflict"
    """Others changed the same thing at the same time; reading again and trying again is right."""
    EXHAUSTED = "exhausted"
    """A limit of rate or size."""
    UNAVAILABLE = "unavailable"


class Refusal(Exception):  # noqa: N818  (a refusal is an answer of the domain, not a malfunction)
    """The request is refused; nothing has changed."""

    def __init__(self, kind: Kind, code: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.code = code
        """Stable snake_case word, for programs: an RFC's error code where one exists."""
        self.message = message


class Unavailable(Refusal):
    """Something that is needed to decide is out of reach; refused, because guessing is not an option."""

    def __init__(self, code: str, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(Kind.UNAVAILABLE, code, message)
        self.retry_after = retry_after
        """Seconds after which trying again makes sense."""


class TooManyRequests(Refusal):
    """The caller has tried too often of late; nothing was looked at.

    No code of RFC 6749 is made for this; `temporarily_unavailable` (section 4.1.2.1) is the one that tells clients
    to come again, and the status (RFC 6585 section 4) tells them why.
    """

    def __init__(self, retry_after: float) -> None:
        super().__init__(Kind.EXHAUSTED, "temporarily_unavailable", "there were too many attempts; wait a little")
        self.retry_after = retry_after
        """Seconds until one more attempt is admitted."""
