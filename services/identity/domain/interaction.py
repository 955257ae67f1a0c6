"""Which page, if any, stands between an authorization request and its code (OpenID Connect Core section 3.1.2).

Asked anew at every step, from what is true at that step: so no step can be skipped by going straight to the next.
What a request demands of the sign-in is met by the session itself, whose sign-in has a position in the log; no
claim of the browser is believed.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Demands:
    """What the request asks of the pages."""

    position: int
    """Where the log stood when the request came: a sign-in past it was made for this request."""
    scopes: tuple[str, ...]
    prompt: frozenset[str]
    max_age: timedelta | None
    expected_sub: str
    """Empty: any user."""
    skip_consent: bool
    chosen_session: str
    """`sid` of the session that the person chose for this request; empty: none yet."""
    second_factor_wished: bool = False
    """Whoever has a second factor proves it, too; others may go on without."""
    second_factor_demanded: bool = False
    """Nobody goes on without."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The session that the browser has, and what its user allowed the application before."""

    sub: str
    sid: str
    auth_time: datetime
    auth_position: int
    """Of the fact that the user signed in, or last proved it again."""
    consented: Collection[str]
    has_second_factor: bool = False
    """The user has set one up."""
    proved_by_two: bool = False
    """And has proved it in this session."""


class Step(StrEnum):
    """What comes next."""

    SIGN_IN = "sign_in"
    CHOOSE_ACCOUNT = "choose_account"
    SECOND_FACTOR = "second_factor"
    CONSENT = "consent"
    ISSUE = "issue"
    LOGIN_REQUIRED = "login_required"
    """Refuse with this error: a page would be needed, and `prompt=none` forbids it."""
    CONSENT_REQUIRED = "consent_required"
    UNMET = "unmet_authentication_requirements"
    """Refuse with this error: no sign-in of this person can be worth what is demanded."""


def next_step(demands: Demands, signed_in: SignedIn | None, now: datetime) -> Step:
    """What comes next for this request in this browser."""
    silent = "none" in demands.prompt
    if signed_in is None or not acceptable(demands, signed_in, now):
        return Step.LOGIN_REQUIRED if silent else Step.SIGN_IN
    if must_choose(demands, signed_in):
        return Step.LOGIN_REQUIRED if silent else Step.CHOOSE_ACCOUNT
    if must_step_up(demands, signed_in):
        if not signed_in.has_second_factor:
            return Step.UNMET
        return Step.LOGIN_REQUIRED if silent else Step.SECOND_FACTOR
    if must_consent(demands, signed_in):
        return Step.CONSENT_REQUIRED if silent else Step.CONSENT
    return Step.ISSUE


def acceptable(demands: Demands, signed_in: SignedIn, now: datetime) -> bool:
    """Whether this session is one that the request accepts: the right person, who signed in recently enough."""
    if demands.expected_sub and signed_in.sub != demands.expected_sub:
        return False
    if signed_in.auth_position > demands.position:
        return True
    if "login" in demands.prompt:
        return False
    if demands.max_age is None:
        return True
    # An age of nothing is as good as `prompt=login`, whatever the clock says.
    return bool(demands.max_age) and now - signed_in.auth_time <= demands.max_age


def must_choose(demands: Demands, signed_in: SignedIn) -> bool:
    """Whether the person has still to say that it is this account; signing in for this request says so."""
    return (
        "select_account" in demands.prompt
        and signed_in.auth_position <= demands.position
        and demands.chosen_session != signed_in.sid
    )


def must_step_up(demands: Demands, signed_in: SignedIn) -> bool:
    """Whether this session is worth less than the request wants, and would have to be (RFC 9470 section 4)."""
    if signed_in.proved_by_two:
        return False
    return demands.second_factor_demanded or (demands.second_factor_wished and signed_in.has_second_factor)


def must_consent(demands: Demands, signed_in: SignedIn) -> bool:
    """Whether the person has to be asked; with `prompt=consent` always, and the answer then issues the code."""
    if "consent" in demands.prompt:
        return True
    return not demands.skip_consent and not set(demands.scopes) <= set(signed_in.consented)
