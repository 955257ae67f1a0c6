"""A life: everything that can happen, what has to come of it, and what has to be true after each step."""

from collections.abc import Sequence
from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from shared.log.row import EventFilter
from tests.properties.token_life import model as life
from tests.properties.token_life.losing import Losing
from tests.properties.token_life.model import Token
from tests.properties.token_life.playing import PICK, SPANS
from tests.properties.token_life.replay import assert_replay_equals_live


class TokenLife(Losing):
    """One history."""

    # Time, views, wires and processes

    @rule(span=SPANS)
    def time_passes(self, span: timedelta) -> None:
        self.forward(span)

    @precondition(lambda self: self.model.tokens or self.model.grants)
    @rule(which=PICK, after=st.sampled_from([-1, 0, 1, 4, 5, 6]))
    def something_is_about_to_end(self, which: int, after: int) -> None:
        """Time passes up to around the end of something."""
        ends = [token.expires_at for token in self.model.tokens]
        ends += [grant.code_expires_at for grant in self.model.grants]
        ends += [grant.refresh_expires_at for grant in self.model.grants if grant.refresh_expires_at is not None]
        ends += [grant.rotated_at + life.GRACE for grant in self.model.grants if grant.rotated_at is not None]
        ends = sorted(end for end in ends if end + timedelta(seconds=after) > self.model.now)
        if ends:
            self.forward(ends[which % len(ends)] + timedelta(seconds=after) - self.model.now)

    @rule()
    def the_followers_catch_up(self) -> None:
        self.all_follow()

    @rule(follower=PICK, which=st.lists(st.integers(0, 40), min_size=1, max_size=6))
    def facts_arrive(self, follower: int, which: Sequence[int]) -> None:
        """A follower is woken by messages of some facts, in any order, by some of them twice; the newest is 0."""

        async def deliver() -> None:
            wanted = EventFilter(sources=("registry", "identity"))
            rows = await self.world.issuer_log.read_rows(0, limit=1000, matching=wanted)
            for one in which:
                row = self.pick(rows, one)
                view = self.world.follower(follower)._views[row.type.partition(".")[0]]
                view.hear(row.position)
                await view._look()

        self.do(deliver())

    @rule(
        what=st.lists(
            st.tuples(st.sampled_from(["denial", "denial", "heartbeat", "answer", "snapshot"]), st.integers(0, 12)),
            min_size=1,
            max_size=8,
        )
    )
    def the_guard_hears(self, what: Sequence[tuple[str, int]]) -> None:
        """Something that was sent at any time, again or in disorder; the newest is 0."""
        for kind, back in what:
            match kind:
                case "denial":
                    self.late.deliver_denial(-1 - back)
                case "snapshot":
                    self.late.begin(-1 - back)
                case _:
                    self.late.deliver_beat(-1 - back, answer=kind == "answer")

    @rule(what=st.sampled_from(["snapshot", "catch up", "restart"]))
    def the_guard_does(self, what: str) -> None:
        if what in ("snapshot", "restart"):
            self.take_snapshot()
        if what == "restart":
            self.late = self.new_edge()
        elif what == "catch up":
            self.late.catch_up()

    @rule()
    def the_log_is_looked_after(self) -> None:
        """Denials that can match nothing any more are pruned."""
        self.pruned = True
        self.do(self.world.held.prune_denials())

    @rule(what=st.sampled_from(["issuer", "issuer and its keys", "registry", "identity", "validation"]), which=PICK)
    def a_service_restarts(self, what: str, which: int) -> None:
        match what:
            case "registry":
                self.world.restart_registry()
            case "identity":
                self.world.restart_identity()
            case "validation":
                self.do(self.world.restart_validation())
            case _:
                self.do(self.world.restart_issuer(which, with_keys=what != "issuer"))

    # What is always true

    @invariant()
    def nothing_denied_is_accepted_and_nothing_else_refused(self) -> None:
        assert self.observe() == 0, "something was written that no command has asked for"
        if self.prompt.view.epoch != self.model.epoch:
            self.take_snapshot()
            self.prompt.begin()
        self.prompt.catch_up()
        assert self.prompt.view.position == self.model.head
        for token in self.everything(self.model.tokens):
            here = self.model.known(token)
            accepted = here is not None and here.for_api and self.model.token_accepted(here, self.model.head)
            assert self.prompt.allows(token.text) == accepted, f"a guard that has heard everything: {token.jti}"
            self.check_late(token)
        self.check_references()

    def check_late(self, token: Token) -> None:
        """A guard that has heard of some things accepts nothing that was denied up to where its view has come."""
        view, there = self.late.view, self.branch_of(self.late)
        known = there.known(token)
        assert view.position <= there.head
        alive = token.for_api and self.model.now < token.expires_at + life.LEEWAY
        if self.late.allows(token.text):
            assert alive
            assert self.late.fresh
            assert known is not None, "accepted, though nobody there has issued it"
            assert token.position <= view.position
            assert not there.token_denied(known, view.position), "accepted past the denial's position"
        elif there is self.model and known and alive and self.late.fresh and token.position <= view.position:
            assert there.token_denied_since(known, view.position), "refused, though nothing denies it"

    def teardown(self) -> None:
        try:
            self.all_follow()
            self.nothing_denied_is_accepted_and_nothing_else_refused()
            self.take_snapshot()
            fresh = self.new_edge()
            for token in self.everything(self.model.tokens):
                assert fresh.allows(token.text) == self.prompt.allows(token.text), token
            self.ask_issuer(*self.everything(self.model.tokens), *self.everything(self.model.references))
            self.listed_as_they_are()
            self.do(assert_replay_equals_live(self.world, pruned=self.pruned))
        finally:
            self.do(self.world.end())
