"""A long life of applications, users, grants and tokens, decided at random and appended many commands at once."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from services.identity.domain import consent, session, user
from services.identity.events import Profile, Role, SessionEndReason, UserKind
from services.registry.domain import application
from services.registry.events import ApplicationSettings, ApplicationType, AuthMethod, GrantType, ReferenceTokens
from services.registry.read_model import project
from services.token_issuer.domain import access_token, exchange, grant, reference_token, revocation, signing_keys
from services.token_issuer.events import (
    AccessTokenExchanged,
    GrantEndReason,
    KeyUse,
    ReferenceEndReason,
    ReferenceKind,
)
from services.token_issuer.references.matching import as_token
from services.token_issuer.signing import SigningKey, generate
from services.token_issuer.tokens import Content, Issued, exchanged_token
from services.token_issuer.tokens import access_token as signed
from shared.decider import Decider
from shared.errors import Refusal
from shared.handle import rows_of
from shared.ids import digest, new_command_id
from shared.log.append import Append, Appended, Context
from shared.log.event import Event
from shared.log.log import Log
from stagedoor.token import AccessToken
from tests.support.facts import PERSONAL_KEY

ISSUER, AUDIENCE = "https://id.example/id", "https://api.example"
SCOPES = frozenset({"read", "update", "sell"})
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)

Do = tuple[str, Decider[Any, Any], str, Any]
"""Whose it is, the rules, the aggregate and the command."""


@dataclass(frozen=True)
class Token:
    """One that the issuer gave out."""

    jti: str
    position: int
    text: str | None
    """None: a reference token, which says nothing by itself."""
    seen: AccessToken | None
    exp: datetime


class Life:
    """A history that is being made."""

    def __init__(self, logs: Mapping[str, Log], seed: int) -> None:
        self.dice = random.Random(seed)
        self.logs = logs
        self.states: dict[str, Any] = {}
        self.versions: dict[str, int] = {}
        self.positions: dict[str, int] = {}
        """Where each stream began."""
        self.tokens: list[Token] = []
        self.keys: dict[str, SigningKey] = {}
        self.numbers = itertools.count(1)
        self.clients = [f"com.example/app{number}" for number in range(12)]
        self.subs = [f"user{number}" for number in range(30)]
        self.sids: list[tuple[str, str]] = []
        self.gids: list[str] = []
        self.jtis: list[str] = []
        self.references: list[str] = []
        self.shown: dict[str, exchange.Subject] = {}
        """Access tokens as an exchange takes them."""

    def state(self, decider: Decider[Any, Any], aggregate: str) -> Any:
        return self.states.get(decider.stream(aggregate), decider.initial)

    def new(self, what: str) -> str:
        return f"{what}{next(self.numbers)}"

    # What may happen

    def next(self) -> Do:
        ways: Sequence[tuple[int, Callable[[], Do]]] = (
            (4, self.at_an_application),
            (5, self.at_a_user),
            (10, self.a_session),
            (12, self.a_consent),
            (14, self.a_grant),
            (30, self.of_a_grant),
            (8, self.a_token),
            (8, self.an_exchange),
            (5, self.a_revocation),
            (8, self.a_reference),
        )
        (way,) = self.dice.choices([way for _, way in ways], [weight for weight, _ in ways])
        return way()

    def settings(self) -> ApplicationSettings:
        dice = self.dice
        return ApplicationSettings(
            display_name=f"App {dice.randrange(100)}",
            type=ApplicationType.CONFIDENTIAL,
            auth_method=AuthMethod.CLIENT_SECRET_BASIC,
            redirect_uris=("https://app.example/callback",),
            scopes=tuple(dice.sample(sorted(SCOPES), dice.randint(1, 3))),
            grants=(GrantType.AUTHORIZATION_CODE, GrantType.CLIENT_CREDENTIALS),
            reference_tokens=dice.choice(list(ReferenceTokens)),
        )

    def at_an_application(self) -> Do:
        dice, client_id = self.dice, self.dice.choice(self.clients)
        state = self.state(application.decider, client_id)
        command: application.Command
        secret = application.NewSecret(self.new("secret"), digest("x"), None)
        if isinstance(state, application.Unknown | application.Gone):
            if isinstance(state, application.Gone):
                client_id = f"com.example/{self.new('app')}"
                self.clients.append(client_id)
            command = application.Register(client_id, self.settings(), SCOPES, secret)
        else:
            changed = self.settings()
            commands: list[application.Command] = [
                application.Change(client_id, {"scopes": changed.scopes}, SCOPES),
                application.Change(client_id, {"reference_tokens": changed.reference_tokens}, SCOPES),
                application.Change(client_id, {"display_name": changed.display_name}, SCOPES),
                application.Disable(client_id, "lost"),
                application.Enable(client_id),
                application.Enable(client_id),
                application.Enable(client_id),
                application.AddSecret(client_id, secret, LONG_AGO),
                *(application.ReportSecretCompromised(client_id, one) for one in list(state.secrets)[-1:]),
            ]
            command = dice.choice(commands)
            if dice.random() < 0.01:
                command = application.Uninstall(client_id)
        return "registry", application.decider, client_id, command

    def at_a_user(self) -> Do:
        dice, sub = self.dice, self.dice.choice(self.subs)
        commands: list[user.Command]
        if not self.state(user.USER, sub).sub:
            commands = [user.RegisterUser(sub, sub, UserKind.INTERNAL, Profile(), (), with_password=True)]
        else:
            own = [sid for sid, of in self.sids if of == sub] or ["none"]
            commands = [
                user.DisableUser("admin", "left"),
                *[user.EnableUser()] * 4,
                user.ResetPassword(),
                user.ChangePassword(dice.choice(own)),
                user.ChangePassword(dice.choice(own)),
                user.ChangeUser("admin", roles=tuple(dice.sample(list(Role), dice.randint(0, 2)))),
            ]
            if dice.random() < 0.02:
                commands = [user.EraseUser("admin")]
        return "identity", user.USER, sub, dice.choice(commands)

    def a_session(self) -> Do:
        if self.sids and self.dice.random() < 0.3:
            sid, _ = self.dice.choice(self.sids)
            end = session.EndSession(SessionEndReason.SIGNED_OUT, datetime.now(UTC) + timedelta(days=1))
            return "identity", session.SESSION, sid, end
        sid, sub = self.new("sid"), self.dice.choice(self.subs)
        self.sids.append((sid, sub))
        start = session.StartSession(
            sid,
            sub,
            UserKind.INTERNAL,
            enabled=True,
            secret_digest=digest(sid),
            auth_time=LONG_AGO,
            amr=("pwd",),
            expires_at=LONG_AGO,
            address=None,
            user_agent=None,
        )
        return "identity", session.SESSION, sid, start

    def a_consent(self) -> Do:
        sub, client_id = self.dice.choice(self.subs), self.dice.choice(self.clients)
        command: consent.Command = consent.GiveConsent(sub, client_id, ("read",))
        if self.dice.random() < 0.4:
            command = consent.WithdrawConsent(sub, client_id)
        return "identity", consent.CONSENT, consent.consent_id(sub, client_id), command

    def a_grant(self) -> Do:
        sid, sub = self.dice.choice(self.sids or [("sid", self.subs[0])])
        gid = self.new("gid")
        self.gids.append(gid)
        command = grant.Open(
            gid=gid,
            client_id=self.dice.choice(self.clients),
            sub=sub,
            sid=sid,
            scopes=("read",),
            audiences=(AUDIENCE,),
            redirect_uri="https://app.example/callback",
            redirect_uri_given=False,
            code_digest=digest(gid),
            code_challenge=None,
            nonce=None,
            auth_time=LONG_AGO,
            amr=("pwd",),
            roles=(),
            now=datetime.now(UTC),
            code_lifetime=timedelta(seconds=60),
            refresh_lifetime=timedelta(days=1),
        )
        return "token_issuer", grant.decider, gid, command

    def of_a_grant(self) -> Do:
        if not self.gids:
            return self.a_grant()
        gid = self.dice.choice(self.gids[-40:])
        state: grant.State = self.state(grant.decider, gid)
        now, jti = datetime.now(UTC), self.new("jti")
        command: grant.Command = grant.End(GrantEndReason.ENDED_BY_ADMINISTRATOR, now)
        asked: dict[str, Any] = {
            "denied": False,
            "jti": jti,
            "scopes": ("read",),
            "audiences": (AUDIENCE,),
            "access_token_seconds": self.seconds(),
            "now": now,
        }
        if state is not None and self.dice.random() > 0.25:
            if not state.redeemed or self.dice.random() < 0.02:
                command = grant.Redeem(
                    client_id=state.client_id,
                    code_digest=state.code_digest,
                    redirect_uri=None,
                    verifier=None,
                    by_device=state.by_device,
                    refresh_digest=digest(f"{gid} 0"),
                    **asked,
                )
            else:
                command = grant.Refresh(
                    client_id=state.client_id,
                    presented_digest=state.refresh_digest or "",
                    outdated=False,
                    successor_digest=digest(f"{gid} {jti}"),
                    grace=timedelta(seconds=10),
                    rotates=self.clients.index(state.client_id) % 2 == 0,
                    **asked,
                )
        return "token_issuer", grant.decider, gid, command

    def a_token(self) -> Do:
        jti, client_id = self.new("jti"), self.dice.choice(self.clients)
        command = access_token.Issue(jti, client_id, client_id, ("read",), (AUDIENCE,), self.seconds())
        return "token_issuer", access_token.decider, jti, command

    def an_exchange(self) -> Do:
        if not self.shown:
            return self.a_token()
        jti, client_id = self.new("jti"), self.dice.choice(self.clients)
        subject = self.shown[self.dice.choice(list(self.shown)[-100:])]
        now = datetime.now(UTC)
        command = exchange.Exchange(jti, client_id, subject, ("read",), (AUDIENCE,), self.seconds(), now)
        return "token_issuer", exchange.decider, jti, command

    def a_revocation(self) -> Do:
        jti = self.dice.choice(self.jtis[-200:] or ["none"])
        command = revocation.Revoke(jti, "client", datetime.now(UTC) + timedelta(hours=1))
        return "token_issuer", revocation.decider, jti, command

    def a_reference(self) -> Do:
        now = datetime.now(UTC)
        if self.references and self.dice.random() < 0.2:
            end = reference_token.Revoke(ReferenceEndReason.BY_ADMINISTRATOR, "admin", now)
            return "token_issuer", reference_token.decider, self.dice.choice(self.references), end
        jti, kind = self.new("key"), self.dice.choice(list(ReferenceKind))
        self.references.append(jti)
        command = reference_token.Issue(
            jti=jti,
            digest=digest(jti),
            kind=kind,
            client_id=self.dice.choice(self.clients),
            sub=self.dice.choice(self.subs),
            scopes=("read",),
            audiences=(AUDIENCE,),
            label="key",
            expires_at=now + timedelta(days=30),
            alive=0,
            now=now,
        )
        return "token_issuer", reference_token.decider, jti, command

    def at_the_keys(self) -> Do:
        key, jwk = generate(KeyUse.ACCESS_TOKEN)
        new = signing_keys.NewKey(key.kid, "ES256", KeyUse.ACCESS_TOKEN, jwk)
        now, state = datetime.now(UTC), self.state(signing_keys.decider, signing_keys.SIGNING)
        command: signing_keys.Command = signing_keys.Introduce(new)
        if state.active(KeyUse.ACCESS_TOKEN) is not None:
            chosen = self.dice.choice(list(state.by_kid))
            commands: list[signing_keys.Command] = [
                signing_keys.Rotate(new, now),
                signing_keys.Settle(now, now + timedelta(days=1)),
                signing_keys.Settle(now, now + timedelta(days=1)),
                signing_keys.Compromise(chosen, new),
            ]
            command = self.dice.choice(commands)
        self.keys[key.kid] = key
        return "token_issuer", signing_keys.decider, signing_keys.SIGNING, command

    def seconds(self) -> int:
        """Of a token: that ended before it began, that ends in a moment if clocks may differ, or that lives."""
        return self.dice.choice([-60, -4, -3, 3600, 3600, 3600, 3600, 3600])

    # How it happens

    async def play(self, commands: int) -> None:
        """Some commands at once, each in another stream."""
        busy: set[str] = set()
        appends: list[Awaitable[None]] = []
        for _ in range(commands):
            source, decider, aggregate, command = self.next()
            stream = decider.stream(aggregate)
            if stream in busy:
                continue
            busy.add(stream)
            try:
                events = tuple(decider.decide(command, self.state(decider, aggregate)))
            except Refusal:
                continue
            if events:
                appends.append(self.append(source, decider, stream, events))
        await asyncio.gather(*appends)

    async def append(self, source: str, decider: Decider[Any, Any], stream: str, events: tuple[Event, ...]) -> None:
        version = self.versions.get(stream, 0)
        context = Context("user:admin", "course", new_command_id())
        rows = rows_of(events, stream, version, context, project) if source == "registry" else ()
        alone = None if decider in (access_token.decider, exchange.decider) else version
        appended = await self.logs[source].append(
            Append(stream, alone, events, context, rows=rows, personal_key=PERSONAL_KEY)
        )
        state = self.states.get(stream, decider.initial)
        for event in events:
            state = decider.evolve(state, event)
        self.states[stream] = state
        self.versions[stream] = appended.version
        self.positions.setdefault(stream, appended.position - len(events) + 1)
        for event in events:
            self.note(event, state, appended)

    def note(self, event: Event, state: Any, appended: Appended) -> None:
        """The token that an event issued, as the issuer gives it out."""
        issued = Issued(appended.epoch, appended.position, appended.recorded_at)
        jti = getattr(event, "jti", None)
        name = type(event).__name__
        if name in {"CodeRedeemed", "RefreshTokenRotated", "RefreshTokenUsed", "AccessTokenIssued"} and jti is not None:
            of = state if isinstance(state, grant.Grant) else None
            seconds = state.access_token_seconds
            content = Content(jti, state.sub, state.client_id, ("read",), (AUDIENCE,), seconds, grant=of)
            kid = self.state(signing_keys.decider, signing_keys.SIGNING).active(KeyUse.ACCESS_TOKEN)
            if kid is not None:
                text = signed(self.keys[kid], ISSUER, content, issued)
                exp = datetime.fromtimestamp(issued.iat + seconds, UTC)
                self.tokens.append(Token(jti, appended.position, text, None, exp))
                self.jtis.append(jti)
                self.shown[jti] = exchange.Subject(
                    jti=jti,
                    sub=state.sub,
                    sid=None if of is None else of.sid,
                    gid=None if of is None else of.gid,
                    scopes=("read",),
                    audiences=(AUDIENCE,),
                    actors=(state.client_id,),
                    derived_from=(),
                    ends_at=exp,
                )
        elif isinstance(event, AccessTokenExchanged):
            kid = self.state(signing_keys.decider, signing_keys.SIGNING).active(KeyUse.ACCESS_TOKEN)
            if kid is not None:
                text, _ = exchanged_token(self.keys[kid], ISSUER, event, issued, None)
                exp = exchange.ends_at(event, issued.recorded_at.replace(microsecond=0))
                self.tokens.append(Token(event.jti, appended.position, text, None, exp))
                self.jtis.append(event.jti)
                self.shown[event.jti] = exchange.Subject(
                    jti=event.jti,
                    sub=event.sub,
                    sid=event.sid,
                    gid=event.gid,
                    scopes=event.scopes,
                    audiences=event.audiences,
                    actors=event.actors,
                    derived_from=event.derived_from,
                    ends_at=exp,
                )
        elif name == "ReferenceTokenIssued":
            claims = {
                "iss": ISSUER,
                "sub": state.sub,
                "aud": [AUDIENCE],
                "client_id": state.client_id,
                "scope": "read",
                "iat": issued.iat,
                "exp": int(state.expires_at.timestamp()),
                "jti": state.jti,
                "pos": issued.position,
                "epoch": issued.epoch,
                "reference": state.kind.value,
            }
            seen = as_token(claims, state.kind.value, ISSUER)
            self.tokens.append(Token(state.jti, appended.position, None, seen, state.expires_at))
