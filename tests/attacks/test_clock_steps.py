"""Somebody sets the clock of a resource server ahead and back again, by forged answers about the time (RFC 7384).

While it is ahead all tokens have expired, and the denials that stood against them are let go of. A token that was
revoked must not be good again afterwards.
"""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from stagedoor import guard as guarding
from stagedoor.clock import since_boot
from stagedoor.denials import Denial, DenialKind, DenialRule, DenialView, Snapshot
from stagedoor.feed import Answer
from stagedoor.guard import Guard
from stagedoor.verdict import Allowed, Reason
from tests.support.attacking import reason
from tests.support.sdk_tokens import HeldFeed, HeldOnline, SigningKey, claims, guard
from tests.support.work import eventually

BEGAN = datetime.now(UTC)
REVOKED = {
    DenialKind.TOKEN: "jti-1",
    DenialKind.GRANT: "gid-1",
    DenialKind.SESSION: "sid-1",
    DenialKind.SUBJECT_SESSIONS: "sub-freddie",
}


class Clock:
    """A wall clock that anybody can set."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> float:
        return (datetime.now(UTC) + self.ahead).timestamp()


class Snapshots(HeldFeed):
    """A feed that brings a snapshot to a view that knows nothing."""

    def __init__(self, *denials: Denial) -> None:
        super().__init__()
        self.denials = denials

    async def run(self, view: DenialView) -> None:
        while True:
            if not view.loaded:
                view.replace(Snapshot(position=1000, number=9, epoch=1, denials=self.denials), since_boot())
            await asyncio.sleep(0.01)


def denial(kind: DenialKind = DenialKind.TOKEN) -> Denial:
    """Of a token that lives for an hour."""
    return Denial(
        number=1,
        position=500,
        epoch=1,
        kind=kind,
        id=REVOKED[kind],
        rule=DenialRule.CUT_OFF if kind is DenialKind.SUBJECT_SESSIONS else DenialRule.STANDING,
        until=BEGAN + timedelta(hours=2),
    )


def set_ahead_and_back(clock: Clock, checked: Guard) -> None:
    clock.ahead = timedelta(days=2)
    checked.view.prune(clock(), skew=10.0)
    clock.ahead = timedelta()


@pytest.mark.parametrize("kind", list(REVOKED))
def test_what_was_revoked_is_not_accepted_again(key: SigningKey, kind: DenialKind) -> None:
    clock = Clock()
    checked = guard(key, denial(kind), now=clock)
    revoked = key.sign(claims())
    before = reason(checked.check(revoked))
    assert before is not None
    set_ahead_and_back(clock, checked)
    assert reason(checked.check(revoked)) is Reason.TOO_STALE


def test_nor_if_it_had_been_accepted_before(key: SigningKey) -> None:
    clock = Clock()
    checked = guard(key, now=clock)
    revoked = key.sign(claims())
    assert isinstance(checked.check(revoked), Allowed)
    checked.view.apply(denial())
    set_ahead_and_back(clock, checked)
    assert reason(checked.check(revoked)) is Reason.TOO_STALE


async def test_the_issuer_is_asked_meanwhile(key: SigningKey) -> None:
    clock = Clock()
    online = HeldOnline(Answer(allowed=False, reason="denied_token", position=1000))
    checked = guard(key, denial(), now=clock, online=online)
    set_ahead_and_back(clock, checked)
    assert reason(await checked.validate(key.sign(claims()))) is Reason.DENIED_TOKEN
    online.answer = Answer(allowed=True, reason="", position=1000)
    assert isinstance(await checked.validate(key.sign(claims(jti="jti-2"))), Allowed)


async def test_honest_tokens_are_judged_here_again_soon(key: SigningKey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarding, "_PRUNE_EVERY", 0.01)
    clock = Clock()
    revoked, honest = key.sign(claims()), key.sign(claims(jti="jti-2"))
    async with guard(key, now=clock, loaded=False, feed=Snapshots(denial())) as checked:
        await eventually(lambda: isinstance(checked.check(honest), Allowed))
        assert reason(checked.check(revoked)) is Reason.DENIED_TOKEN
        clock.ahead = timedelta(days=2)
        await eventually(lambda: len(checked.view) == 0)
        assert reason(checked.check(honest)) is Reason.EXPIRED
        clock.ahead = timedelta()
        await eventually(lambda: isinstance(checked.check(honest), Allowed))
        assert reason(checked.check(revoked)) is Reason.DENIED_TOKEN


def test_an_older_snapshot_does_not_do(key: SigningKey) -> None:
    checked = guard(key, denial())
    checked.view.begin_again()
    for older in ((1, 0, 1000), (1, 1, 999)):
        epoch, number, position = older
        checked.view.replace(Snapshot(position=position, number=number, epoch=epoch, denials=()), since_boot())
        assert reason(checked.check(key.sign(claims()))) is Reason.DENIED_TOKEN
        assert reason(checked.check(key.sign(claims(jti="jti-2")))) is Reason.TOO_STALE
    checked.view.replace(Snapshot(position=1000, number=1, epoch=1, denials=(denial(),)), since_boot())
    assert reason(checked.check(key.sign(claims()))) is Reason.DENIED_TOKEN
    assert isinstance(checked.check(key.sign(claims(jti="jti-2"))), Allowed)
