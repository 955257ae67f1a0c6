"""Logout tokens: Stagedoor says that a session has ended (OpenID Connect Back-Channel Logout 1.0).

Anybody can send something to that address, so nothing is believed that Stagedoor has not signed, for this
application, just now, and as a logout token: an ID token or an access token of Freddie's ends nothing.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, KeySetSerialization

from backstagehub.refusals import AccessRefused

_TYPE = "logout+jwt"
_EVENT = "http://schemas.openid.net/event/backchannel-logout"
_ALGORITHMS = ["RS256"]
_SLACK = 60
"""Seconds by which clocks may differ."""
_OLDEST = 300
"""Seconds since it was made; Stagedoor makes another one for each attempt."""
_KEYS_EVERY = 10
"""Seconds between two look-ups of the keys, whatever strangers send."""

Keys = Callable[[], Awaitable[KeySetSerialization]]
"""Fetches Stagedoor's JWK set."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What has ended: one session, or where there is no `sid` all of the user's."""

    sub: str | None
    sid: str | None


class LogoutTokens:
    """Verifies them (section 2.6), each once."""

    def __init__(self, issuer: str, client_id: str, keys: Keys, clock: Callable[[], float] = time.time) -> None:
        self._issuer = issuer
        self._client_id = client_id
        self._fetch = keys
        self._clock = clock
        self._keys = KeySet([])
        self._fetched_at = float("-inf")
        self._seen: dict[str, float] = {}

    async def verify(self, text: str) -> Ended:
        """What a token says has ended. Raises `AccessRefused`, or `NotPossibleNow` if the keys cannot be had."""
        try:
            token = await self._read(text)
        except (JoseError, ValueError, TypeError, LookupError) as wrong:
            raise _invalid("the signature is not Stagedoor's") from wrong
        if token.header.get("typ") != _TYPE:
            raise _invalid("this is no logout token")
        claims, now = token.claims, self._clock()
        if claims.get("iss") != self._issuer or claims.get("aud") not in (self._client_id, [self._client_id]):
            raise _invalid("the token is of another issuer, or for another application")
        if not now - _OLDEST <= _time(claims, "iat") <= now + _SLACK or now >= _time(claims, "exp") + _SLACK:
            raise _invalid("the token is too old, or from the future")
        events = claims.get("events")
        if not isinstance(events, dict) or not isinstance(events.get(_EVENT), dict) or "nonce" in claims:
            raise _invalid("the token does not say that somebody has logged out")
        ended = Ended(_text(claims, "sub"), _text(claims, "sid"))
        if ended.sub is None and ended.sid is None:
            raise _invalid("the token does not say who has logged out")
        self._once(_text(claims, "jti"), now)
        return ended

    async def _read(self, text: str) -> jwt.Token:
        """The token, if one of the keys signed it; with keys looked up again if it may be a new one."""
        try:
            return jwt.decode(text, self._keys, algorithms=_ALGORITHMS)
        except (JoseError, ValueError):
            if self._clock() - self._fetched_at < _KEYS_EVERY:
                raise
        self._fetched_at = self._clock()
        self._keys = KeySet.import_key_set(await self._fetch())
        return jwt.decode(text, self._keys, algorithms=_ALGORITHMS)

    def _once(self, jti: str | None, now: float) -> None:
        """Refuse a token that was here before. One that is forgotten is too old by then."""
        if jti is None:
            raise _invalid("the token has no id")
        for other, until in list(self._seen.items()):
            if until < now:
                del self._seen[other]
        if jti in self._seen:
            raise _invalid("the token was here before")
        self._seen[jti] = now + _OLDEST + _SLACK


def _time(claims: Mapping[str, Any], name: str) -> float:
    """A claim that is a time (RFC 7519 section 2)."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _invalid(f"{name} is no time")
    return value


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    """A claim that is a text if it is there."""
    value = claims.get(name)
    if value is not None and not (isinstance(value, str) and value):
        raise _invalid(f"{name} is no text")
    return value


def _invalid(message: str) -> AccessRefused:
    return AccessRefused("invalid_request", message)
