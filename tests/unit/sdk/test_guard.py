import time

import pytest

from stagedoor.clock import since_boot
from stagedoor.denials import Denial, DenialKind, DenialRule, Snapshot
from stagedoor.feed import Answer
from stagedoor.guard import Guard
from stagedoor.keys import PublicKey, StaticKeys
from stagedoor.verdict import Allowed, Denied, Reason, Verdict
from tests.support.sdk_tokens import AUDIENCE, CHAIN, EXCHANGED, HeldFeed, HeldOnline, SigningKey, claims, guard


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey()


def reason(verdict: Verdict) -> Reason | None:
    return verdict.reason if isinstance(verdict, Denied) else None


def denial(kind: DenialKind, name: str, rule: DenialRule = DenialRule.STANDING, number: int = 1) -> Denial:
    return Denial(number=number, position=500, epoch=1, kind=kind, id=name, rule=rule)


class Clock:
    """A boot clock that the test moves."""

    def __init__(self) -> None:
        self.offset = 0.0

    def __call__(self) -> float:
        return since_boot() + self.offset


def test_a_good_token_is_allowed_and_says_who(key: SigningKey) -> None:
    verdict = guard(key).check(key.sign(claims(roles=["administrator"])), scopes=["read"])
    assert isinstance(verdict, Allowed)
    assert (verdict.sub, verdict.client_id, verdict.jti) == ("sub-freddie", "com.backstagehub/app", "jti-1")
    assert (verdict.sid, verdict.gid, verdict.position) == ("sid-1", "gid-1", 1000)
    assert verdict.scopes == {"read", "update"}
    assert verdict.roles == {"administrator"}
    assert verdict.claims["pos"] == 100


def test_a_missing_scope_is_named(key: SigningKey) -> None:
    verdict = guard(key).check(key.sign(claims(scope="read")), scopes=["update"])
    assert isinstance(verdict, Denied)
    assert (verdict.reason, verdict.scopes) == (Reason.INSUFFICIENT_SCOPE, ("update",))


def test_another_audience_can_be_asked_for(key: SigningKey) -> None:
    token = key.sign(claims(aud=["urn:other"]))
    assert reason(guard(key).check(token)) is Reason.WRONG_AUDIENCE
    assert isinstance(guard(key).check(token, audience="urn:other"), Allowed)


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        (DenialKind.TOKEN, "jti-1", Reason.DENIED_TOKEN),
        (DenialKind.GRANT, "gid-1", Reason.DENIED_GRANT),
        (DenialKind.SESSION, "sid-1", Reason.DENIED_SESSION),
        (DenialKind.SUBJECT, "sub-freddie", Reason.DENIED_SUBJECT),
        (DenialKind.SUBJECT_SESSIONS, "sub-freddie", Reason.DENIED_SESSION),
        (DenialKind.SUBJECT_CLIENT, "sub-freddie com.backstagehub/app", Reason.DENIED_GRANT),
        (DenialKind.CLIENT, "com.backstagehub/app", Reason.DENIED_CLIENT),
        (DenialKind.KEY, "key-1", Reason.DENIED_KEY),
        (DenialKind.CLIENT_REFERENCES, "com.backstagehub/app", None),
    ],
)
def test_each_kind_of_denial_has_its_reason(
    key: SigningKey, kind: DenialKind, name: str, expected: Reason | None
) -> None:
    token = key.sign(claims())
    warm = guard(key)
    assert isinstance(warm.check(token), Allowed)
    warm.view.apply(denial(kind, name))
    assert reason(warm.check(token)) is expected


def test_a_denial_that_is_lifted_lets_the_token_resume(key: SigningKey) -> None:
    token = key.sign(claims())
    checked = guard(key, denial(DenialKind.CLIENT, "com.backstagehub/app"))
    assert reason(checked.check(token)) is Reason.DENIED_CLIENT
    checked.view.apply(denial(DenialKind.CLIENT, "com.backstagehub/app", DenialRule.LIFTED, 2))
    assert isinstance(checked.check(token), Allowed)


