"""The feed tells of signing keys: the guard asks the issuer for them at once, and believes nobody else."""

from collections.abc import AsyncIterator, Iterable

import pytest

from stagedoor import guard as guarding
from stagedoor.clock import since_boot
from stagedoor.denials import Denial, DenialKind, DenialRule, Snapshot
from stagedoor.guard import Guard
from stagedoor.keys import PublicKey
from stagedoor.verdict import Allowed, Denied, Reason
from tests.support.sdk_tokens import SigningKey, claims, guard
from tests.support.work import eventually


class Published:
    """Keys that come and go at the issuer, and are known here once somebody looks."""

    loaded = True
    lifetime = 3600.0

    def __init__(self, *keys: SigningKey) -> None:
        self.there: dict[str, PublicKey] = {key.kid: key.public for key in keys}
        self.known = dict(self.there)
        self.looks: list[bool] = []
        """For each look, whether the feed was the reason."""
        self.late = 0
        """So many looks find what was there before."""

    def find(self, kid: str, /) -> PublicKey | None:
        return self.known.get(kid)

    async def refresh(self, *, told: bool = False) -> None:
        self.looks.append(told)
        if self.late:
            self.late -= 1
        else:
            self.known = dict(self.there)


OLD, NEW = SigningKey("old"), SigningKey("new")


def said(number: int, kid: str, rule: DenialRule) -> Denial:
    return Denial(number=number, position=1000 + number, epoch=1, kind=DenialKind.KEY, id=kid, rule=rule)


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Published:
    monkeypatch.setattr(guarding, "_KEYS_TOLD", (0.001,) * 5)
    return Published(OLD)


@pytest.fixture
async def running(published: Published) -> AsyncIterator[Guard]:
    async with guard(OLD, keys=published) as made:
        await eventually(lambda: published.looks == [False])
        yield made


def told(published: Published) -> Iterable[bool]:
    return published.looks[1:]


@pytest.mark.parametrize("late", [0, 1, 4])
async def test_a_new_key_is_fetched_until_the_issuer_shows_it(running: Guard, published: Published, late: int) -> None:
    published.there["new"], published.late = NEW.public, late
    token = NEW.sign(claims())
    verdict = running.check(token)
    assert isinstance(verdict, Denied)
    assert verdict.reason is Reason.UNKNOWN_KEY
    running.view.apply(said(1, "new", DenialRule.LIFTED))
    await eventually(lambda: isinstance(running.check(token), Allowed))
    assert list(told(published)) == [True] * (late + 1)


async def test_a_compromised_key_is_refused_at_once_and_forgotten_soon(running: Guard, published: Published) -> None:
    token = OLD.sign(claims())
    assert isinstance(running.check(token), Allowed)
    published.there, published.late = {"new": NEW.public}, 1
    running.view.apply(said(1, "old", DenialRule.STANDING))
    verdict = running.check(token)
    assert isinstance(verdict, Denied)
    assert verdict.reason is Reason.DENIED_KEY
    await eventually(lambda: published.known == published.there)


async def test_what_is_told_twice_is_fetched_once(running: Guard, published: Published) -> None:
    published.there["new"] = NEW.public
    running.view.apply(said(1, "new", DenialRule.LIFTED))
    running.view.apply(said(1, "new", DenialRule.LIFTED))
    await eventually(lambda: published.find("new") is not None)
    running.view.apply(said(1, "new", DenialRule.LIFTED))
    assert not running.view.keys_changed.is_set()


async def test_a_snapshot_in_the_place_of_what_was_missed_is_a_reason_too(running: Guard, published: Published) -> None:
    published.there["new"] = NEW.public
    running.view.replace(Snapshot(position=2000, number=9, epoch=1, denials=()), since_boot())
    await eventually(lambda: published.find("new") is not None)
