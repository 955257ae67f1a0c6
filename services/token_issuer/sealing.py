"""The sealed authorization request: what was asked, on its way through the browser and the identity service.

It is encrypted and authenticated under a key of the issuer (Fernet), so whoever carries it can neither read nor change
client, redirect URI, scopes or challenge; and it is valid for a short time only.
"""

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from shared.errors import Kind, Refusal
from shared.keys import MasterKey

LONGEST = 32 * 1024
"""Characters of a sealed request that is opened at all."""


@dataclass(frozen=True, slots=True)
class AskedByDevice:
    """Which device asked (RFC 8628), if one did."""

    gid: str
    """Of the grant that it may lead to."""
    code_digest: str
    """Of its device code."""
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """An authorization request whose every rule has been applied."""

    client_id: str
    redirect_uri: str
    redirect_uri_given: bool
    scopes: tuple[str, ...]
    audiences: tuple[str, ...]
    scopes_given: bool
    """They were asked for by name; else they are all that the application may have."""
    state: str | None
    nonce: str | None
    code_challenge: str | None
    response_mode: str
    prompt: tuple[str, ...]
    max_age: int | None
    expected_sub: str | None
    begun_at: datetime
    position: int
    """How far the issuer's view of the registry had come."""
    head: int = 0
    """Where the log stood."""
    pushed: str | None = None
    """Digest of the reference under which it was pushed (RFC 9126); None: the browser brought it."""
    pushed_until: datetime | None = None
    """Until then a sign-in could begin with that."""
    acr: tuple[str, ...] = ()
    """The sign-in has to be worth one of these; empty: it may be worth anything."""
    device: AskedByDevice | None = None
    """A device asked, so the answer goes to it, and the redirect URI is empty; None: the browser brought it."""
    dpop_jkt: str | None = None
    """Thumbprint of the key that whoever redeems the code has to have (RFC 9449 section 10)."""


class Sealing:
    """Seals and opens."""

    def __init__(self, master: MasterKey, lifetime: timedelta) -> None:
        key = urlsafe_b64encode(master.derive("authorization-request"))
        # A list, so that a new key can come before the old one while requests under the old one are under way.
        self._fernet = MultiFernet([Fernet(key)])
        self._pushed = MultiFernet([Fernet(urlsafe_b64encode(master.derive("pushed-request")))])
        self._seconds = int(lifetime.total_seconds())

    def seal(self, request: AuthorizationRequest) -> str:
        """Encrypt a request; its time is the moment it began."""
        plain = msgspec.json.encode(request)
        return self._fernet.encrypt_at_time(plain, int(request.begun_at.timestamp())).decode()

    def open(self, sealed: str, now: datetime) -> AuthorizationRequest:
        """Decrypt a request. Refuses one that is not genuine, or whose time is over."""
        if len(sealed) > LONGEST or not sealed.isascii():
            raise _not_genuine()
        try:
            plain = self._fernet.decrypt(sealed)
        except InvalidToken:
            raise _not_genuine() from None
        request = msgspec.json.decode(plain, type=AuthorizationRequest)
        if now >= request.begun_at + timedelta(seconds=self._seconds):
            raise Refusal(
                Kind.PRECONDITION, "request_expired", "this took too long; please start again at the application"
            )
        return request

    def seal_pairs(self, pairs: Sequence[tuple[str, str]]) -> str:
        """Encrypt what was pushed, which is kept for a moment; how long is said beside it."""
        return self._pushed.encrypt(msgspec.json.encode(pairs)).decode()

    def open_pairs(self, sealed: str) -> list[tuple[str, str]]:
        """What was pushed."""
        return msgspec.json.decode(self._pushed.decrypt(sealed), type=list[tuple[str, str]])


def _not_genuine() -> Refusal:
    return Refusal(Kind.INVALID, "invalid_request", "the authorization request is not one that this server has begun")
