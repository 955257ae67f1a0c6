"""What should hold over the whole life of a token, in a few lines of plain Python.

It is written from the mission (T1 to T7) and from the table "what ends what" of the architecture, and knows nothing of
tables, fences, feeds or views. It is told at which position of the log something happened, and answers, for any
position, what is denied there. Time is a clock that it is handed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

API_SCOPES = frozenset({"read", "update"})
PROTOCOL_SCOPES = frozenset({"openid", "offline_access"})

CODE_LIFE = timedelta(seconds=60)
DEVICE_LIFE = timedelta(minutes=10)
GRACE = timedelta(seconds=10)
REQUEST_LIFE = timedelta(minutes=15)
CONFIDENTIAL_REFRESH_LIFE = timedelta(days=30)
PUBLIC_REFRESH_LIFE = timedelta(hours=24)
SESSION_LIFE = timedelta(days=7)
SESSION_IDLE = timedelta(hours=12)
SEEN_EVERY = timedelta(minutes=1)
LEEWAY = timedelta(seconds=5)
"""By which a check lets a token outlive its `exp`."""
USUAL_ACCESS_TOKEN_SECONDS = 3600
MOST_ACTORS = 4
LOOKED_UP_AGAIN = timedelta(seconds=2)
"""After so long a guard asks again about a reference token that the issuer has refused."""


@dataclass
class Stops:
    """When something was switched off, and up to where what it had been given was taken back."""

    off: list[list[int]] = field(default_factory=list)
    """Positions from which and, where it was switched on again, up to which."""
    cut_offs: list[int] = field(default_factory=list)

    def switch(self, position: int, *, on: bool) -> None:
        if on:
            self.off[-1].append(position)
        else:
            self.off.append([position])

    def is_off(self, at: int) -> bool:
        return any(span[0] <= at and not (len(span) > 1 and span[1] <= at) for span in self.off)

    def against(self, born: int, at: int) -> bool:
        """Whether at a position what was born at another one is stopped."""
        return self.is_off(at) or any(born <= cut_off <= at for cut_off in self.cut_offs)


@dataclass
class Secret:
    """A secret of an application."""

    secret_id: str
    text: str
    revoked: bool = False
    compromised: bool = False

    @property
    def good(self) -> bool:
        return not (self.revoked or self.compromised)


@dataclass
class App:
    """A trusted application."""

    client_id: str
    confidential: bool
    redirect_uri: str
    scopes: frozenset[str]
    grants: frozenset[str]
    account: str | None = None
    """Service account of its client credentials."""
    seconds: int = USUAL_ACCESS_TOKEN_SECONDS
    references: str = "none"
    """Who may have reference tokens made for it."""
    user_kinds: frozenset[str] = frozenset({"internal"})
    in_form: bool = False
    """It shows its secret in the form, and not in a header."""
    secrets: list[Secret] = field(default_factory=list)
    stops: Stops = field(default_factory=Stops)
    reference_cut_offs: list[int] = field(default_factory=list)
    """Up to where its reference tokens alone were taken back."""
    gone: bool = False
    """Uninstalled: switched off, and never on again."""

    @property
    def refresh_life(self) -> timedelta:
        return CONFIDENTIAL_REFRESH_LIFE if self.confidential else PUBLIC_REFRESH_LIFE

    def good_secret(self) -> Secret | None:
        return next((secret for secret in self.secrets if secret.good), None)


@dataclass
class User:
    """A person, or a service account (which has no name that it signs in with)."""

    sub: str
    name: str
    password: str | None
    roles: frozenset[str] = frozenset()
    stops: Stops = field(default_factory=Stops)
    resets: list[int] = field(default_factory=list)
    changes: list[tuple[int, str]] = field(default_factory=list)
    """Where the password was changed, and in which session."""
    gone: bool = False
    """Erased: switched off, and never on again."""


@dataclass
class Session:
    """One sign-in."""

    sid: str
    sub: str
    secret: str
    began: int
    expires_at: datetime
    seen_at: datetime
    ended: int | None = None


@dataclass
class Grant:
    """What one user allowed one application."""

    gid: str
    client_id: str
    sub: str
    sid: str
    born: int
    scopes: frozenset[str]
    code: str
    code_expires_at: datetime
    refresh_expires_at: datetime | None
    by_device: bool = False
    """Its code is a device code."""
    refresh_tokens: list[str] = field(default_factory=list)
    """All that were given, the current one last."""
    newest_scopes: frozenset[str] = frozenset()
    """Of the newest access token …"""
    newest_asked: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    """… and the scopes and places that were asked for."""
    rotated_at: datetime | None = None
    tokens: list["Token"] = field(default_factory=list, repr=False)
    ended: int | None = None


@dataclass
class Token:
    """An access token, or a reference token, that was issued."""

    text: str = field(repr=False)
    jti: str
    kid: str
    client_id: str
    sub: str
    position: int
    expires_at: datetime
    scopes: frozenset[str]
    epoch: int
    grant: Grant | None = None
    reference: bool = False
    revoked: int | None = None
    acts_for: tuple[str, ...] = ()
    """The applications of the token that it was exchanged for …"""
    derived_from: tuple["Token", ...] = field(default=(), repr=False)
    """… which is the first of these, and then what that one came from."""

    @property
    def actors(self) -> tuple[str, ...]:
        """Whoever acts, the one that has it first."""
        return (self.client_id, *self.acts_for)

    @property
    def for_api(self) -> bool:
        return bool(self.scopes & API_SCOPES)

    @property
    def leeway(self) -> timedelta:
        """By which a check lets it outlive its end."""
        return LEEWAY if not self.reference else timedelta()


@dataclass(repr=False)
class Model:
    """All of it."""

    now: datetime
    head: int = 0
    epoch: int = 0
    api_scopes: frozenset[str] = API_SCOPES
    """Those that the API has at the moment."""
    apps: dict[str, App] = field(default_factory=dict)
    users: dict[str, User] = field(default_factory=dict)
    sessions: list[Session] = field(default_factory=list)
    grants: list[Grant] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    references: list[Token] = field(default_factory=list)
    withdrawn: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    """Where a user stopped an application."""
    compromised: dict[str, int] = field(default_factory=dict)
    """Where a signing key was said to be in other hands, by its id."""
    moments: set[int] = field(default_factory=set)
    """Every position at which something was denied or allowed again."""

    # What is denied

    def token_denied(self, token: Token, at: int) -> bool:
        """Whether at a position of the log this token is denied."""
        sid = token.grant.sid if token.grant is not None else None
        return (
            any(one.revoked is not None and one.revoked <= at for one in (token, *token.derived_from))
            or (token.kid in self.compromised and self.compromised[token.kid] <= at)
            or (token.reference and self._references_denied(token, at))
            or (token.grant is not None and token.grant.ended is not None and token.grant.ended <= at)
            or any(self._parties_denied(actor, token.sub, sid, token.position, at) for actor in token.actors)
        )

    def token_accepted(self, token: Token, at: int) -> bool:
        """Whether somebody who knows the log up to a position accepts it now, for its own audiences."""
        return token.position <= at and self.now < token.expires_at + token.leeway and not self.token_denied(token, at)

    def token_denied_since(self, token: Token, position: int) -> bool:
        """Whether there is any position from this one up to the head at which it is denied."""
        later = {moment for moment in self.moments if moment >= position}
        return any(self.token_denied(token, at) for at in {position, self.head} | later)

    def _references_denied(self, token: Token, at: int) -> bool:
        return any(token.position <= cut_off <= at for cut_off in self.apps[token.client_id].reference_cut_offs)

    def known(self, token: Token) -> Token | None:
        """This token as it is here; None: nobody has issued it."""
        there = self.references if token.reference else self.tokens
        return next((one for one in there if one.jti == token.jti), None)

    def grant_denied(self, grant: Grant) -> bool:
        """Whether nothing may be issued from this grant any more, or at the moment."""
        return grant.ended is not None or self._parties_denied(
            grant.client_id, grant.sub, grant.sid, grant.born, self.head
        )

    def _parties_denied(self, client_id: str, sub: str, sid: str | None, born: int, at: int) -> bool:
        user = self.users.get(sub)
        return (
            self.apps[client_id].stops.against(born, at)
            or (user is not None and user.stops.against(born, at))
            or any(born <= position <= at for position in self.withdrawn.get((sub, client_id), ()))
            or (sid is not None and self._session_denied(sid, sub, born, at))
        )

    def _session_denied(self, sid: str, sub: str, born: int, at: int) -> bool:
        session = self.session(sid)
        return (session.ended is not None and session.ended <= at) or any(
            born <= position <= at and kept != sid for position, kept in self.users[sub].changes
        )

    # Sessions

    def session(self, sid: str) -> Session:
        return next(session for session in self.sessions if session.sid == sid)

    def session_over(self, session: Session) -> bool:
        """Whether it was ended, by whatever, for ever."""
        user = self.users[session.sub]
        return (
            session.ended is not None
            or any(session.began <= position for position in user.resets)
            or any(session.began <= position and kept != session.sid for position, kept in user.changes)
        )

    def session_holds(self, session: Session) -> bool:
        """Whether its user is signed in with it now."""
        return (
            not self.session_over(session)
            and not self.users[session.sub].stops.is_off(self.head)
            and self.now < session.expires_at
        )

    def session_usable(self, session: Session) -> bool:
        """The same at the identity server, where a session idles out."""
        return self.session_holds(session) and self.now < session.seen_at + SESSION_IDLE

    def touched_since(self, session: Session, position: int) -> bool:
        """Whether anything was taken from the session or its user since: whoever looked then has to look again."""
        user = self.users[session.sub]
        taken = [
            *(span[0] for span in user.stops.off),
            *user.stops.cut_offs,
            *user.resets,
            *(change for change, _ in user.changes),
            *([session.ended] if session.ended is not None else []),
        ]
        return any(one > position for one in taken)

    # What may be given

    def app_serves(self, app: App) -> bool:
        """Whether this application gets anything at all."""
        return not app.stops.is_off(self.head)

    def own(self, app: App, api: frozenset[str] | None = None) -> frozenset[str]:
        """What the application may have for itself; `api`: as if the API had these scopes."""
        return app.scopes & (self.api_scopes if api is None else api)

    def remaining(self, scopes: Iterable[str], app: App, api: frozenset[str] | None = None) -> frozenset[str]:
        """What is left of scopes that were asked for, as application and API are now."""
        kept = {scope for scope in scopes if scope == "openid" or scope in self.own(app, api)}
        if kept and "offline_access" in scopes and "refresh_token" in app.grants:
            kept.add("offline_access")
        return frozenset(kept)

    def exchanged(self, token: Token, app: App, asked: Sequence[str], api: frozenset[str]) -> frozenset[str]:
        """What the application gets for a token; nothing where it may not ask so. `api`: as if it had these scopes."""
        common = token.scopes & self.own(app, api)
        return common & frozenset(asked or common) if common.issuperset(asked) else frozenset()

    def refreshable(self, grant: Grant) -> bool:
        """Whether the time for refreshing has not run out, and the grant has not ended."""
        return grant.ended is None and grant.refresh_expires_at is not None and self.now < grant.refresh_expires_at

    def within_grace(self, grant: Grant) -> bool:
        return grant.rotated_at is not None and self.now <= grant.rotated_at + GRACE

    def references_for(self, app: App, user: User) -> bool:
        """Whether this user may have a reference token made for the application."""
        return app.references == "authenticated_users" or (
            app.references == "administrators_only" and "administrator" in user.roles
        )


def place_of(scope: str) -> str:
    """Where a scope is good for something."""
    return "userinfo" if scope == "openid" else "api"


def part(scopes: frozenset[str], asked: Iterable[str], places: Iterable[str]) -> frozenset[str]:
    """What of these scopes a request is given that asks for some, or for some places; nothing where it may not ask so.

    RFC 6749 section 6, RFC 8707 section 2.2.
    """
    wanted, places = frozenset(asked), frozenset(places)
    good_for_something = scopes - {"offline_access"}
    if not wanted <= scopes or not places <= {place_of(scope) for scope in good_for_something}:
        return frozenset()
    kept = {
        scope
        for scope in scopes
        if (not wanted or scope in wanted) and (scope == "offline_access" or not places or place_of(scope) in places)
    }
    return frozenset(kept if kept & good_for_something else ())
