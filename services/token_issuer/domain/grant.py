"""One grant: what one user allowed one application, from the code to its end.

The code is an authorization code, or the device code of a device that the user allowed it to (RFC 8628). A device that
asked may be refused instead: this stream says which of both happened.

    (none) ── Open ──▶ open, its code unused ── Redeem ──▶ open ⟲ Refresh ──▶ ended
                              └────────── a code or refresh token used twice, or End ──────┘

Where refresh tokens do not rotate, a second use is like the first: the token stays the current one.

A second use of a code or of a refresh token means that two hold what only one was given, and nobody can tell which of
them is the application. So it ends the grant, with every token of it (RFC 6749 section 10.5, RFC 9700 section 4.14).
"""

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never

from services.token_issuer.domain.binding import (
    Key,
    check_key,
    is_bound_like,
    jkt,
    refresh_jkt,
    refresh_x5t_s256,
    x5t_s256,
)
from services.token_issuer.domain.refusals import expired_token, invalid_grant, unknown_user_code
from services.token_issuer.events import (
    CodeRedeemed,
    DeviceAuthorizationRefused,
    GrantEnded,
    GrantEndReason,
    GrantOpened,
    RefreshTokenRotated,
    RefreshTokenUsed,
)
from shared.decider import Decider
from shared.errors import Kind, Refusal
from shared.ids import same
from shared.log.event import Event

SLACK = timedelta(seconds=60)
"""How much later the log may stamp an event than the moment its command was decided at."""

_VERIFIER = re.compile(r"[A-Za-z0-9\-._~]{43,128}")
"""RFC 7636 section 4.1."""


# Commands


@dataclass(frozen=True, slots=True)
class Open:
    """The user agreed: hand out a code."""

    gid: str
    client_id: str
    sub: str
    sid: str
    scopes: tuple[str, ...]
    audiences: tuple[str, ...]
    redirect_uri: str
    redirect_uri_given: bool
    code_digest: str
    code_challenge: str | None
    nonce: str | None
    auth_time: datetime
    amr: tuple[str, ...]
    roles: tuple[str, ...]
    now: datetime
    code_lifetime: timedelta
    refresh_lifetime: timedelta | None
    """None: no refresh token."""
    acr: str | None = None
    """What the application demanded the sign-in to be worth; None: it demanded nothing."""
    dpop_jkt: str | None = None
    """Thumbprint of the key that whoever redeems the code has to have; None: they need none."""


@dataclass(frozen=True, slots=True)
class Redeem:
    """An authenticated client presents a code."""

    client_id: str
    code_digest: str
    redirect_uri: str | None
    verifier: str | None
    by_device: bool
    """It is a device code."""
    denied: bool
    """The client, the user or the session was denied since the grant was opened."""
    jti: str
    scopes: tuple[str, ...]
    audiences: tuple[str, ...]
    access_token_seconds: int
    refresh_digest: str
    """Of the first refresh token, in case there is to be one."""
    now: datetime
    key: Key | None = None


@dataclass(frozen=True, slots=True)
class Refresh:
    """An authenticated client presents a refresh token."""

    client_id: str
    presented_digest: str
    outdated: bool
    """It is authentic, and the current refresh token is derived from it."""
    denied: bool
    """The client, the user or the session was denied since the grant was opened."""
    jti: str
    scopes: tuple[str, ...]
    audiences: tuple[str, ...]
    access_token_seconds: int
    successor_digest: str
    grace: timedelta
    now: datetime
    key: Key | None = None
    rotates: bool = True
    """It is exchanged for its successor; else it stays what it is."""


@dataclass(frozen=True, slots=True)
class End:
    """Somebody who may do so ends the grant."""

    reason: GrantEndReason
    now: datetime


@dataclass(frozen=True, slots=True)
class Refuse:
    """The user did not agree to what a device asked for: there will be no such grant."""

    gid: str
    client_id: str
    sub: str
    sid: str


Command = Open | Redeem | Refresh | End | Refuse


