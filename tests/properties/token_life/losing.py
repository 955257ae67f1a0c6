"""The log begins a new epoch: a standby took over that had everything, or a back-up was put back and lost a tail."""

import asyncio
from copy import deepcopy
from dataclasses import dataclass
from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.properties.token_life.clients import Form
from tests.properties.token_life.long_lived import LongLived
from tests.properties.token_life.model import Model
from tests.properties.token_life.playing import PICK
from tests.properties.token_life.signing_in import Visit
from tests.properties.token_life.world import World

SLOT = st.sampled_from([0, 0, 1])


@dataclass
class Kept:
    """What was true when a back-up was taken."""

    model: Model
    consented: dict[tuple[str, str], set[str]]
    visits: list[Visit]
    apis: list[frozenset[str]]
    pruned: bool


class Losing(LongLived):
    """Failovers and back-ups. Services, guards and applications go on, and know of what is lost."""

    def __init__(self, runner: asyncio.Runner, world: World) -> None:
        super().__init__(runner, world)
        self.back_ups: dict[int, Kept] = {}

    @rule(slot=SLOT)
    def a_back_up_is_taken(self, slot: int) -> None:
        self.do(self.world.held.take_back_up(slot))
        self.back_ups[slot] = deepcopy(Kept(self.model, self.consented, self.visits, self.apis, self.pruned))

    @precondition(lambda self: len(self.branches) < 4)
    @rule()
    def a_standby_takes_over(self) -> None:
        """It has everything: nobody is to notice. No two epochs begin within a second."""
        self.forward(timedelta(seconds=1))
        self.branches[self.model.epoch] = deepcopy(self.model)
        self.do(self.world.held.become_another_server())
        self.another_epoch()
        self.saw("another epoch, and nothing was lost")

    @precondition(lambda self: self.back_ups)
    @rule(slot=SLOT)
    def a_back_up_is_put_back(self, slot: int) -> None:
        if slot not in self.back_ups:
            slot = next(iter(self.back_ups))
        self.forward(timedelta(seconds=1))
        before, kept = self.model, deepcopy(self.back_ups[slot])
        self.branches[before.epoch] = before
        self.lost += [*before.tokens, *before.references]
        self.lost_grants += before.grants
        self.model, self.consented, self.visits = kept.model, kept.consented, kept.visits
        self.apis, self.pruned = kept.apis, kept.pruned
        self.model.now = before.now
        self.do(self.world.put_back_up_back(slot))
        self.wire.number = self.do(self.world.issuer_log.head()).denial_number
        self.nothing_lost_is_accepted_by_who_begins_now()
        self.another_epoch()
        self.saw(f"another epoch, and something was lost: {before.head > kept.model.head}")

    def nothing_lost_is_accepted_by_who_begins_now(self) -> None:
        """Before anything tells the two branches apart: a token of the lost tail is from beyond what there is."""
        self.take_snapshot()
        fresh = self.new_edge()
        for token in self.everything(self.model.tokens):
            here = self.model.known(token)
            accepted = here is not None and here.for_api and self.model.token_accepted(here, self.model.head)
            assert fresh.allows(token.text) == accepted

    def another_epoch(self) -> None:
        """It begins with the first event."""
        self.do(self.world.epoch_begins())
        self.followed = False
        self.observe()
        epoch = self.wire.beats[-1].head.epoch
        assert epoch not in self.branches, "an epoch is numbered like one that there was"
        self.model.epoch = epoch

    @precondition(lambda self: self.lost_grants)
    @rule(which=PICK, back=PICK)
    def present_what_is_lost(self, which: int, back: int) -> None:
        """A code or a refresh token of the lost tail is as good as one that never was."""
        lost = self.pick(self.lost_grants, which)
        app = self.model.apps.get(lost.client_id)
        if app is None:
            return
        credentials, _ = self.credentials(app, 0)
        here = next((grant for grant in self.model.grants if grant.gid == lost.gid), None)
        unknown = [token for token in lost.refresh_tokens if here is None or token not in here.refresh_tokens]
        if unknown:
            form: dict[str, Form] = {"grant_type": "refresh_token", "refresh_token": self.pick(unknown, back)}
        elif here is None:
            form = self.redemption(lost, app)
        else:
            return
        assert self.do(self.world.token(credentials, **form)).status_code in (400, 401)
        assert self.observe() == 0
        self.saw("something lost was presented")
