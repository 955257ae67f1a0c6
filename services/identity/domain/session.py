"""One session: begun by signing in, proved again or by more, ended by hand.

Running out of time is no fact of its own.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from services.identity.events import (
    SessionEnded,
    SessionEndReason,
    SessionReauthenticated,
    SessionStarted,
    SessionSteppedUp,
    UserKind,
)
from shared.decider import Decider
from shared.errors import Kind, Refusal
from shared.log.event import Event, Personal

FRESH = timedelta(minutes=10)
"""How long after a person has proved who they are the session may give what outlives it."""
FILLING_IN = timedelta(minutes=5)
"""How much of that has to be left when a form is shown for it."""


PASSWORD_METHODS = ("pwd",)
"""Authentication methods of a sign-in by password (RFC 8176)."""
TOTP_METHODS = ("pwd", "otp", "mfa")
"""Of one by password and a code."""
RECOVERY_METHODS = ("pwd", "mfa")
"""Of one by password and a recovery code, for which RFC 8176 has no name of its own."""


def passkey_methods(*, backup_eligible: bool) -> tuple[str, ...]:
    """Of one by a passkey: something that is had, and what unlocked it, with the person there (RFC 8176).

    `hwk` where the authenticator says that the key never leaves it, `swk` where it may be copied. Nobody vouches for
    what it says, since no attestation is asked for.
    """
    return ("swk" if backup_eligible else "hwk", "user", "mfa")


class SessionOver(Refusal):
    """There is no such session any more."""

    def __init__(self) -> None:
        super().__init__(Kind.PRECONDITION, "session_over", "the session is over")


@dataclass(frozen=True, slots=True)
class Session:
    """What the rules need to know of a session."""

    sid: str = ""
    """Empty: there is no such session."""
    sub: str = ""
    ended: bool = False


@dataclass(frozen=True, slots=True)
class StartSession:
    """Somebody proved to be this user."""

    sid: str
    sub: str
    kind: UserKind
    enabled: bool
    secret_digest: str
    auth_time: datetime
    amr: tuple[str, ...]
    expires_at: datetime
    address: str | None
    user_agent: str | None
    with_recovery_code: bool = False


@dataclass(frozen=True, slots=True)
class Reauthenticate:
    """The same user proved it again within the session."""

    sub: str
    enabled: bool
    secret_digest: str
    auth_time: datetime
    amr: tuple[str, ...]
    with_recovery_code: bool = False


@dataclass(frozen=True, slots=True)
class StepUp:
    """The user of the session proved the second factor; the first they had proved when they signed in."""

    sub: str
    enabled: bool
    secret_digest: str
    amr: tuple[str, ...]
    with_recovery_code: bool


@dataclass(frozen=True, slots=True)
class EndSession:
    """The session is to be over, and what it gave."""

    reason: SessionEndReason
    tokens_end_at: datetime


Command = StartSession | Reauthenticate | StepUp | EndSession


def may_sign_in(kind: UserKind, *, enabled: bool) -> bool:
    """Whether this user can have a session at all."""
    return enabled and kind is not UserKind.SERVICE


def proved_by_two(amr: Collection[str]) -> bool:
    """Whether more than one factor was proved (RFC 8176, `mfa`)."""
    return "mfa" in amr


def proved_recently(auth_time: datetime, now: datetime, left: timedelta = timedelta()) -> bool:
    """Whether the person proved who they are so recently that it is them who sits there, and will be for `left`."""
    return now - auth_time <= FRESH - left


def may_change_factors(auth_time: datetime, amr: Collection[str], now: datetime, *, has_second_factor: bool) -> bool:
    """Whether the person has proved all that they have to prove, just now: then they add and remove what proves it."""
    return proved_recently(auth_time, now) and (proved_by_two(amr) or not has_second_factor)


def decide(command: Command, state: Session) -> Sequence[Event]:
    """The facts that follow; a `Refusal` where the command may not be carried out."""
    match command:
        case StartSession():
            return _start(command, state)
        case Reauthenticate():
            return _again(command, state)
        case StepUp():
            return _step_up(command, state)
        case EndSession(reason, tokens_end_at):
            if not state.sid:
                raise Refusal(Kind.NOT_FOUND, "unknown_session", "there is no such session")
            if state.ended:
                return ()
            return (SessionEnded(sub=state.sub, sid=state.sid, reason=reason, tokens_end_at=tokens_end_at),)


def _start(command: StartSession, state: Session) -> Sequence[Event]:
    if state.sid:
        raise Refusal(Kind.ALREADY_EXISTS, "session_exists", "the session exists already")
    if not may_sign_in(command.kind, enabled=command.enabled):
        raise Refusal(Kind.UNAUTHENTICATED, "not_signed_in", "the user cannot sign in")
    return (
        SessionStarted(
            sub=command.sub,
            sid=command.sid,
            secret_digest=command.secret_digest,
            auth_time=command.auth_time,
            amr=command.amr,
            expires_at=command.expires_at,
            address=None if command.address is None else Personal(command.address),
            user_agent=None if command.user_agent is None else Personal(command.user_agent),
            with_recovery_code=command.with_recovery_code,
        ),
    )


def _check_goes_on(command: Reauthenticate | StepUp, state: Session) -> None:
    if not state.sid or state.ended or state.sub != command.sub:
        raise SessionOver
    if not command.enabled:
        raise Refusal(Kind.UNAUTHENTICATED, "not_signed_in", "the user cannot sign in")


def _again(command: Reauthenticate, state: Session) -> Sequence[Event]:
    _check_goes_on(command, state)
    return (
        SessionReauthenticated(
            sub=state.sub,
            sid=state.sid,
            secret_digest=command.secret_digest,
            auth_time=command.auth_time,
            amr=command.amr,
            with_recovery_code=command.with_recovery_code,
        ),
    )


def _step_up(command: StepUp, state: Session) -> Sequence[Event]:
    _check_goes_on(command, state)
    return (
        SessionSteppedUp(
            sub=state.sub,
            sid=state.sid,
            secret_digest=command.secret_digest,
            amr=command.amr,
            with_recovery_code=command.with_recovery_code,
        ),
    )


def evolve(state: Session, event: Event) -> Session:
    """The session after this fact."""
    match event:
        case SessionStarted():
            return Session(event.sid, event.sub)
        case SessionEnded():
            return replace(state, ended=True)
        case _:
            return state


SESSION: Decider[Command, Session] = Decider("session", Session(), decide, evolve)
