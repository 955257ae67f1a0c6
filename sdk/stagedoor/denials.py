"""The view of denials that a check reads.

The log numbers denials densely, so a view knows when it misses one. What is vouched for is a position: "up to
here, nothing is denied but what you have". A view is a set of dictionaries; asking it takes a handful of look-ups.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from stagedoor.denial import Denial, DenialKind, DenialRule, Snapshot, snapshot_of
from stagedoor.marks import Tables
from stagedoor.token import AccessToken
from stagedoor.verdict import Reason

__all__ = ["Denial", "DenialKind", "DenialRule", "DenialView", "Snapshot", "snapshot_of"]

_HELD_BACK = 100_000
"""Most denials that wait for one that is missing; more, and a snapshot has to make the view whole again."""
_KEYS_TOLD = 64
"""Most keys that wait to be fetched; of more, the first ones come with the next look at all of them."""
_UNANSWERED = 64
"""Most vouchers that wait for the denials they presuppose."""


class DenialView:
    """What is denied, as far as one process knows, and how recently somebody vouched for that.

    A `Feed` fills it; a `Guard` asks it. It belongs to one event loop, but `denied` may be asked from any thread.

    Denials are taken in order of their numbers. One that comes early denies at once, but counts only when those
    before it are there; an early lifting waits for them.
    """

    def __init__(self, max_staleness: float = 30.0, *, most: int = 100_000) -> None:
        """`most` denials of one kind are kept one by one, at about 300 bytes each; see `stagedoor.marks`."""
        self.max_staleness = max_staleness
        """Seconds after which what was vouched for is too old to judge by."""
        self.position = 0
        """Every denial up to this log position has been applied."""
        self.number = 0
        self.epoch = 0
        """0: nothing is known yet."""
        self.stamp = 0
        """Changes after everything that could change what is denied, lost or ahead of the view."""
        self.vouched_at = float("-inf")
        """When it was last known that nothing is missing, on the clock of `stagedoor.clock.since_boot`."""
        self.forgotten = 0
        """Changes whenever denials that might stand against a long-lived token may have been forgotten, or never heard
        of: what was known of such a token before is not to be relied on then."""
        self.pruned_to = 0.0
        """Denials that ended by then (seconds since 1970) may have been forgotten. A token that had ended by then is
        not to be judged by this view, should a clock that was set back make it alive again."""
        self.keys_told: dict[str, bool] = {}
        """Signing keys of which the feed said something, by `kid`: whether they are to be had from the issuer, or are
        trusted no more. Whoever fetches keys takes them out; `keys_changed` is set when there are some."""
        self.keys_changed = asyncio.Event()
        self.on_denial: Callable[[Denial], None] | None = None
        """Is told of each denial that is new here and not from a snapshot, for whoever measures."""
        self._epochs: tuple[tuple[int, int], ...] = ()
        self._most = most
        self._tables = Tables(most)
        self._newest_epoch = 0
        self._least = (0, 0, 0)
        """Epoch, number and position that a snapshot has to have come to, after beginning again."""
        self._early: dict[int, Denial] = {}
        self._vouchers: deque[tuple[int, int, float | None]] = deque(maxlen=_UNANSWERED)
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    def __len__(self) -> int:
        return len(self._tables)

    @property
    def loaded(self) -> bool:
        """Whether a first snapshot has come."""
        return self.epoch > 0

    @property
    def incomplete(self) -> bool:
        """Whether something is known to be missing; if it does not come, a snapshot is needed."""
        return not self.loaded or self._newest_epoch > self.epoch or bool(self._early) or bool(self._vouchers)

    def age(self, now: float) -> float:
        """Seconds since it was last known that nothing is missing; infinite before the first time.

        `now` is a reading of `stagedoor.clock.since_boot`.
        """
        return now - self.vouched_at

    def fresh(self, now: float) -> bool:
        """Whether it may be judged by."""
        return now - self.vouched_at <= self.max_staleness

    def replace(self, snapshot: Snapshot, sent_at: float | None = None) -> None:
        """Begin again from a snapshot. One that is older than the view changes nothing.

        `sent_at` is when it was asked for, if it was asked for: that makes it a voucher too.
        """
        if (snapshot.epoch, snapshot.number) < (self.epoch, self.number) or (
            (snapshot.epoch, snapshot.number, snapshot.position) < self._least
        ):
            return
        tables = Tables(self._most)
        for denial in snapshot.denials:
            tables.apply(denial)
        early = {}
        for number, denial in self._early.items():
            if denial.epoch == snapshot.epoch and number > snapshot.number:
                early[number] = denial
                if denial.rule is not DenialRule.LIFTED:
                    tables.apply(denial)
        if snapshot.epoch != self.epoch:
            self.position, self.vouched_at = 0, float("-inf")
            self._vouchers.clear()
        if self.loaded:
            # What was said of keys meanwhile is not in it.
            self.keys_changed.set()
        self._tables, self._early, self.pruned_to = tables, early, 0.0
        self.epoch, self.number, self._epochs = snapshot.epoch, snapshot.number, snapshot.epochs
        self.forgotten += 1
        self.stamp += 1
        self._advance(snapshot.position, sent_at)
        self._settle()

    def apply(self, denial: Denial) -> bool:
        """Take in one denial. False: something before it is missing, and a snapshot is needed if it does not come.

        One that was applied before changes nothing.
        """
        if denial.epoch < self.epoch or (denial.epoch == self.epoch and denial.number <= self.number):
            return True
        if len(self._early) >= _HELD_BACK:
            self._early.clear()
        if self.on_denial is not None and denial.number not in self._early:
            self.on_denial(denial)
        self._early[denial.number] = denial
        if denial.epoch > self.epoch:
            self._hear_of(denial.epoch)
            return False
        if denial.number > self.number + 1:
            if denial.rule is not DenialRule.LIFTED:
                self._take_in(denial)
            return False
        self._settle()
        return True

    def vouch(self, position: int, number: int, epoch: int, sent_at: float | None = None, known: int = 0) -> bool:
        """Somebody who read the log says: up to `position`, nothing is denied beyond the denial of this `number`.

        `sent_at` is when this process asked (`stagedoor.clock.since_boot`); without it, the word may have lain in
        a buffer for any time, so it moves the position and proves nothing about how recent that is. `known` is the
        position that this view had then: a log that answers with less has lost what it had, and proves nothing either,
        unless the view has begun anew since. False: something is missing, and a snapshot is needed if it does not come.
        """
        if epoch != self.epoch:
            self._hear_of(epoch)
            return epoch < self.epoch
        if position < min(known, self.position):
            return True
        if number <= self.number:
            self._advance(position, sent_at)
            return True
        self._vouchers.append((number, position, sent_at))
        return False

    def denied(self, token: AccessToken) -> Reason | None:  # noqa: C901, PLR0911, PLR0912  (the hot path: one look-up a kind)
        """What of the token is denied, if anything."""
        tables, said = self._tables, token.said
        pos, sub, sid = said.pos, said.sub, said.sid
        kid = None if token.key is None else token.key.kid
        # Of most tokens' ids nothing was ever said. One set tells that, instead of a dozen dictionaries, which are far
        # from the processor's caches at a token's first check.
        named = tables.named
        if named.isdisjoint((said.jti, said.gid, sid, sub, kid)) and named.isdisjoint(token.chain):
            return tables.below(token) if pos <= tables.floor and said.reference is None else None
        if kid is not None and kid in tables.keys:
            return Reason.DENIED_KEY
        if (mark := tables.tokens.get(said.jti)) is not None and mark.denies(pos):
            return Reason.DENIED_TOKEN
        for derived_from in said.derived_from:
            if (mark := tables.tokens.get(derived_from)) is not None and mark.denies(pos):
                return Reason.DENIED_TOKEN
        for client in token.clients:
            if (mark := tables.clients.get(client)) is not None and mark.denies(pos):
                return Reason.DENIED_CLIENT
        if said.reference is not None:
            mark = tables.references.get(said.client_id)
            if mark is not None and mark.denies(pos):
                return Reason.DENIED_TOKEN
        if (mark := tables.subjects.get(sub)) is not None and mark.denies(pos):
            return Reason.DENIED_SUBJECT
        if said.gid is not None and (mark := tables.grants.get(said.gid)) is not None and mark.denies(pos):
            return Reason.DENIED_GRANT
        if tables.pairs:
            for client in token.clients:
                if (mark := tables.pairs.get(f"{sub} {client}")) is not None and mark.denies(pos):
                    return Reason.DENIED_GRANT
        if sid is not None:
            if (mark := tables.sessions.get(sid)) is not None and mark.denies(pos):
                return Reason.DENIED_SESSION
            if (marks := tables.by_subject.get(sub)) is not None:
                for spared, mark in tuple(marks.items()):
                    if sid != spared and mark.denies(pos):
                        return Reason.DENIED_SESSION
        # Last, as it may just be taking the place of what was looked for above.
        return tables.below(token) if pos <= tables.floor and said.reference is None else None

    def lost(self, epoch: int, position: int) -> bool:
        """Whether what was issued there is on a branch of the log that is gone, or might be.

        What is of an earlier epoch is on the living branch if its position was taken before the next epoch began.
        """
        if epoch >= self.epoch:
            return False
        if epoch not in dict(self._epochs):
            return True
        return any(position >= first for later, first in self._epochs if later > epoch)

    async def reach(self, position: int, timeout: float) -> bool:
        """Wait until the view is complete up to `position`, at most `timeout` seconds. Whether it is."""
        if self.position >= position:
            return True
        reached = asyncio.get_running_loop().create_future()
        entry = (position, reached)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(timeout):
                await reached
        except TimeoutError:
            return self.position >= position
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)
        return True

    def prune(self, now: float | None = None, *, skew: float = 10.0) -> int:
        """Forget denials that no live token can match any more, and answer how many.

        `skew` is added to their end, in seconds: twice the leeway that a check allows.
        """
        before = (time.time() if now is None else now) - skew
        self.pruned_to = max(self.pruned_to, before)
        dropped, long_lived = self._tables.prune(before)
        if long_lived:
            self.forgotten += 1
        if dropped:
            self.stamp += 1
        return dropped

    def begin_again(self) -> None:
        """Rest on nothing that was heard so far. Whoever fills the view notices, and brings a snapshot.

        What is denied stays denied until then.
        """
        self._least = max(self._least, (self.epoch, self.number, self.position))
        self.vouched_at = float("-inf")
        self.epoch = self.number = self.position = 0
        self._vouchers.clear()
        self.forgotten += 1
        self.stamp += 1

    def _hear_of(self, epoch: int) -> None:
        """The log has begun anew, perhaps without what this view rests on: until it is replaced it judges nothing.

        That a token says so is no reason: whoever has stolen a key could sign one.
        """
        self._newest_epoch = max(self._newest_epoch, epoch)
        if self.epoch < epoch:
            self.vouched_at = float("-inf")
            self.stamp += 1

    def _take_in(self, denial: Denial) -> None:
        collapsed = self._tables.collapsed
        self._tables.apply(denial)
        if denial.kind is DenialKind.KEY:
            self.keys_told[denial.id] = denial.rule is DenialRule.LIFTED
            if len(self.keys_told) > _KEYS_TOLD:
                del self.keys_told[next(iter(self.keys_told))]
            self.keys_changed.set()
        if self._tables.collapsed != collapsed:
            self.forgotten += 1
        self.stamp += 1

    def _settle(self) -> None:
        """Count the early denials that are not early any more, and the vouchers that waited for them."""
        while (denial := self._early.pop(self.number + 1, None)) is not None:
            self._take_in(denial)
            self.number = denial.number
            # Another denial of the same event may follow, so only what is before it is complete.
            self._advance(denial.position - 1, None)
        waiting = self._vouchers
        self._vouchers = deque(maxlen=_UNANSWERED)
        for number, position, sent_at in waiting:
            if number <= self.number:
                self._advance(position, sent_at)
            else:
                self._vouchers.append((number, position, sent_at))

    def _advance(self, position: int, sent_at: float | None) -> None:
        if sent_at is not None and self._newest_epoch <= self.epoch:
            self.vouched_at = max(self.vouched_at, sent_at)
        if position <= self.position:
            return
        self.position = position
        self.stamp += 1
        still: list[tuple[int, asyncio.Future[None]]] = []
        for wanted, reached in self._waiting:
            if wanted > position:
                still.append((wanted, reached))
            elif not reached.done():
                reached.set_result(None)
        self._waiting = still
