"""A long life, played through the deciders into a real log; what is told of its moments is held against what was then.

    STAGEDOOR_PAST_SEED=7 STAGEDOOR_PAST_COMMANDS=50000 pytest tests/properties/test_looking_back.py

At many moments the test keeps the live states, rows of a read model, and the verdicts of a guard that follows the
log's denials. Afterwards it asks what was at those positions. The answers come from the facts alone.
"""

import asyncio
import itertools
import json
import os
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from services.identity.domain import consent, session, user
from services.identity.events import Profile, Role, SessionEndReason, UserKind
from services.ledger.looking_back import Histories, LookingBack, as_json
from services.ledger.main import HISTORIES
from services.ledger.past import Moment, Past
from services.ledger.permission import Permission
from services.ledger.reports.access import Access
from services.registry.domain import application
from services.registry.events import ApplicationSettings, ApplicationType, AuthMethod, GrantType, ReferenceTokens
from services.registry.read_model import project
from services.token_issuer.domain import access_token, grant, reference_token, revocation, signing_keys
from services.token_issuer.events import GrantEndReason, KeyUse, ReferenceEndReason, ReferenceKind
from services.token_issuer.references.matching import as_token
from services.token_issuer.signing import SigningKey, generate
from services.token_issuer.tokens import Content, Issued
from services.token_issuer.tokens import access_token as signed
from shared.decider import Decider
from shared.errors import Refusal
from shared.handle import rows_of
from shared.ids import digest, new_command_id
from shared.log.append import Append, Appended, Context
from shared.log.event import Event
from shared.log.log import Log
from shared.log_feed import LogFeed
from shared.wake import Wake
from stagedoor import Denied, Guard
from stagedoor.keys import StaticKeys
from stagedoor.token import AccessToken, read_said
from tests.support.facts import EVERYTHING, PERSONAL_KEY
from tests.support.postgres import Database
from tests.support.postgres import database as database  # noqa: PLC0414  (a fixture)
from tests.support.postgres import databases as databases  # noqa: PLC0414  (a fixture)

COMMANDS = int(os.environ.get("STAGEDOOR_PAST_COMMANDS", "10000"))
SEED = int(os.environ.get("STAGEDOOR_PAST_SEED", "1985"))
ISSUER, AUDIENCE = "https://id.example/id", "https://api.example"
SCOPES = frozenset({"read", "update", "sell"})
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
AT_ONCE = 160
"""Commands that are appended together."""
EACH = 5
"""Things and tokens that are looked at in a moment."""

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


@dataclass
class Kept:
    """What was true in a moment."""

    position: int
    at: datetime
    states: dict[tuple[str, str], str | None] = field(default_factory=dict)
    """By kind and id; None: there was none."""
    applications: dict[str, tuple[bool, Any]] = field(default_factory=dict)
    """Rows of the registry's read model."""
    verdicts: dict[str, tuple[int, str]] = field(default_factory=dict)
    """By token, with where it was issued; empty: it was accepted."""
    acting: frozenset[str] = frozenset()
    """Grants that could be used."""