# State


@dataclass(frozen=True, slots=True)
class Grant:
    """What is known of a grant. Secrets are known by their digests only."""

    gid: str
    client_id: str
    sub: str
    sid: str
    scopes: tuple[str, ...]
    audiences: tuple[str, ...]
    redirect_uri: str
    redirect_uri_given: bool
    code_digest: str
    code_challenge: str | None
    nonce: str | None
    auth_time: datetime
    amr: tuple[str, ...]
    roles: tuple[str, ...]
    opened_at: datetime
    code_expires_at: datetime
    refresh_expires_at: datetime | None
    tokens_end_at: datetime
    """By then every access token so far has expired."""
    refresh_digest: str | None = None
    acr: str | None = None
    """What the application demanded the sign-in to be worth."""
    """Of the current refresh token."""
    previous_digest: str | None = None
    """Of the one before it."""
    rotated_at: datetime | None = None
    jti: str | None = None
    """Of the newest access token; None as long as the code is unused. The next three belong to it."""
    token_scopes: tuple[str, ...] = ()
    token_audiences: tuple[str, ...] = ()
    access_token_seconds: int = 0
    ended: GrantEndReason | None = None
    dpop_jkt: str | None = None
    """Thumbprint of the key that the code is bound to."""
    token_jkt: str | None = None
    """Of the key that the newest access token is bound to."""
    refresh_jkt: str | None = None
    """Of the key that the current refresh token is bound to."""
    token_x5t_s256: str | None = None
    """Thumbprint of the certificate that the newest access token is bound to."""
    refresh_x5t_s256: str | None = None
    """Of the certificate that the current refresh token is bound to."""

    @property
    def by_device(self) -> bool:
        """Whether a device code redeems it, and no authorization code."""
        return not self.redirect_uri

    @property
    def redeemed(self) -> bool:
        """Whether the code was used."""
        return self.jti is not None

    def refreshable(self, now: datetime) -> bool:
        """Whether its current refresh token could be used now."""
        return (
            self.ended is None
            and self.refresh_digest is not None
            and self.refresh_expires_at is not None
            and now < self.refresh_expires_at
        )


State = Grant | None
"""None: never opened."""


# Rules


def decide(command: Command, state: State) -> Sequence[Event]:
    """What happens when `command` meets `state`, or the refusal.

    A second use ends the grant: the events then hold a `GrantEnded`, and whoever asked gets nothing. A refresh
    without events is the repetition of the newest one, and gets the same answer again.
    """
    match command:
        case Open():
            return (_opened(command),)
        case Redeem():
            return _redeem(command, _of_client(state, command.client_id))
        case Refresh():
            return _refresh(command, _of_client(state, command.client_id))
        case End():
            if state is None:
                raise Refusal(Kind.NOT_FOUND, "grant_not_found", "there is no such grant")
            return _end(state, command.reason, command.now) if state.ended is None else ()
        case Refuse():
            if state is not None:
                raise unknown_user_code()
            return (DeviceAuthorizationRefused(**asdict(command)),)
        case _:
            assert_never(command)


def _opened(command: Open) -> GrantOpened:
    refresh = command.refresh_lifetime
    return GrantOpened(
        gid=command.gid,
        client_id=command.client_id,
        sub=command.sub,
        sid=command.sid,
        scopes=command.scopes,
        audiences=command.audiences,
        redirect_uri=command.redirect_uri,
        redirect_uri_given=command.redirect_uri_given,
        code_digest=command.code_digest,
        code_challenge=command.code_challenge,
        nonce=command.nonce,
        auth_time=command.auth_time,
        amr=command.amr,
        roles=command.roles,
        opened_at=command.now,
        code_expires_at=command.now + command.code_lifetime,
        refresh_expires_at=None if refresh is None else command.now + refresh,
        acr=command.acr,
        dpop_jkt=command.dpop_jkt,
    )


