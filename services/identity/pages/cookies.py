"""The cookies of the pages. Each is a secret or is sealed; none says anything about anybody.

Where the issuer is https their names begin with `__Host-`, which ties them to this host and keeps every other one from
setting them (RFC 6265bis section 4.1.3.2); such a cookie has to have the path `/`. Over plain http, which is for one's
own machine, they are bound to the issuer's path.
"""

from enum import StrEnum
from urllib.parse import urlsplit

from shared.pages.cookies import Cookies

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


def cookies_of(issuer: str) -> Cookies:
    """As the issuer's address demands."""
    parts = urlsplit(issuer)
    secure = parts.scheme == "https"
    return Cookies(secure, "/" if secure else parts.path or "/", "__Host-")