class Life:
    """A history that is being made."""

    def __init__(self, logs: Mapping[str, Log]) -> None:
        self.dice = random.Random(SEED)
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

    def state(self, decider: Decider[Any, Any], aggregate: str) -> Any:
        return self.states.get(decider.stream(aggregate), decider.initial)

    def new(self, what: str) -> str:
        return f"{what}{next(self.numbers)}"

    # What may happen

    def next(self) -> Do:
        ways: Sequence[tuple[int, Callable[[], Do]]] = (
            (8, self.at_an_application),
            (10, self.at_a_user),
            (10, self.a_session),
            (6, self.a_consent),
            (14, self.a_grant),
            (30, self.of_a_grant),
            (8, self.a_token),
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
        gid = self.dice.choice(self.gids[-60:])
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
        if state is not None and self.dice.random() > 0.08:
            if not state.redeemed or self.dice.random() < 0.02:
                command = grant.Redeem(
                    client_id=state.client_id,
                    code_digest=state.code_digest,
                    redirect_uri=None,
                    verifier=None,
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
                    **asked,
                )
        return "token_issuer", grant.decider, gid, command

    def a_token(self) -> Do:
        jti, client_id = self.new("jti"), self.dice.choice(self.clients)
        command = access_token.Issue(jti, client_id, client_id, ("read",), (AUDIENCE,), self.seconds())
        return "token_issuer", access_token.decider, jti, command

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
        alone = None if decider is access_token.decider else version
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
        if name in {"CodeRedeemed", "RefreshTokenRotated", "AccessTokenIssued"} and jti is not None:
            of = state if isinstance(state, grant.Grant) else None
            seconds = state.access_token_seconds
            content = Content(jti, state.sub, state.client_id, ("read",), (AUDIENCE,), seconds, grant=of)
            kid = self.state(signing_keys.decider, signing_keys.SIGNING).active(KeyUse.ACCESS_TOKEN)
            if kid is not None:
                text = signed(self.keys[kid], ISSUER, content, issued)
                exp = datetime.fromtimestamp(issued.iat + seconds, UTC)
                self.tokens.append(Token(jti, appended.position, text, None, exp))
                self.jtis.append(jti)
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


class Watching:
    """A guard that follows the log, and what it says in a moment."""

    def __init__(self, life: Life, log: Log) -> None:
        self.life = life
        self.log = log
        self.now = 0.0
        self.feed = LogFeed(log, Wake(log))
        self.guard = Guard(issuer=ISSUER, audience=AUDIENCE, feed=self.feed, keys=StaticKeys([]), now=lambda: self.now)

    async def look(self, histories: Histories) -> Kept:
        life, dice = self.life, self.life.dice
        await self.feed._look(self.guard.view)
        keys = StaticKeys([key.public for key in life.keys.values()])
        self.guard._keys = keys
        head = (await self.log.head()).position
        (last,) = await self.log.read_rows(head - 1, limit=1)
        kept = Kept(head, last.recorded_at)
        self.now = kept.at.timestamp()
        things = [
            *(("application", one) for one in dice.sample(life.clients, EACH)),
            *(("user", one) for one in dice.sample(life.subs, EACH)),
            *(("grant", one) for one in dice.sample(life.gids, min(EACH, len(life.gids)))),
            *(("consent", consent.consent_id(*one)) for one in zip(life.subs[:2], life.clients[:2], strict=True)),
        ]
        for kind, its_id in things:
            thing = histories.things[kind]
            state = thing.show(its_id, life.state(thing.decider, its_id), kept.at)
            kept.states[kind, its_id] = None if state is None else as_json(state)
        rows = await life.logs["registry"].pool.fetch("SELECT client_id, enabled, settings FROM registry.applications")
        kept.applications = {row["client_id"]: (row["enabled"], json.loads(row["settings"])) for row in rows}
        for token in dice.sample(life.tokens, min(2 * EACH, len(life.tokens))):
            kept.verdicts[token.jti] = token.position, self.verdict(token)
        kept.acting = frozenset(
            gid
            for gid in life.gids
            if (state := life.state(grant.decider, gid)) is not None and self.acts(state, kept.at)
        )
        return kept

    def verdict(self, token: Token) -> str:
        if token.text is not None:
            verdict = self.guard.check(token.text)
            return verdict.reason.value if isinstance(verdict, Denied) else ""
        assert token.seen is not None
        reason = self.guard.view.denied(token.seen)
        return reason.value if reason is not None else ""

    def acts(self, state: grant.Grant, at: datetime) -> bool:
        """Whether anything could be had by a grant: a token of its birth would not be denied, and it is not over."""
        until = max(state.tokens_end_at, state.refresh_expires_at or state.tokens_end_at)
        if state.ended is not None or until <= at:
            return False
        claims = {
            "iss": ISSUER,
            "sub": state.sub,
            "aud": [AUDIENCE],
            "client_id": state.client_id,
            "scope": "read",
            "iat": 1,
            "exp": 2,
            "jti": "nobodys",
            "pos": self.life.positions[grant.decider.stream(state.gid)],
            "epoch": 1,
            "sid": state.sid,
            "gid": state.gid,
        }
        payload = json.dumps(claims).encode()
        said = read_said(payload)
        assert said is not None
        seen = AccessToken(key=None, said=said, payload=payload, clients=(state.client_id,), scopes=frozenset({"read"}))
        return self.guard.view.denied(seen) is None


async def test_what_is_told_of_moments_is_what_was_then(database: Database) -> None:
    logs = {name: await database.log(name, EVERYTHING) for name in ("registry", "identity", "token_issuer", "ledger")}
    life = Life(logs)
    histories = Histories(HISTORIES)
    watching = Watching(life, logs["token_issuer"])
    kept: list[Kept] = []
    for _ in range(COMMANDS // AT_ONCE):
        # The key that signs does not change while tokens are issued, so that it is known which one signed each.
        source, decider, aggregate, command = life.at_the_keys()
        if life.dice.random() < 0.2 or not kept:
            events = tuple(decider.decide(command, life.state(decider, aggregate)))
            if events:
                await life.append(source, decider, decider.stream(aggregate), events)
        await life.play(AT_ONCE)
        kept.append(await watching.look(histories))
    reasons = {reason for moment in kept for _, reason in moment.verdicts.values()}
    assert reasons >= {"", "expired", "denied_client", "denied_subject", "denied_grant", "denied_session"}
    assert {state is None for moment in kept for state in moment.states.values()} == {True, False}

    past = Past(logs["ledger"], EVERYTHING)
    back = LookingBack(past, histories, Permission(_nobody))
    gate = asyncio.Semaphore(16)

    async def compare(moment: Kept) -> None:
        async with gate:
            await _told_the_same(back, moment, histories)
            await _explained_the_same(back, moment)

    await asyncio.gather(*map(compare, kept))
    for moment in kept[:: max(1, len(kept) // 3)]:
        report = Access(histories, "", "")
        rows = [row async for row in report.rows(past, Moment(moment.position, moment.at)) if not isinstance(row, int)]
        acting = {row["id"] for row in rows if row["means"] == "grant" and row["state"] == "active"}
        assert acting == moment.acting


async def _told_the_same(back: LookingBack, kept: Kept, histories: Histories) -> None:
    moment = Moment(kept.position, kept.at)
    for (kind, its_id), expected in kept.states.items():
        told = await back._state(histories.things[kind], its_id, moment)
        if expected is None:
            assert told.knowledge == "none"
        else:
            found = json.loads(told.data)
            found.pop("erased", None)
            assert found == json.loads(expected), (kept.position, kind, its_id)
        if kind == "application":
            row = kept.applications.get(its_id)
            said = json.loads(told.data) if told.data else {}
            assert (row is not None) == (said.get("state") == "trusted")
            if row is not None:
                assert said["enabled"] == row[0]
                assert {name: said[name] for name in row[1]} == row[1]


async def _explained_the_same(back: LookingBack, kept: Kept) -> None:
    moment = Moment(kept.position, kept.at)
    for jti, (position, expected) in kept.verdicts.items():
        known, found = await back.find(jti, position)
        assert known
        explained = await back._explained(found, moment, "")
        assert explained.reason == expected, (kept.position, jti, explained)
        assert explained.verdict == ("refused" if expected else "accepted")
        if expected and expected != "expired":
            assert any(fact.decides for fact in explained.facts)


async def _nobody(_: str) -> Any:
    raise AssertionError("nobody asks over the wire here")