def _redeem(command: Redeem, state: Grant) -> Sequence[Event]:
    """Client, redirect URI, verifier and key first: only who has all of them can use up a code, or end the grant."""
    if not same(command.code_digest, state.code_digest) or command.by_device is not state.by_device:
        raise _unusable_code()
    if command.redirect_uri is None:
        if state.redirect_uri_given:
            raise invalid_grant("redirect_uri has to be repeated from the authorization request")
    elif command.redirect_uri != state.redirect_uri:
        raise invalid_grant("redirect_uri is not that of the authorization request")
    _check_verifier(command.verifier, state.code_challenge)
    check_key(command.key, state.dpop_jkt)
    if state.ended is not None:
        raise _unusable_code()
    if state.redeemed:
        return _end(state, GrantEndReason.CODE_REUSED, command.now)
    if command.now >= state.code_expires_at:
        raise expired_token() if state.by_device else _unusable_code()
    if command.denied:
        raise _unusable_code()
    return (
        CodeRedeemed(
            gid=state.gid,
            jti=command.jti,
            scopes=command.scopes,
            audiences=command.audiences,
            access_token_seconds=command.access_token_seconds,
            refresh_digest=None if state.refresh_expires_at is None else command.refresh_digest,
            tokens_end_at=_tokens_end_at(state, command.now, command.access_token_seconds),
            jkt=jkt(command.key),
            refresh_jkt=None if state.refresh_expires_at is None else refresh_jkt(command.key),
            x5t_s256=x5t_s256(command.key),
            refresh_x5t_s256=None if state.refresh_expires_at is None else refresh_x5t_s256(command.key),
        ),
    )


def _check_verifier(verifier: str | None, challenge: str | None) -> None:
    """PKCE, method S256 (RFC 7636 section 4.6); a verifier without a challenge is a downgrade (RFC 9700, 2.1.1)."""
    if challenge is None:
        if verifier is not None:
            raise invalid_grant("code_verifier was sent, but the authorization request had no code_challenge")
        return
    if verifier is None:
        raise invalid_grant("code_verifier is missing")
    hashed = hashlib.sha256(verifier.encode()).digest()
    matches = same(urlsafe_b64encode(hashed).rstrip(b"="), challenge.encode())
    if not (matches and _VERIFIER.fullmatch(verifier)):
        raise invalid_grant("code_verifier does not match the code_challenge")


def _refresh(command: Refresh, state: Grant) -> Sequence[Event]:
    current = state.refresh_digest is not None and same(command.presented_digest, state.refresh_digest)
    previous = state.previous_digest is not None and same(command.presented_digest, state.previous_digest)
    if not state.refreshable(command.now) or not (current or previous or command.outdated):
        raise _unusable_refresh_token()
    if current:
        if command.denied:
            raise _unusable_refresh_token()
        check_key(command.key, state.refresh_jkt, state.refresh_x5t_s256)
        return (_rotated(command, state) if command.rotates else _used(command, state),)
    if previous and state.rotated_at is not None and command.now <= state.rotated_at + command.grace:
        _check_repetition(command, state)
        return ()
    return _end(state, GrantEndReason.REFRESH_TOKEN_REUSED, command.now)


def _check_repetition(command: Refresh, state: Grant) -> None:
    """A retry asks for what was asked before, with the same key; it cannot be used to get another token."""
    if command.denied:
        raise _unusable_refresh_token()
    if not is_bound_like(command.key, state.token_jkt, state.token_x5t_s256):
        raise invalid_grant("the refresh token was used a moment ago, with another key or certificate, or with none")
    if set(command.scopes) != set(state.token_scopes) or set(command.audiences) != set(state.token_audiences):
        raise invalid_grant("the refresh token was used a moment ago, for another scope or resource")


