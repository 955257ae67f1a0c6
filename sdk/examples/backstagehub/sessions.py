"""Who is signed in. The browser's cookie has a random id; everything else stays here, in memory.

An application with several processes would keep the same in a store that they share, encrypted: these are tokens.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_MOST = 10_000
_IDLE_SECONDS = 8 * 3600


@dataclass(slots=True)
class SignedIn:
    """One browser that somebody signed in with."""

    sub: str
    sid: str
    """Of the session at Stagedoor that this one came from."""
    name: str
    tokens: dict[str, Any] = field(repr=False)
    csrf_token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    """Has to come back with every form, so that no other site can send one in Freddie's name."""
    refreshing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while the tokens are refreshed: a refresh token is good for one use."""
    notice: str = ""
    """What to say on the next page."""
    used_at: float = 0.0


class Sessions:
    """All of them, by the id in the cookie."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._signed_in: dict[str, SignedIn] = {}

    def begin(self, signed_in: SignedIn) -> str:
        """Keep it, and answer its id."""
        now = self._clock()
        for session_id, other in list(self._signed_in.items()):
            if now - other.used_at > _IDLE_SECONDS:
                del self._signed_in[session_id]
        if len(self._signed_in) >= _MOST:
            del self._signed_in[min(self._signed_in, key=lambda each: self._signed_in[each].used_at)]
        session_id = secrets.token_urlsafe(32)
        signed_in.used_at = now
        self._signed_in[session_id] = signed_in
        return session_id

    def find(self, session_id: object) -> SignedIn | None:
        """Who it is, unless that was too long ago."""
        if not isinstance(session_id, str):
            return None
        found = self._signed_in.get(session_id)
        if found is None or self._clock() - found.used_at > _IDLE_SECONDS:
            return None
        found.used_at = self._clock()
        return found

    def end(self, session_id: object) -> None:
        """Forget it, tokens and all."""
        if isinstance(session_id, str):
            self._signed_in.pop(session_id, None)

    def end_those_of(self, sub: str | None, sid: str | None) -> int:
        """Forget those that came from one session at Stagedoor, or from all of a user; answers how many."""
        ended = [
            session_id
            for session_id, one in self._signed_in.items()
            if sub in (None, one.sub) and sid in (None, one.sid)
        ]
        for session_id in ended:
            del self._signed_in[session_id]
        return len(ended)


class PendingSignIns:
    """State, nonce and PKCE verifier of sign-ins that are under way, for Authlib."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._values: dict[str, tuple[float, str]] = {}

    async def get(self, key: str) -> str | None:
        """What was kept, unless that was too long ago."""
        until, value = self._values.get(key, (0.0, ""))
        return value if self._clock() < until else None

    async def set(self, key: str, value: str, expires_in: int) -> None:
        """Keep it for some seconds. Where there are too many, the oldest goes."""
        if len(self._values) >= _MOST:
            del self._values[next(iter(self._values))]
        self._values[key] = (self._clock() + expires_in, value)

    async def delete(self, key: str) -> None:
        """Forget it: a sign-in comes back once."""
        self._values.pop(key, None)
