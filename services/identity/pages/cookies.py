"""The cookies of the pages. Each is a secret or is sealed; none says anything about anybody.

Where the issuer is https their names begin with `__Host-`, which ties them to this host and keeps every other one from
setting them (RFC 6265bis section 4.1.3.2); such a cookie has to have the path `/`. Over plain http, which is for one's
own machine, they are bound to the issuer's path.
"""

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

YEAR = 365 * 24 * 3600
"""Seconds that a device is remembered."""


class Cookie(StrEnum):
    """What each is for."""

    SESSION = "stagedoor_session"
    """Secret of the session; gone when the browser is closed."""
    FORM = "stagedoor_form"
    """Before there is a session: what forms are bound to."""
    PROVED = "stagedoor_proved"
    """Between the two pages of a sign-in by two factors: that the password was right, sealed."""
    DEVICE = "stagedoor_device"
    """Accounts that have signed in from this browser before, sealed."""


@dataclass(frozen=True, slots=True)
class Cookies:
    """Reads and sets them."""

    secure: bool
    path: str

    @classmethod
    def of(cls, issuer: str) -> "Cookies":
        """As the issuer's address demands."""
        parts = urlsplit(issuer)
        secure = parts.scheme == "https"
        return cls(secure, "/" if secure else parts.path or "/")

    def name(self, cookie: Cookie) -> str:
        """What it is called on the wire."""
        return f"__Host-{cookie}" if self.secure else cookie.value

    def read(self, request: Request, cookie: Cookie) -> str | None:
        """Its value; None if there is none, or several different ones, of which all but one were planted."""
        wanted = self.name(cookie)
        found = set()
        for header in request.headers.getlist("cookie"):
            for pair in header.split(";"):
                name, separator, value = pair.partition("=")
                if separator and name.strip() == wanted:
                    found.add(value.strip())
        return found.pop() if len(found) == 1 else None

    def set(self, response: Response, cookie: Cookie, value: str, max_age: int | None = None) -> None:
        """Set it; without `max_age` it lasts until the browser is closed."""
        response.set_cookie(
            self.name(cookie),
            value,
            max_age=max_age,
            path=self.path,
            secure=self.secure,
            httponly=True,
            samesite="lax",
        )

    def clear(self, response: Response, cookie: Cookie) -> None:
        """Take it away."""
        response.delete_cookie(self.name(cookie), path=self.path, secure=self.secure, httponly=True, samesite="lax")
