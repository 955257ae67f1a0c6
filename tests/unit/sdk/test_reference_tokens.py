"""Reference tokens at the guard: asked about once, then judged like any other."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stagedoor import memory
from stagedoor.clock import since_boot
from stagedoor.denials import Denial, DenialKind, DenialRule, Snapshot
from stagedoor.guard import Guard
from stagedoor.reference import kind_of
from stagedoor.verdict import Allowed, Denied, Reason, Verdict
from tests.support.reference_tokens import Desk, make
from tests.support.sdk_tokens import SigningKey, guard

_KEY = SigningKey()


class Clock:
    def __init__(self) -> None:
        self.offset = 0.0

    def __call__(self) -> float:
        return since_boot() + self.offset


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def checked(desk: Desk, clock: Clock) -> Guard:
    return guard(_KEY, online=desk, boot=clock)


def reason(verdict: Verdict) -> Reason | None:
    return verdict.reason if isinstance(verdict, Denied) else None


def denial(kind: DenialKind, name: str, **changes: Any) -> Denial:
    whole = {"number": 1, "position": 500, "epoch": 1, "kind": kind, "id": name, "rule": DenialRule.STANDING, **changes}
    return Denial(**whole)


def test_the_format() -> None:
    # The checksum of a known text, made by another hand: 62 digits, most significant first.
    token = make(number=0)
    assert token.startswith("stagedoor_pat_" + "0" * 43)
    assert len(token) == 63
    assert kind_of(token.encode()) == "pat"
    assert kind_of(make("sat", 2**256 - 1).encode()) == "sat"


@pytest.mark.parametrize("kind", ["pat", "sat"])
async def test_it_is_looked_up_once(checked: Guard, desk: Desk, kind: str) -> None:
    token = desk.issue(kind)
    assert reason(checked.check(token)) is Reason.NOT_LOOKED_UP
    verdict = await checked.validate(token, scopes=["read"])
    assert isinstance(verdict, Allowed)
    assert (verdict.sub, verdict.client_id, verdict.sid, verdict.gid) == (
        "sub-freddie",
        "com.backstagehub/app",
        None,
        None,
    )
    assert verdict.claims["reference"] == kind
    assert checked.check(token, scopes=["read"]) is verdict
    assert reason(await checked.validate(token, scopes=["update"])) is Reason.INSUFFICIENT_SCOPE
    assert reason(await checked.validate(token, audience="urn:other")) is Reason.WRONG_AUDIENCE
    assert desk.asked == [token]


async def test_many_callers_at_once_share_a_question(checked: Guard, desk: Desk) -> None:
    token = desk.issue()
    verdicts = await asyncio.gather(*(checked.validate(token) for _ in range(50)))
    assert all(isinstance(verdict, Allowed) for verdict in verdicts)
    assert desk.asked == [token]
    assert checked._looking_up == {}


async def test_a_caller_that_gives_up_does_not_take_the_question_from_the_others(checked: Guard, desk: Desk) -> None:
    token = desk.issue()
    first = asyncio.create_task(checked.validate(token))
    second = asyncio.create_task(checked.validate(token))
    await asyncio.sleep(0)
    first.cancel()
    assert isinstance(await second, Allowed)


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        (DenialKind.TOKEN, "ref-1", Reason.DENIED_TOKEN),
        (DenialKind.SUBJECT, "sub-freddie", Reason.DENIED_SUBJECT),
        (DenialKind.SUBJECT_CLIENT, "sub-freddie com.backstagehub/app", Reason.DENIED_GRANT),
        (DenialKind.CLIENT, "com.backstagehub/app", Reason.DENIED_CLIENT),
        (DenialKind.CLIENT_REFERENCES, "com.backstagehub/app", Reason.DENIED_TOKEN),
        (DenialKind.SUBJECT_SESSIONS, "sub-freddie", None),
        (DenialKind.KEY, "key-1", None),
    ],
)
async def test_denials_count_as_for_any_token(
    checked: Guard, desk: Desk, kind: DenialKind, name: str, expected: Reason | None
) -> None:
    token = desk.issue()
    assert isinstance(await checked.validate(token), Allowed)
    checked.view.apply(denial(kind, name))
    assert reason(checked.check(token)) is expected
    assert desk.asked == [token]


async def test_a_new_password_spares_keys_and_a_reset_does_not(checked: Guard, desk: Desk) -> None:
    token = desk.issue()
    assert isinstance(await checked.validate(token), Allowed)
    checked.view.apply(denial(DenialKind.SUBJECT_SESSIONS, "sub-freddie", rule=DenialRule.CUT_OFF))
    assert isinstance(checked.check(token), Allowed)
    checked.view.apply(denial(DenialKind.SUBJECT, "sub-freddie", rule=DenialRule.CUT_OFF, number=2))
    assert reason(checked.check(token)) is Reason.DENIED_SUBJECT


async def test_it_expires(desk: Desk) -> None:
    now = [time.time()]
    checked = guard(_KEY, online=desk, now=lambda: now[0])
    token = desk.issue(exp=int(now[0]) + 100)
    assert isinstance(await checked.validate(token), Allowed)
    now[0] += 106
    assert reason(checked.check(token)) is Reason.EXPIRED


async def test_past_the_bound_it_is_asked_about_or_refused(checked: Guard, desk: Desk, clock: Clock) -> None:
    token = desk.issue()
    assert isinstance(await checked.validate(token), Allowed)
    clock.offset = 31
    assert reason(checked.check(token)) is Reason.TOO_STALE
    assert isinstance(await checked.validate(token), Allowed)
    desk.refused[token] = "denied_token"
    assert reason(await checked.validate(token)) is Reason.DENIED_TOKEN
    desk.down = True
    assert reason(await checked.validate(token)) is Reason.TOO_STALE
    assert len(desk.asked) == 4


async def test_an_unknown_one_is_asked_about_again_only_after_a_moment(
    checked: Guard, desk: Desk, clock: Clock
) -> None:
    token = make()
    for _ in range(20):
        assert reason(await checked.validate(token)) is Reason.UNKNOWN_TOKEN
    assert desk.asked == [token]
    clock.offset = memory._REFUSED_SECONDS + 0.1
    assert reason(await checked.validate(token)) is Reason.UNKNOWN_TOKEN
    assert len(desk.asked) == 2


async def test_that_nobody_answers_is_not_remembered(checked: Guard, desk: Desk) -> None:
    token = desk.issue()
    desk.down = True
    verdict = await checked.validate(token)
    assert isinstance(verdict, Denied)
    assert (verdict.reason, verdict.temporary) == (Reason.NOT_LOOKED_UP, True)
    desk.down = False
    assert isinstance(await checked.validate(token), Allowed)


async def test_a_guard_that_can_ask_nobody_knows_none() -> None:
    assert reason(await guard(_KEY).validate(make())) is Reason.UNKNOWN_TOKEN


async def test_what_was_refused_is_bounded(checked: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_MOST_REFUSED", 10)
    for _ in range(50):
        await checked.validate(make())
    assert len(checked._refused) == 10
    assert len(checked._memory) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"iss": "https://evil.example"},
        {"reference": "sat"},
        {"reference": None},
        {"reference": "key"},
        {"sid": "sid-1"},
        {"gid": "gid-1"},
        {"exp": None},
        {"jti": ""},
        {"pos": 0},
        {"aud": "https://api.example.com/api"},
    ],
)
async def test_an_answer_that_is_not_understood_allows_nothing(
    checked: Guard, desk: Desk, wrong: dict[str, Any]
) -> None:
    token = desk.issue()
    desk.known[token] = {name: value for name, value in {**desk.known[token], **wrong}.items() if value is not None}
    assert reason(await checked.validate(token)) is Reason.NOT_LOOKED_UP
    assert len(checked._memory) == 0


class TestLongLived:
    """It may outlive the denials that stand against it, which are kept for as long as access tokens live."""

    async def test_it_is_looked_up_again_once_a_denial_was_forgotten(self, checked: Guard, desk: Desk) -> None:
        token, now = desk.issue(), datetime.now(UTC)
        assert isinstance(await checked.validate(token), Allowed)
        cut_off = denial(DenialKind.SUBJECT, "sub-freddie", rule=DenialRule.CUT_OFF, until=now)
        checked.view.apply(cut_off)
        assert reason(checked.check(token)) is Reason.DENIED_SUBJECT
        desk.refused[token] = "denied_subject"
        assert checked.view.prune((now + timedelta(minutes=1)).timestamp()) == 1
        assert reason(checked.check(token)) is Reason.NOT_LOOKED_UP
        assert reason(await checked.validate(token)) is Reason.DENIED_SUBJECT

    async def test_and_after_a_snapshot_which_may_have_missed_one(self, checked: Guard, desk: Desk) -> None:
        token = desk.issue()
        assert isinstance(await checked.validate(token), Allowed)
        checked.view.replace(Snapshot(position=2000, number=7, epoch=1, denials=()), since_boot())
        desk.refused[token] = "denied_token"
        assert reason(await checked.validate(token)) is Reason.DENIED_TOKEN

    async def test_and_where_one_was_forgotten_while_the_answer_was_on_its_way(
        self, checked: Guard, desk: Desk
    ) -> None:
        token = desk.issue()
        answer = desk.validate

        async def slowly(asked: str, **options: Any) -> Any:
            given = await answer(asked, **options)
            checked.view.forgotten += 1
            return given

        desk.validate = slowly  # type: ignore[assignment,method-assign]
        assert reason(await checked.validate(token)) is Reason.NOT_LOOKED_UP
        assert reason(checked.check(token)) is Reason.NOT_LOOKED_UP

    async def test_but_not_where_what_was_forgotten_named_one_token(self, checked: Guard, desk: Desk) -> None:
        token, now = desk.issue(), datetime.now(UTC)
        assert isinstance(await checked.validate(token), Allowed)
        checked.view.apply(denial(DenialKind.TOKEN, "another", until=now))
        assert checked.view.prune((now + timedelta(minutes=1)).timestamp()) == 1
        assert isinstance(checked.check(token), Allowed)
        assert desk.asked == [token]
