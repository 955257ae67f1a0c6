from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.identity.domain.interaction import Demands, SignedIn, Step, next_step

NOW = datetime(1986, 7, 12, 20, 0, tzinfo=UTC)
SCOPES = ("openid", "read")
ASKED = Demands(
    position=100,
    scopes=SCOPES,
    prompt=frozenset(),
    max_age=None,
    expected_sub="",
    skip_consent=False,
    chosen_session="",
)
BEFORE = SignedIn("freddie", "sid", NOW - timedelta(hours=1), auth_position=50, consented=SCOPES)
"""Signed in an hour ago, and has allowed everything."""
JUST_NOW = replace(BEFORE, auth_time=NOW, auth_position=101)


def asked(*prompt: str, **changes: object) -> Demands:
    return replace(ASKED, prompt=frozenset(prompt), **changes)  # type: ignore[arg-type]


def step(demands: Demands, signed_in: SignedIn | None) -> Step:
    return next_step(demands, signed_in, NOW)


HAS_TWO = replace(BEFORE, has_second_factor=True)
BY_TWO = replace(HAS_TWO, proved_by_two=True)


@pytest.mark.parametrize(
    ("changes", "signed_in", "wanted"),
    [
        ({}, HAS_TWO, Step.ISSUE),
        ({"second_factor_wished": True}, BEFORE, Step.ISSUE),
        ({"second_factor_wished": True}, HAS_TWO, Step.SECOND_FACTOR),
        ({"second_factor_wished": True}, BY_TWO, Step.ISSUE),
        ({"second_factor_demanded": True}, BEFORE, Step.UNMET),
        ({"second_factor_demanded": True}, HAS_TWO, Step.SECOND_FACTOR),
        ({"second_factor_demanded": True}, BY_TWO, Step.ISSUE),
        ({"second_factor_demanded": True}, replace(BEFORE, proved_by_two=True), Step.ISSUE),
    ],
)
def test_a_second_factor(changes: dict[str, object], signed_in: SignedIn, wanted: Step) -> None:
    assert step(asked(**changes), signed_in) is wanted
    silent = Step.LOGIN_REQUIRED if wanted is Step.SECOND_FACTOR else wanted
    assert step(asked("none", **changes), signed_in) is silent
    # A new sign-in, and the choice of an account, come before it; consent comes after it.
    assert step(asked("login", **changes), signed_in) is Step.SIGN_IN
    assert step(asked("select_account", **changes), signed_in) is Step.CHOOSE_ACCOUNT
    consent = wanted if wanted is not Step.ISSUE else Step.CONSENT
    assert step(asked("consent", **changes), signed_in) is consent


def test_who_is_signed_in_and_has_agreed_sees_no_page() -> None:
    assert step(asked(), BEFORE) is Step.ISSUE
    assert step(asked("none"), BEFORE) is Step.ISSUE


def test_nobody_signs_in() -> None:
    assert step(asked(), None) is Step.SIGN_IN
    assert step(asked("none"), None) is Step.LOGIN_REQUIRED


def test_prompt_login_wants_a_sign_in_made_for_this_request() -> None:
    assert step(asked("login"), BEFORE) is Step.SIGN_IN
    assert step(asked("login"), replace(BEFORE, auth_position=100)) is Step.SIGN_IN
    assert step(asked("login"), JUST_NOW) is Step.ISSUE


def test_a_clock_that_is_wrong_gets_nobody_past_prompt_login() -> None:
    from_the_future = replace(BEFORE, auth_time=NOW + timedelta(hours=1))
    assert step(asked("login"), from_the_future) is Step.SIGN_IN


@pytest.mark.parametrize(("seconds", "wanted"), [(3600, Step.ISSUE), (3599, Step.SIGN_IN), (0, Step.SIGN_IN)])
def test_max_age(seconds: int, wanted: Step) -> None:
    demands = asked(max_age=timedelta(seconds=seconds))
    assert step(demands, BEFORE) is wanted
    assert step(demands, JUST_NOW) is Step.ISSUE


def test_max_age_does_not_ask_for_ever() -> None:
    slow = replace(JUST_NOW, auth_time=NOW - timedelta(minutes=3))
    assert step(asked(max_age=timedelta(0)), slow) is Step.ISSUE


def test_max_age_without_a_page() -> None:
    assert step(asked("none", max_age=timedelta(0)), BEFORE) is Step.LOGIN_REQUIRED


def test_the_wrong_person_has_to_sign_in() -> None:
    for signed_in in (BEFORE, JUST_NOW):
        assert step(asked(expected_sub="brian"), signed_in) is Step.SIGN_IN
        assert step(asked("none", expected_sub="brian"), signed_in) is Step.LOGIN_REQUIRED
    assert step(asked(expected_sub="freddie"), BEFORE) is Step.ISSUE


def test_choosing_an_account() -> None:
    assert step(asked("select_account"), BEFORE) is Step.CHOOSE_ACCOUNT
    assert step(asked("select_account", chosen_session="another"), BEFORE) is Step.CHOOSE_ACCOUNT
    assert step(asked("select_account", chosen_session="sid"), BEFORE) is Step.ISSUE
    assert step(asked("select_account"), JUST_NOW) is Step.ISSUE


def test_consent() -> None:
    little = replace(BEFORE, consented={"openid"})
    assert step(asked(), little) is Step.CONSENT
    assert step(asked("none"), little) is Step.CONSENT_REQUIRED
    assert step(asked(skip_consent=True), little) is Step.ISSUE
    assert step(asked("consent"), BEFORE) is Step.CONSENT
    assert step(asked("consent", skip_consent=True), BEFORE) is Step.CONSENT


prompts = st.frozensets(st.sampled_from(["login", "consent", "select_account", "none"]))
demanded = st.builds(
    Demands,
    position=st.integers(0, 200),
    scopes=st.just(SCOPES),
    prompt=prompts,
    max_age=st.none() | st.integers(0, 7200).map(lambda seconds: timedelta(seconds=seconds)),
    expected_sub=st.sampled_from(["", "freddie", "brian"]),
    skip_consent=st.booleans(),
    chosen_session=st.sampled_from(["", "sid", "other"]),
)
sessions = st.none() | st.builds(
    SignedIn,
    sub=st.sampled_from(["freddie", "brian"]),
    sid=st.just("sid"),
    auth_time=st.integers(0, 7200).map(lambda seconds: NOW - timedelta(seconds=seconds)),
    auth_position=st.integers(0, 200),
    consented=st.sampled_from([(), ("openid",), SCOPES]),
)


@given(demanded, sessions)
def test_prompt_none_never_shows_a_page(demands: Demands, signed_in: SignedIn | None) -> None:
    silent = replace(demands, prompt=demands.prompt | {"none"})
    assert step(silent, signed_in) not in (Step.SIGN_IN, Step.CONSENT, Step.CHOOSE_ACCOUNT)


@given(demanded, sessions)
def test_nothing_is_issued_that_was_not_earned(demands: Demands, signed_in: SignedIn | None) -> None:
    if step(demands, signed_in) is not Step.ISSUE:
        return
    assert signed_in is not None
    assert demands.expected_sub in ("", signed_in.sub)
    assert "consent" not in demands.prompt
    assert demands.skip_consent or set(SCOPES) <= set(signed_in.consented)
    if signed_in.auth_position <= demands.position:
        assert "login" not in demands.prompt
        assert demands.max_age is None or NOW - signed_in.auth_time <= demands.max_age
