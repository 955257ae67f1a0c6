"""A DPoP proof that was used: where nothing else is appended that could say so. It is used once, and that is all.

Whether it was used before is for the log to say (a once-key), not for a state.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.token_issuer.events import ProofUsed
from shared.decider import Decider
from shared.errors import Kind, Refusal
from shared.log.event import Event


@dataclass(frozen=True, slots=True)
class Use:
    """An application has shown with it that it holds a key."""

    client_id: str
    proof_digest: str
    expires_at: datetime


State = ProofUsed | None


def decide(command: Use, state: State) -> Sequence[Event]:
    """Say so, unless the id is taken."""
    if state is not None:
        raise Refusal(Kind.ALREADY_EXISTS, "proof_exists", "a use with this id was written before")
    return (ProofUsed(client_id=command.client_id, proof_digest=command.proof_digest, expires_at=command.expires_at),)


def evolve(state: State, event: Event) -> State:
    """The state after a fact."""
    return event if isinstance(event, ProofUsed) else state


decider: Decider[Use, State] = Decider("proof", None, decide, evolve)