@pytest.mark.parametrize(
    ("kind", "name"), [(DenialKind.CLIENT, "com.backstagehub/app"), (DenialKind.SUBJECT, "sub-freddie")]
)
async def test_a_view_that_has_not_come_far_enough_does_not_say_what_may_have_been_lifted(
    key: SigningKey, kind: DenialKind, name: str
) -> None:
    feed = HeldFeed()
    checked = guard(key, denial(kind, name), feed=feed)
    old, newer = key.sign(claims()), key.sign(claims(pos=1200))
    assert isinstance(checked.check(old), Denied)
    assert reason(checked.check(newer)) is Reason.AHEAD_OF_VIEW
    assert reason(checked.check(old, min_position=1200)) is Reason.AHEAD_OF_VIEW
    checked.view.apply(Denial(number=2, position=1100, epoch=1, kind=kind, id=name, rule=DenialRule.LIFTED))
    feed.head = (1200, 2, 1)
    for token in (old, newer):
        assert isinstance(await checked.validate(token, min_position=1200), Allowed)


def test_a_cut_off_spares_what_was_issued_after_it(key: SigningKey) -> None:
    checked = guard(key, denial(DenialKind.SUBJECT, "sub-freddie", DenialRule.CUT_OFF))
    assert reason(checked.check(key.sign(claims(pos=500)))) is Reason.DENIED_SUBJECT
    assert isinstance(checked.check(key.sign(claims(pos=501))), Allowed)


def test_a_compromised_key_signs_nothing_whatever_position_it_claims(key: SigningKey) -> None:
    checked = guard(key, denial(DenialKind.KEY, "key-1", DenialRule.CUT_OFF))
    assert reason(checked.check(key.sign(claims(pos=900)))) is Reason.DENIED_KEY
    checked.view.apply(denial(DenialKind.KEY, "key-1", DenialRule.LIFTED, 2))
    assert reason(checked.check(key.sign(claims(pos=900)))) is Reason.DENIED_KEY


def test_every_client_of_an_act_chain_is_matched(key: SigningKey) -> None:
    token = key.sign(claims(**EXCHANGED))
    verdict = guard(key).check(token)
    assert isinstance(verdict, Allowed)
    assert (verdict.client_id, verdict.actors) == (CHAIN[0], CHAIN)
    for client in CHAIN:
        assert reason(guard(key, denial(DenialKind.CLIENT, client)).check(token)) is Reason.DENIED_CLIENT
        withdrawn = denial(DenialKind.SUBJECT_CLIENT, f"sub-freddie {client}", DenialRule.CUT_OFF)
        assert reason(guard(key, withdrawn).check(token)) is Reason.DENIED_GRANT
        assert isinstance(guard(key, withdrawn).check(key.sign(claims(**EXCHANGED, pos=501))), Allowed)


def test_a_token_ends_with_each_that_it_is_derived_from(key: SigningKey) -> None:
    token = key.sign(claims(**EXCHANGED))
    for jti in EXCHANGED["derived_from"]:
        assert reason(guard(key, denial(DenialKind.TOKEN, jti)).check(token)) is Reason.DENIED_TOKEN
    other = guard(key, denial(DenialKind.TOKEN, "jti-of-another"))
    assert isinstance(other.check(token), Allowed)
    checked = guard(key)
    assert isinstance(checked.check(token), Allowed)
    checked.view.apply(denial(DenialKind.TOKEN, EXCHANGED["derived_from"][-1]))
    assert reason(checked.check(token)) is Reason.DENIED_TOKEN


def test_a_plain_token_has_no_actors(key: SigningKey) -> None:
    verdict = guard(key).check(key.sign(claims()))
    assert isinstance(verdict, Allowed)
    assert verdict.actors == ()


def test_a_password_change_spares_the_session_it_was_made_in(key: SigningKey) -> None:
    spared = Denial(
        number=1,
        position=500,
        epoch=1,
        kind=DenialKind.SUBJECT_SESSIONS,
        id="sub-freddie",
        rule=DenialRule.CUT_OFF,
        except_id="sid-1",
    )
    checked = guard(key, spared)
    assert isinstance(checked.check(key.sign(claims())), Allowed)
    assert reason(checked.check(key.sign(claims(sid="sid-2")))) is Reason.DENIED_SESSION
    assert isinstance(checked.check(key.sign(claims(sid="sid-2", pos=501))), Allowed)
    assert isinstance(checked.check(key.sign(claims(sid=None))), Allowed)


def test_a_remembered_token_still_expires(key: SigningKey) -> None:
    now = [time.time()]
    checked = guard(key, now=lambda: now[0])
    token = key.sign(claims())
    assert isinstance(checked.check(token), Allowed)
    now[0] += 3604
    assert isinstance(checked.check(token), Allowed)
    now[0] += 2
    assert reason(checked.check(token)) is Reason.EXPIRED


