"""How a life is played: what every part of it needs."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Sequence
from datetime import timedelta
from typing import ClassVar, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine

from shared.errors import Refusal
from shared.log_feed import denial_of
from tests.properties.token_life.clients import EXCHANGE
from tests.properties.token_life.edge import Edge, Wire
from tests.properties.token_life.model import App, Grant, Model, Token, User
from tests.properties.token_life.reference_desk import AsOfTheHead
from tests.properties.token_life.world import API, ISSUER, World

T = TypeVar("T")

PICK = st.integers(0, 5)
SCOPES = st.sampled_from([("read", "update"), ("read", "update"), ("read",), ("update",), ()])
GRANTS = st.sampled_from(
    [("refresh_token", "client_credentials", EXCHANGE), ("refresh_token", EXCHANGE), ("client_credentials",), ()]
)
ASKED = st.sampled_from(
    ["openid read offline_access", "openid read update offline_access", "", "openid offline_access", "read", "openid"]
)
ASKED_AGAIN = st.sampled_from(
    [(), (), (), (), (), ("read", "offline_access"), ("read",), ("openid",), ("read", "update"), ("offline_access",)]
)
"""Scopes that a refresh asks for."""
PLACES = st.sampled_from([(), (), (), (), (), (), ("api",), ("userinfo",), ("api", "userinfo")])
"""Resources that a request for tokens names."""
REFERENCES = st.sampled_from(["none", "authenticated_users", "authenticated_users", "administrators_only"])
"""Who may have reference tokens made for an application."""
SELDOM = st.sampled_from([False, False, False, True])
SECONDS = st.sampled_from([0, 0, 60, 86400])
SPANS = st.sampled_from(
    [
        timedelta(seconds=seconds)
        for seconds in (1, 9, 10, 10, 11, 11, 59, 60, 60, 840, 3600, 39600, 86400, 691200, 2678400)
    ]
)
PASSWORD = "a-kind-of-magic-1986"


class Playing(RuleBasedStateMachine):
    """The world, the model of it, and the wire between the log and the guards."""

    def __init__(self, runner: asyncio.Runner, world: World) -> None:
        super().__init__()
        self.runner = runner
        self.world = world
        self.do(world.begin())
        self.model = Model(world.clock.now)
        self.wire = Wire()
        self.consented: dict[tuple[str, str], set[str]] = {}
        self.followed = True
        self.apis = [self.model.api_scopes]
        """What somebody who has not heard of everything may believe to be the scopes of the API."""
        self.pruned = False
        self.names = 0
        self.lost: list[Token] = []
        """What was issued in a tail of the log that was lost."""
        self.lost_grants: list[Grant] = []
        self.branches: dict[int, Model] = {}
        """How it was when an epoch ended, by epoch."""
        self.observe()
        self.model.epoch = self.wire.beats[-1].head.epoch
        self.take_snapshot()
        self.prompt, self.late = self.new_edge(), self.new_edge()

    seen_so_far: ClassVar[Counter[str]] = Counter()
    """What has happened in all lives: to see that what matters happens often."""

    def saw(self, what: str) -> None:
        self.seen_so_far[what] += 1

    # How it is played

    def do(self, work: Awaitable[T]) -> T:
        async def run() -> T:
            return await work

        return self.runner.run(run())

    def attempt(self, work: Awaitable[T]) -> T | Refusal:
        """What came of it; a refusal is an answer too."""
        try:
            return self.do(work)
        except Refusal as refusal:
            return refusal

    def observe(self) -> int:
        """See how far the log has come, and put onto the wire what it says."""

        async def look() -> None:
            head = await self.world.issuer_log.head()
            sent = self.wire.number
            fresh = await self.world.issuer_log.denials_after(sent, 1000) if head.denial_number > sent else []
            self.wire.note([denial_of(one) for one in fresh], head, self.world.clock.since_boot())
            for one in fresh:
                self.model.moments.add(one.position)

        before = self.model.head if hasattr(self, "model") else 0
        self.do(look())
        if hasattr(self, "model"):
            self.model.head = self.wire.beats[-1].head.position
            return self.model.head - before
        return 0

    def changed(self) -> bool:
        """Whether the last command has written something; views of it lag from here on."""
        wrote = self.observe() > 0
        if wrote:
            self.followed = False
        return wrote

    def new_edge(self) -> Edge:
        edge = Edge(self.wire, self.world.clock, self.world.keys, AsOfTheHead(self.world), ISSUER, API)
        edge.begin()
        return edge

    def take_snapshot(self) -> None:
        asked_at = self.world.clock.since_boot()
        self.wire.take_snapshot(self.do(self.world.issuer_log.active_denials()), asked_at)

    def all_follow(self) -> None:
        self.do(self.world.follow())
        self.followed = True
        self.apis = [self.model.api_scopes]

    def forward(self, span: timedelta) -> None:
        """Time passes, for everybody."""
        if span:
            self.do(self.world.forward(span))
            self.model.now = self.world.clock.now
            self.observe()  # keys may have been rotated
            for edge in (self.prompt, self.late):
                edge.prune()

    @staticmethod
    def pick(things: Sequence[T], which: int) -> T:
        """The newest is 0."""
        return things[-1 - which % len(things)]

    def app(self, which: int) -> App:
        return self.pick(list(self.model.apps.values()), which)

    def person(self, which: int) -> User:
        return self.pick([user for user in self.model.users.values() if user.password is not None], which)

    def user(self, which: int) -> User:
        return self.pick(list(self.model.users.values()), which)

    def everything(self, here: Sequence[Token]) -> list[Token]:
        """Tokens that are known, and those of their kind that were lost."""
        jtis = {token.jti for token in here}
        kind = here is self.model.references
        return [*here, *(token for token in self.lost if token.reference == kind and token.jti not in jtis)]

    def branch_of(self, edge: Edge) -> Model:
        """What is true where this guard believes to be."""
        branch = self.branches.get(edge.view.epoch, self.model)
        branch.now = self.model.now
        return branch
