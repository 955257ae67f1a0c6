"""A client assertion that was used: where nothing else is appended that could say so. It is used once, and that is all.

Whether it was used before is for the log to say (a once-key), not for a state.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.token_issuer.events import AssertionUsed
from shared.decider import Decider
from shared.errors import Kind, Refusal
from shared.log.event import Event


@dataclass(frozen=True, slots=True)
class Use:
    """An application has proved with it who it is."""

    client_id: str
    assertion_digest: str
    expires_at: datetime


State = AssertionUsed | None


def decide(command: Use, state: State) -> Sequence[Event]:
    """Say so, unless the id is taken."""
    if state is not None:
        raise Refusal(Kind.ALREADY_EXISTS, "assertion_exists", "a use with this id was written before")
    return (
        AssertionUsed(
            client_id=command.client_id,
            assertion_digest=command.assertion_digest,
            expires_at=command.expires_at,
        ),
    )


def evolve(state: State, event: Event) -> State:
    """The state after a fact."""
    return event if isinstance(event, AssertionUsed) else state


decider: Decider[Use, State] = Decider("assertion", None, decide, evolve)
