"""Where somebody who proves who they are does it from."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a sign-in comes from."""

    address: str
    user_agent: str | None
    device_cookie: str | None
