"""Back-channel logout beside a stage: what ended is followed, and applications that listen are told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest_asyncio

from services.identity import events as identity
from services.token_issuer.backchannel.causes import PROJECTION, SOURCES, project
from services.token_issuer.backchannel.deliveries import Deliveries
from services.token_issuer.backchannel.tables import LogoutQuestions, Undelivered
from shared.http.outgoing import Outgoing, Reach
from shared.messaging.follower import Follower
from stagedoor.keys import Algorithm
from tests.support.issuing import CONFIDENTIAL, HUB, ISSUER, Client, Stage
from tests.support.receiver import Receiver
from tests.support.work import Work


@dataclass
class Backchannel:
    """The part of the issuer that tells of logouts."""

    stage: Stage
    follower: Follower
    questions: LogoutQuestions
    work: Work

    def deliver(self, reach: Reach | None = None, seconds: float = 10.0) -> Deliveries:
        """One replica that delivers, until the test ends."""
        outgoing = Outgoing(reach or Reach(loopback=True), seconds=seconds)
        deliveries = Deliveries(self.stage.issuer, outgoing, every=0.05)
        self.work.start(deliveries.run())
        return deliveries

    async def hub(self, uri: str | None, client_id: str = HUB, **settings: Any) -> Client:
        """An application that is told at this address."""
        told = CONFIDENTIAL.model_copy(update={"backchannel_logout_uri": uri, **settings})
        return await self.stage.register(told, client_id)

    async def signed_in(self, *hubs: Client, sub: str | None = None) -> "SignedIn":
        """A user who signed in to these applications, all in one session."""
        sub = sub or await self.stage.user()
        person, position = await self.stage.sign_in(sub)
        id_tokens = {}
        for hub in hubs:
            sent = await self.stage.issue(await self.stage.begin(hub), person, position)
            answer = await self.stage.redeem(hub, sent.redirect.uri.partition("code=")[2].partition("&")[0])
            assert answer.status_code == 200, answer.text
            id_tokens[hub.client_id] = answer.json()["id_token"]
        return SignedIn(sub, person.sid, id_tokens)

    async def sign_out(self, who: "SignedIn") -> int:
        """The session is ended by hand."""
        ended = identity.SessionEnded(
            sub=who.sub,
            sid=who.sid,
            reason=identity.SessionEndReason.SIGNED_OUT,
            tokens_end_at=datetime.now(UTC) + timedelta(days=1),
        )
        position = await self.stage.write(self.stage.identity, f"session-{who.sid}", ended)
        await self.follow()
        return position

    async def follow(self) -> None:
        """Let it hear of everything."""
        await self.follower.reach((await self.stage.issuer.log.head()).position)

    async def left(self, *, given_up: bool = False) -> list[Undelivered]:
        """What nobody has been told yet."""
        return await self.questions.undelivered(None, given_up=given_up, before=None, limit=1000)

    async def settled(self) -> bool:
        """Whether everybody has been told who has to be."""
        return await self.questions.newest() is None and not await self.left()

    def claims(self, token: str, client_id: str = HUB) -> dict[str, Any]:
        """What a logout token says, checked as an application that we did not write would."""
        header = jwt.get_unverified_header(token)
        assert (header["typ"], header["alg"]) == ("logout+jwt", Algorithm.RS256.value)
        kept = next(key for key in self.stage.issuer.keys.list() if key.kid == header["kid"])
        return dict(
            jwt.decode(
                token,
                jwt.PyJWK(kept.public_jwk).key,
                algorithms=["RS256"],
                audience=client_id,
                issuer=ISSUER,
                options={"require": ["iss", "aud", "iat", "exp", "jti", "events"]},
            )
        )


@dataclass(frozen=True)
class SignedIn:
    """Somebody in one session, and what the applications know of them."""

    sub: str
    sid: str
    id_tokens: dict[str, str]


def told(receiver: Receiver, backchannel: Backchannel, client_id: str = HUB) -> list[tuple[str, str]]:
    """Which `sub` and `sid` a receiver was told of."""
    found = [backchannel.claims(token, client_id) for token in receiver.tokens]
    return [(claims["sub"], claims["sid"]) for claims in found]


@asynccontextmanager
async def beside(stage: Stage) -> AsyncIterator[Backchannel]:
    """Back-channel logout for this stage."""
    log = stage.issuer.log
    async with Work() as work:
        yield Backchannel(stage, Follower(log, PROJECTION, SOURCES, project, None), LogoutQuestions(log.pool), work)


@pytest_asyncio.fixture
async def backchannel(stage: Stage) -> AsyncIterator[Backchannel]:
    """With the API registered."""
    await stage.add_resources()
    async with beside(stage) as running:
        yield running
