"""A client assertion that was used: where nothing else is appended that could say so. It is used once, and that is all.

Whether it was used before is for the log to say (a once-key), not for a state.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.token_issuer.events import AssertionUsed
from shared.decider import Decider
from shared.log.event import Event


@dataclass(frozen=True, slots=True)
class Use:
    """An application has proved with it who it is."""

    client_id: str
    assertion_digest: str
    expires_at: datetime


def decide(command: Use, _: None) -> Sequence[Event]:
    """Say so."""
    return (
        AssertionUsed(
            client_id=command.client_id,
            assertion_digest=command.assertion_digest,
            expires_at=command.expires_at,
        ),
    )


def evolve(state: None, _: Event) -> None:
    """There is nothing to know of it afterwards."""
    return state


decider: Decider[Use, None] = Decider("assertion", None, decide, evolve)