def _rotated(command: Refresh, state: Grant) -> RefreshTokenRotated:
    return RefreshTokenRotated(
        gid=state.gid,
        jti=command.jti,
        presented_digest=command.presented_digest,
        refresh_digest=command.successor_digest,
        scopes=command.scopes,
        audiences=command.audiences,
        access_token_seconds=command.access_token_seconds,
        rotated_at=command.now,
        tokens_end_at=_tokens_end_at(state, command.now, command.access_token_seconds),
        jkt=jkt(command.key),
        refresh_jkt=refresh_jkt(command.key),
        x5t_s256=x5t_s256(command.key),
        refresh_x5t_s256=refresh_x5t_s256(command.key),
    )


def _used(command: Refresh, state: Grant) -> RefreshTokenUsed:
    return RefreshTokenUsed(
        gid=state.gid,
        jti=command.jti,
        scopes=command.scopes,
        audiences=command.audiences,
        access_token_seconds=command.access_token_seconds,
        tokens_end_at=_tokens_end_at(state, command.now, command.access_token_seconds),
        jkt=jkt(command.key),
        x5t_s256=x5t_s256(command.key),
    )


def _end(state: Grant, reason: GrantEndReason, now: datetime) -> Sequence[Event]:
    return (GrantEnded(gid=state.gid, reason=reason, tokens_end_at=max(now, state.tokens_end_at)),)


def _tokens_end_at(state: Grant, now: datetime, seconds: int) -> datetime:
    return max(state.tokens_end_at, now + timedelta(seconds=seconds) + SLACK)


def _of_client(state: State, client_id: str) -> Grant:
    """A grant belongs to one client: to another its codes and refresh tokens are as good as unknown."""
    if state is None or state.client_id != client_id:
        raise invalid_grant("the code or refresh token is not known for this client")
    return state


def _unusable_code() -> Refusal:
    return invalid_grant("the code is unknown, expired or used, or what it stood for has ended")


def _unusable_refresh_token() -> Refusal:
    return invalid_grant("the refresh token is unknown, expired or used, or what it stood for has ended")


# History


def evolve(state: State, event: Event) -> State:
    """The state after a fact."""
    if isinstance(event, GrantOpened):
        return _grant(event)
    if state is None:
        return None
    match event:
        case CodeRedeemed() | RefreshTokenRotated() | RefreshTokenUsed():
            return _issued(state, event)
        case GrantEnded():
            return replace(state, ended=event.reason)
        case _:
            return state


def _issued(state: Grant, event: CodeRedeemed | RefreshTokenRotated | RefreshTokenUsed) -> Grant:
    """With its newest access token; and with its refresh token, where that is another one now."""
    after = replace(
        state,
        jti=event.jti,
        token_scopes=event.scopes,
        token_audiences=event.audiences,
        access_token_seconds=event.access_token_seconds,
        tokens_end_at=event.tokens_end_at,
        token_jkt=event.jkt,
        token_x5t_s256=event.x5t_s256,
    )
    if isinstance(event, RefreshTokenUsed):
        return after
    after = replace(
        after,
        refresh_digest=event.refresh_digest,
        refresh_jkt=event.refresh_jkt,
        refresh_x5t_s256=event.refresh_x5t_s256,
    )
    if isinstance(event, RefreshTokenRotated):
        return replace(after, previous_digest=event.presented_digest, rotated_at=event.rotated_at)
    return after


def _grant(event: GrantOpened) -> Grant:
    return Grant(
        gid=event.gid,
        client_id=event.client_id,
        sub=event.sub,
        sid=event.sid,
        scopes=event.scopes,
        audiences=event.audiences,
        redirect_uri=event.redirect_uri,
        redirect_uri_given=event.redirect_uri_given,
        code_digest=event.code_digest,
        code_challenge=event.code_challenge,
        nonce=event.nonce,
        auth_time=event.auth_time,
        amr=event.amr,
        roles=event.roles,
        opened_at=event.opened_at,
        code_expires_at=event.code_expires_at,
        refresh_expires_at=event.refresh_expires_at,
        tokens_end_at=event.code_expires_at,
        acr=event.acr,
        dpop_jkt=event.dpop_jkt,
    )


decider: Decider[Command, State] = Decider("grant", None, decide, evolve)
