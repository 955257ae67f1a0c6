"""What one user has allowed one application: remembered until it is withdrawn."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.identity.events import ConsentGiven, ConsentWithdrawn
from shared.decider import Decider
from shared.errors import Kind, Refusal
from shared.log.event import Event

_CLIENT_ID = re.compile(r"[\x21-\x7e]{1,255}")
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,128}")  # RFC 6749 section 3.3


@dataclass(frozen=True, slots=True)
class Consent:
    """The scopes that stand."""

    scopes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class GiveConsent:
    """Allow these scopes, beside those allowed before."""

    sub: str
    client_id: str
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WithdrawConsent:
    """Stop the application: forget what was allowed, and end the user's grants to it.

    Also where nothing is remembered, because an application that goes without asking may still have grants.
    """

    sub: str
    client_id: str


Command = GiveConsent | WithdrawConsent


def consent_id(sub: str, client_id: str) -> str:
    """The aggregate's id; a `sub` has no dot, so the first one parts the two."""
    return f"{sub}.{client_id}"


def decide(command: Command, state: Consent) -> Sequence[Event]:
    """The facts that follow; a `Refusal` where the command may not be carried out."""
    if _CLIENT_ID.fullmatch(command.client_id) is None:
        raise Refusal(Kind.INVALID, "invalid_client_id", "this is not an application's client_id")
    match command:
        case GiveConsent(sub, client_id, scopes):
            if any(_SCOPE.fullmatch(scope) is None for scope in scopes):
                raise Refusal(Kind.INVALID, "invalid_scope", "this is not a scope")
            more = tuple(sorted(set(scopes) - state.scopes))
            return (ConsentGiven(sub=sub, client_id=client_id, scopes=more),) if more else ()
        case WithdrawConsent(sub, client_id):
            return (ConsentWithdrawn(sub=sub, client_id=client_id),)


def evolve(state: Consent, event: Event) -> Consent:
    """The consent after this fact."""
    match event:
        case ConsentGiven():
            return replace(state, scopes=state.scopes | frozenset(event.scopes))
        case ConsentWithdrawn():
            return Consent()
        case _:
            return state


CONSENT: Decider[Command, Consent] = Decider("consent", Consent(), decide, evolve)