def test_a_key_that_is_taken_back_takes_its_tokens_along(key: SigningKey) -> None:
    known: dict[str, PublicKey] = {key.kid: key.public}
    keys = StaticKeys([])
    keys.find = known.get
    checked = guard(key, keys=keys)
    token = key.sign(claims())
    assert isinstance(checked.check(token), Allowed)
    known[key.kid] = SigningKey().public
    assert reason(checked.check(token)) is Reason.BAD_SIGNATURE
    del known[key.kid]
    assert reason(checked.check(token)) is Reason.UNKNOWN_KEY


def test_memory_is_bounded(key: SigningKey) -> None:
    checked = guard(key, remember=3)
    for number in range(6):
        assert isinstance(checked.check(key.sign(claims(jti=f"jti-{number}"))), Allowed)
    assert len(checked._memory) == 3


def test_what_was_not_asked_about_for_longest_is_forgotten_first(key: SigningKey) -> None:
    checked = guard(key, remember=3)
    verified = [
        checked._know(key.sign(claims(jti=f"jti-{number}")).encode(), b"%d" % number, None) for number in range(3)
    ]
    checked._memory.keep(b"0")
    checked.check(key.sign(claims(jti="jti-3")))
    assert [checked._memory.find(b"%d" % number) for number in range(3)] == [verified[0], None, verified[2]]


class TestStale:
    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def token(self, key: SigningKey) -> str:
        return key.sign(claims())

    def test_before_the_first_snapshot_nothing_is_allowed(self, key: SigningKey, token: str) -> None:
        assert reason(guard(key, loaded=False).check(token)) is Reason.TOO_STALE

    def test_past_the_bound_nothing_is_allowed_locally(self, key: SigningKey, token: str, clock: Clock) -> None:
        checked = guard(key, boot=clock)
        clock.offset = 29
        assert isinstance(checked.check(token), Allowed)
        clock.offset = 31
        assert reason(checked.check(token)) is Reason.TOO_STALE

    def test_a_voucher_that_was_not_asked_for_proves_nothing(self, key: SigningKey, token: str, clock: Clock) -> None:
        checked = guard(key, boot=clock)
        clock.offset = 31
        assert checked.view.vouch(1001, 0, 1)
        assert checked.view.position == 1001
        assert reason(checked.check(token)) is Reason.TOO_STALE

    async def test_it_asks_online_and_remembers_nothing(self, key: SigningKey, token: str, clock: Clock) -> None:
        online = HeldOnline(Answer(allowed=True, reason="", position=2000))
        checked = guard(key, boot=clock, online=online)
        clock.offset = 31
        verdict = await checked.validate(token)
        assert isinstance(verdict, Allowed)
        assert verdict.position == 2000
        online.answer = Answer(allowed=False, reason="denied_client", position=2001)
        assert reason(await checked.validate(token)) is Reason.DENIED_CLIENT
        assert len(online.asked) == 2

    async def test_an_answer_that_is_not_understood_is_a_refusal(
        self, key: SigningKey, token: str, clock: Clock
    ) -> None:
        checked = guard(key, boot=clock, online=HeldOnline(Answer(allowed=False, reason="of_next_year", position=1)))
        clock.offset = 31
        assert reason(await checked.validate(token)) is Reason.DENIED_TOKEN

    async def test_it_refuses_where_nobody_answers(self, key: SigningKey, token: str, clock: Clock) -> None:
        checked = guard(key, boot=clock, online=HeldOnline(None))
        clock.offset = 31
        assert reason(await checked.validate(token)) is Reason.TOO_STALE

    async def test_it_refuses_where_it_is_told_to(self, key: SigningKey, token: str, clock: Clock) -> None:
        online = HeldOnline(Answer(allowed=True, reason="", position=2000))
        checked = guard(key, boot=clock, online=online, on_stale="refuse")
        clock.offset = 31
        assert reason(await checked.validate(token)) is Reason.TOO_STALE
        assert online.asked == []

    def test_accepting_is_no_choice(self, key: SigningKey) -> None:
        with pytest.raises(ValueError, match="never"):
            guard(key, on_stale="accept")

    def test_only_the_dangerous_setting_accepts(self, key: SigningKey, token: str, clock: Clock) -> None:
        checked = guard(key, boot=clock, dangerously_accept_stale=True)
        clock.offset = 3600
        assert isinstance(checked.check(token), Allowed)
        checked.view.apply(denial(DenialKind.TOKEN, "jti-1"))
        assert reason(checked.check(token)) is Reason.DENIED_TOKEN

    def test_what_is_known_to_be_denied_is_denied_however_old_that_is(
        self, key: SigningKey, token: str, clock: Clock
    ) -> None:
        checked = guard(key, denial(DenialKind.TOKEN, "jti-1"), boot=clock)
        clock.offset = 3600
        assert reason(checked.check(token)) is Reason.DENIED_TOKEN


