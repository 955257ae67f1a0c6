"""Who is signed in at the console: in memory alone, and found by a secret in a cookie.

A restart forgets everybody. That costs nobody a password: the next page leads to the issuer and back, where the session
of single sign-on still stands.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from shared.ids import digest, new_id, new_secret

RENEWED_BEFORE: Final = 600.0
"""Seconds before its end at which a token is renewed when a page is opened, so that forms have time to be filled in."""
_MOST_PLACES: Final = 50
"""Places in lists that one session remembers."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the services let a person do, as they said when they were asked last."""

    administers: bool
    audits: bool
    name: str = ""
    """What they are called; empty where that is not known."""


@dataclass(slots=True)
class SignedIn:
    """One person in one browser."""

    sub: str
    access_token: str = field(repr=False)
    id_token: str = field(repr=False)
    began: float
    """When, and until when the token lives: seconds of the table's clock."""
    ends: float
    standing: Standing | None = None
    """None: the services have not been asked yet."""
    places: OrderedDict[str, str] = field(default_factory=OrderedDict)

    def remember_place(self, token: str) -> str:
        """An id for a place in a list. The place itself may be somebody's name, which belongs into no address."""
        name = new_id()
        self.places[name] = token
        if len(self.places) > _MOST_PLACES:
            self.places.popitem(last=False)
        return name

    def place(self, name: str | None) -> str:
        """The place that an id stands for; the beginning of the list where it is not known any more."""
        return self.places.get(name or "", "")


class SessionTable:
    """All of them. A secret is kept as its digest."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._by_digest: OrderedDict[str, SignedIn] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_digest)

    @property
    def now(self) -> float:
        """Its clock, in seconds."""
        return self._clock()

    def begin(self, signed_in: SignedIn) -> str:
        """Remember somebody; answers the secret, which is always a new one (RFC 6265 section 8.4, session fixation)."""
        for key in [key for key, one in self._by_digest.items() if one.ends <= self.now]:
            del self._by_digest[key]
        while len(self._by_digest) >= self._most:
            self._by_digest.popitem(last=False)
        secret = new_secret()
        self._by_digest[digest(secret)] = signed_in
        return secret

    def find(self, secret: str | None) -> SignedIn | None:
        """Who has this secret, while their token lives."""
        found = None if secret is None else self._by_digest.get(digest(secret))
        if found is not None and found.ends <= self.now:
            self.end(secret)
            return None
        return found

    def near_its_end(self, signed_in: SignedIn) -> bool:
        """Whether the token is to be renewed before another form is shown; at half of its life if that is short."""
        life, left = signed_in.ends - signed_in.began, signed_in.ends - self.now
        return left < min(RENEWED_BEFORE, life / 2)

    def end(self, secret: str | None) -> None:
        """Forget one."""
        if secret is not None:
            self._by_digest.pop(digest(secret), None)
