"""Texts that look like reference tokens, or nearly: whoever makes them up costs the issuer as little as can be."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagedoor import guard as guarding
from stagedoor.verdict import Allowed, Denied, Reason, Verdict
from tests.support.reference_tokens import Desk, make
from tests.support.sdk_tokens import SigningKey, claims, guard

_KEY = SigningKey()
_GOOD = make(number=2**255 // 7)  # the same in every run, as it is in the names of tests


def reason(verdict: Verdict) -> Reason | None:
    return verdict.reason if isinstance(verdict, Denied) else None


@pytest.mark.parametrize(
    "token",
    [
        "stagedoor_",
        "stagedoor_pat_",
        _GOOD[:-1],
        _GOOD + "0",
        _GOOD.upper(),
        _GOOD.replace("_pat_", "_sat_"),
        _GOOD.replace("_pat_", "_xyz_"),
        _GOOD.replace("stagedoor_", "Stagedoor_"),
        " " + _GOOD,
        _GOOD + "\n",
        _GOOD[:20] + "-" + _GOOD[21:],
        _GOOD[:20] + "_" + _GOOD[21:],
        _GOOD[:20] + "é" + _GOOD[21:],
        "stagedoor_pat_" + "0" * 49,
        "stagedoor_pat_" + "0" * 8000,
    ],
)
async def test_what_has_not_the_form_is_not_asked_about(token: str) -> None:
    desk = Desk()
    assert reason(await guard(_KEY, online=desk).validate(token)) is Reason.MALFORMED
    assert desk.asked == []


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_single_changed_character_is_noticed_without_asking(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(_GOOD) - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda character: character != _GOOD[at]))
    assert reason(guard(_KEY).check(_GOOD[:at] + other + _GOOD[at + 1 :])) is Reason.MALFORMED


async def test_a_flood_of_well_formed_ones_is_bounded_and_those_that_are_known_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guarding, "_MOST_LOOKUPS", 20)
    desk = Desk()
    checked, real = guard(_KEY, online=desk), desk.issue()
    assert isinstance(await checked.validate(real), Allowed)
    answer, held = desk.validate, asyncio.Event()

    async def slowly(token: str, **options: object) -> object:
        await held.wait()
        return await answer(token, **options)  # type: ignore[arg-type]

    desk.validate = slowly  # type: ignore[assignment,method-assign]
    flood = [asyncio.create_task(checked.validate(make())) for _ in range(200)]
    await asyncio.sleep(0.01)
    assert len(checked._looking_up) == 20
    assert isinstance(await checked.validate(real), Allowed)
    held.set()
    found = [reason(verdict) for verdict in await asyncio.gather(*flood)]
    assert found.count(Reason.UNKNOWN_TOKEN) == 20
    assert found.count(Reason.NOT_LOOKED_UP) == 180
    assert len(desk.asked) == 21


def test_a_signed_token_does_not_pass_for_a_reference_token() -> None:
    assert reason(guard(_KEY).check(_KEY.sign(claims(reference="pat")))) is Reason.MALFORMED