class TestAheadOfTheView:
    @pytest.fixture
    def token(self, key: SigningKey) -> str:
        return key.sign(claims(pos=1005))

    async def test_a_ping_brings_the_view_there(self, key: SigningKey, token: str) -> None:
        feed = HeldFeed()
        checked = guard(key, feed=feed)
        assert reason(checked.check(token)) is Reason.AHEAD_OF_VIEW
        feed.head = (1005, 0, 1)
        assert isinstance(await checked.validate(token), Allowed)
        assert feed.pings == 1

    async def test_a_denial_that_the_ping_tells_of_is_waited_for(self, key: SigningKey, token: str) -> None:
        feed = HeldFeed()
        checked = guard(key, feed=feed)
        feed.head = (1005, 1, 1)  # one denial more than the view has
        assert reason(await checked.validate(token)) is Reason.AHEAD_OF_VIEW

    async def test_without_an_answer_it_asks_online(self, key: SigningKey, token: str) -> None:
        online = HeldOnline(Answer(allowed=True, reason="", position=1005))
        checked = guard(key, online=online, wait=0.01)
        verdict = await checked.validate(token)
        assert isinstance(verdict, Allowed)
        assert len(online.asked) == 1

    async def test_a_minimum_position_is_waited_for(self, key: SigningKey) -> None:
        feed = HeldFeed()
        checked = guard(key, feed=feed)
        feed.head = (1010, 0, 1)
        verdict = await checked.validate(key.sign(claims()), min_position=1010)
        assert isinstance(verdict, Allowed)
        assert verdict.position >= 1010


class TestEpochs:
    def begin(self, checked: Guard, *epochs: tuple[int, int]) -> None:
        snapshot = Snapshot(position=2000, number=0, epoch=2, denials=(), epochs=epochs)
        checked.view.replace(snapshot, since_boot())

    def test_of_an_epoch_that_is_not_known_to_have_lived(self, key: SigningKey) -> None:
        checked = guard(key)
        self.begin(checked)
        assert reason(checked.check(key.sign(claims()))) is Reason.LOST_BRANCH
        assert isinstance(checked.check(key.sign(claims(epoch=2, pos=1500))), Allowed)

    def test_issued_before_the_next_epoch_began(self, key: SigningKey) -> None:
        checked = guard(key)
        self.begin(checked, (1, 1), (2, 1001))
        assert isinstance(checked.check(key.sign(claims(pos=1000))), Allowed)
        assert reason(checked.check(key.sign(claims(pos=1001)))) is Reason.LOST_BRANCH

    def test_of_a_lost_branch_that_had_come_further_than_the_living_one(self, key: SigningKey) -> None:
        checked = guard(key)
        self.begin(checked, (1, 1), (2, 1001))
        token = key.sign(claims(pos=2001))
        assert reason(checked.check(token)) is Reason.LOST_BRANCH
        assert reason(checked.check(token, min_position=3000)) is Reason.LOST_BRANCH

    def test_of_an_epoch_that_nobody_has_told_of_yet(self, key: SigningKey) -> None:
        assert reason(guard(key).check(key.sign(claims(epoch=2)))) is Reason.AHEAD_OF_VIEW

    def test_a_new_epoch_has_to_be_vouched_for_anew(self, key: SigningKey) -> None:
        checked = guard(key)
        checked.view.replace(Snapshot(position=2000, number=0, epoch=2, denials=()))
        assert reason(checked.check(key.sign(claims(epoch=2)))) is Reason.TOO_STALE


async def test_it_runs_its_feed(key: SigningKey) -> None:
    feed = HeldFeed()
    checked = guard(key, feed=feed, loaded=False)
    feed.view = None
    async with checked:
        assert checked.audience == AUDIENCE
        assert not checked.ready()
        checked.view.replace(Snapshot(position=1, number=0, epoch=1, denials=()), since_boot())
        assert checked.ready()
