"""Positions that are made to outrun a denial."""

from stagedoor.clock import since_boot
from stagedoor.denials import Denial, DenialKind, DenialRule, Snapshot
from stagedoor.verdict import Allowed, Reason
from tests.support.attacking import reason
from tests.support.sdk_tokens import SigningKey, claims, guard


def test_a_forged_position_does_not_outrun_a_stolen_key(key: SigningKey) -> None:
    stolen = Denial(number=1, position=500, epoch=1, kind=DenialKind.KEY, id=key.kid, rule=DenialRule.STANDING)
    for pos in (1, 499, 501, 1000, 10**15):
        assert reason(guard(key, stolen).check(key.sign(claims(pos=pos)))) is Reason.DENIED_KEY


def test_a_position_past_what_is_known_is_not_taken_for_new(key: SigningKey) -> None:
    cut_off = Denial(
        number=1, position=500, epoch=1, kind=DenialKind.CLIENT, id="com.backstagehub/app", rule=DenialRule.CUT_OFF
    )
    checked = guard(key, cut_off)
    assert reason(checked.check(key.sign(claims(pos=10**15)))) is Reason.AHEAD_OF_VIEW
    assert reason(checked.check(key.sign(claims(pos=2**80)))) is Reason.MALFORMED


def test_a_token_of_a_lost_branch(key: SigningKey) -> None:
    checked = guard(key)
    token = key.sign(claims(pos=900))
    assert isinstance(checked.check(token), Allowed)
    restored = Snapshot(position=900, number=0, epoch=2, denials=(), epochs=((1, 1), (2, 850)))
    checked.view.replace(restored, since_boot())
    assert reason(checked.check(token)) is Reason.LOST_BRANCH
