"""One reference token: issued once, perhaps taken back. That it runs out of time is no fact of its own.

    (none) ── Issue ──▶ valid until `expires_at` ── Revoke ──▶ revoked

What an owner calls a token is for their eyes: it is held against the rule here, and kept out of the event.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never

from services.token_issuer.events import (
    ReferenceEndReason,
    ReferenceKind,
    ReferenceTokenIssued,
    ReferenceTokenRevoked,
)
from shared.decider import Decider
from shared.errors import Kind, Refusal
from shared.log.event import Event

LONGEST = timedelta(days=366)
"""No reference token lives longer; each has an end."""
LONGEST_LABEL = 60
"""Characters of a label."""
MOST_ALIVE = 100
"""Reference tokens that one user, or one application that acts for itself, can have at a time."""

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories of what cannot be seen, or reorders what can."""


# Commands


@dataclass(frozen=True, slots=True)
class Issue:
    """Somebody who may do so has a token made."""

    jti: str
    digest: str
    kind: ReferenceKind
    client_id: str
    sub: str
    scopes: tuple[str, ...]
    audiences: tuple[str, ...]
    label: str
    expires_at: datetime
    alive: int
    """How many others the same `sub` has."""
    now: datetime


@dataclass(frozen=True, slots=True)
class Revoke:
    """Somebody takes a token back."""

    reason: ReferenceEndReason
    by: str
    """Their `sub`, or the application's `client_id`; looked at where the reason says whose it has to be."""
    now: datetime


Command = Issue | Revoke


@dataclass(frozen=True, slots=True)
class Reference:
    """What is known of a reference token."""

    jti: str
    kind: ReferenceKind
    client_id: str
    sub: str
    expires_at: datetime
    revoked: bool = False


State = Reference | None
"""None: never issued."""


# Rules


def decide(command: Command, state: State) -> Sequence[Event]:
    """What happens when `command` meets `state`, or the refusal."""
    match command:
        case Issue():
            return (_issued(command, state),)
        case Revoke():
            return _revoked(command, state)
        case _:
            assert_never(command)


def _issued(command: Issue, state: State) -> ReferenceTokenIssued:
    if state is not None:
        raise Refusal(
            Kind.ALREADY_EXISTS,
            "reference_exists",
            "this token was made before, and it is shown only once: make another",
        )
    check_label(command.label)
    if command.expires_at <= command.now:
        raise _invalid("invalid_expiry", "the token would have expired already")
    if command.expires_at > command.now + LONGEST:
        raise _invalid("invalid_expiry", f"a reference token lives for {LONGEST.days} days at most")
    if command.alive >= MOST_ALIVE:
        raise Refusal(
            Kind.PRECONDITION, "too_many_references", f"{MOST_ALIVE} tokens are valid at once at most; revoke one first"
        )
    return ReferenceTokenIssued(
        jti=command.jti,
        digest=command.digest,
        kind=command.kind,
        client_id=command.client_id,
        sub=command.sub,
        scopes=command.scopes,
        audiences=command.audiences,
        expires_at=command.expires_at,
    )


def check_label(label: str) -> None:
    """Refuse what would not be recognised in a list, or is not what it looks like."""
    if not 1 <= len(label) <= LONGEST_LABEL:
        raise _invalid("invalid_label", f"a name for the token has 1 to {LONGEST_LABEL} characters")
    if label != label.strip():
        raise _invalid("invalid_label", "the name of the token begins or ends with a space")
    if any(unicodedata.category(character) in _INVISIBLE for character in label):
        raise _invalid("invalid_label", "the name of the token has characters that cannot be seen")


def _revoked(command: Revoke, state: State) -> Sequence[Event]:
    """Once. One that has expired is refused everywhere already."""
    if state is None:
        raise not_found()
    if command.reason is ReferenceEndReason.BY_OWNER and not (
        state.kind is ReferenceKind.PERSONAL and state.sub == command.by
    ):
        raise not_found()  # of other people's tokens nobody learns that they exist
    if command.reason is ReferenceEndReason.BY_APPLICATION and state.client_id != command.by:
        raise _invalid("unauthorized_client", "the token was issued to another client")
    if state.revoked or command.now >= state.expires_at:
        return ()
    return (
        ReferenceTokenRevoked(
            jti=state.jti,
            client_id=state.client_id,
            sub=state.sub,
            reason=command.reason,
            expires_at=state.expires_at,
        ),
    )


def not_found() -> Refusal:
    """There is no such token, or none that is theirs."""
    return Refusal(Kind.NOT_FOUND, "reference_not_found", "there is no such reference token")


def _invalid(code: str, message: str) -> Refusal:
    return Refusal(Kind.INVALID, code, message)


# History


def evolve(state: State, event: Event) -> State:
    """The state after a fact."""
    match event:
        case ReferenceTokenIssued():
            return Reference(event.jti, event.kind, event.client_id, event.sub, event.expires_at)
        case ReferenceTokenRevoked() if state is not None:
            return replace(state, revoked=True)
        case _:
            return state


decider: Decider[Command, State] = Decider("reference", None, decide, evolve)
