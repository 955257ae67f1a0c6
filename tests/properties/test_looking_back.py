"""A long life, played through the deciders into a real log; what is told of its moments is held against what was then.

    STAGEDOOR_PAST_SEED=7 STAGEDOOR_PAST_COMMANDS=50000 pytest tests/properties/test_looking_back.py

At many moments the test keeps the live states, rows of a read model, and the verdicts of a guard that follows the
log's denials. Afterwards it asks what was at those positions. The answers come from the facts alone.
"""

import asyncio
import json
import os
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.identity.domain import consent
from services.ledger.looking_back import Histories, LookingBack, as_json
from services.ledger.main import HISTORIES
from services.ledger.past import Moment, Past
from services.ledger.permission import Permission
from services.ledger.reports.access import Access
from services.token_issuer.domain import grant
from shared.log.log import Log
from shared.log_feed import LogFeed
from shared.wake import Wake
from stagedoor import Denied, Guard
from stagedoor.keys import StaticKeys
from stagedoor.token import AccessToken, read_said
from tests.support.facts import EVERYTHING
from tests.support.long_life import AUDIENCE, ISSUER, Life, Token
from tests.support.postgres import Database
from tests.support.postgres import database as database  # noqa: PLC0414  (a fixture)
from tests.support.postgres import databases as databases  # noqa: PLC0414  (a fixture)

COMMANDS = int(os.environ.get("STAGEDOOR_PAST_COMMANDS", "10000"))
SEED = int(os.environ.get("STAGEDOOR_PAST_SEED", "1985"))
AT_ONCE = 160
"""Commands that are appended together."""
EACH = 4
"""Things and tokens that are looked at in a moment."""


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
        # Of old ones most are denied for one and the same reason.
        young = life.tokens[-60:]
        for token in dice.sample(life.tokens, EACH) + dice.sample(young, 2 * EACH):
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
        clients = (state.client_id,)
        seen = AccessToken(
            key=None, said=said, payload=payload, clients=clients, chain=clients, scopes=frozenset({"read"})
        )
        return self.guard.view.denied(seen) is None


async def test_what_is_told_of_moments_is_what_was_then(database: Database) -> None:
    logs = {name: await database.log(name, EVERYTHING) for name in ("registry", "identity", "token_issuer", "ledger")}
    life = Life(logs, SEED)
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
