"""Cookies of pages: how they are named, read and set."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response


@dataclass(frozen=True, slots=True)
class Cookies:
    """Reads and sets them."""

    secure: bool
    """They go by https alone."""
    path: str
    prefix: str
    """What the names of secure ones begin with (RFC 6265bis section 4.1.3)."""

    def name(self, cookie: str) -> str:
        """What it is called on the wire."""
        return f"{self.prefix}{cookie}" if self.secure else str(cookie)

    def read(self, request: Request, cookie: str) -> str | None:
        """Its value; None if there is none, or several different ones, of which all but one were planted."""
        found = self.values(request, cookie)
        return found.pop() if len(found) == 1 else None

    def values(self, request: Request, cookie: str) -> set[str]:
        """All values that came under its name."""
        wanted = self.name(cookie)
        found: set[str] = set()
        for header in request.headers.getlist("cookie"):
            for pair in header.split(";"):
                name, separator, value = pair.partition("=")
                if separator and name.strip() == wanted:
                    found.add(value.strip())
        return found

    def set(self, response: Response, cookie: str, value: str, max_age: int | None = None) -> None:
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

    def clear(self, response: Response, cookie: str) -> None:
        """Take it away."""
        response.delete_cookie(self.name(cookie), path=self.path, secure=self.secure, httponly=True, samesite="lax")
