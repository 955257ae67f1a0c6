"""An access token that is given in exchange for another (RFC 8693): whoever received one goes on with it, as itself.

The new token says for whom as before, and who acts by now. It never allows more than the one that was shown, is for no
other audience, and does not outlive it. It has a stream of its own, as a token without a grant has.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.token_issuer.events import AccessTokenExchanged
from shared.decider import Decider
from shared.errors import Kind, Refusal
from shared.log.event import Event

MOST_ACTORS = 4
"""The longest chain of applications that act for one another."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The token that is shown, as the log knows it."""

    jti: str
    sub: str
    sid: str | None
    gid: str | None
    scopes: tuple[str, ...]
    audiences: tuple[str, ...]
    actors: tuple[str, ...]
    """The application that it was issued to, then those which that one acts for."""
    derived_from: tuple[str, ...]
    """What it was itself exchanged for, the last one first."""
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Exchange:
    """An application that has proved to be itself shows a token that it may have received."""

    jti: str
    client_id: str
    subject: Subject
    scopes: tuple[str, ...]
    audiences: tuple[str, ...]
    access_token_seconds: int
    now: datetime


State = AccessTokenExchanged | None


def decide(command: Exchange, state: State) -> Sequence[Event]:
    """Give it, or say why not (RFC 8693 section 2.2.2)."""
    if state is not None:
        raise Refusal(Kind.ALREADY_EXISTS, "token_exists", "a token with this id was issued before")
    subject = command.subject
    if command.now >= subject.ends_at:
        raise unusable()
    actors = (command.client_id, *subject.actors)
    if len(actors) > MOST_ACTORS:
        raise Refusal(
            Kind.INVALID, "invalid_request", f"more than {MOST_ACTORS} applications would act for one another"
        )
    if not command.scopes or not set(command.scopes) <= set(subject.scopes):
        raise Refusal(Kind.INVALID, "invalid_scope", "the subject_token does not have a scope that was asked for")
    if not command.audiences or not set(command.audiences) <= set(subject.audiences):
        raise Refusal(Kind.INVALID, "invalid_target", "the subject_token is not for what was asked for")
    return (
        AccessTokenExchanged(
            jti=command.jti,
            client_id=command.client_id,
            sub=subject.sub,
            sid=subject.sid,
            gid=subject.gid,
            scopes=command.scopes,
            audiences=command.audiences,
            actors=actors,
            derived_from=(subject.jti, *subject.derived_from),
            access_token_seconds=command.access_token_seconds,
            ends_by=subject.ends_at,
        ),
    )


def ends_at(event: AccessTokenExchanged, issued_at: datetime) -> datetime:
    """The `exp` of a token: the earlier of its own life's end and that of what it was exchanged for.

    Which one that is stands only when the log has recorded when it was issued.
    """
    return min(issued_at + timedelta(seconds=event.access_token_seconds), event.ends_by)


def unusable() -> Refusal:
    """The one answer for every token that cannot be exchanged, so that nobody learns what is wrong with one."""
    return Refusal(Kind.INVALID, "invalid_request", "the subject_token is not one that this application can exchange")


def evolve(state: State, event: Event) -> State:
    """The state after a fact."""
    return event if isinstance(event, AccessTokenExchanged) else state


decider: Decider[Exchange, State] = Decider("token", None, decide, evolve)
