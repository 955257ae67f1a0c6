"""A pushed authorization request (RFC 9126): pushed once. That it leads to one code at most is for the log to say."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.token_issuer.events import AuthorizationRequestPushed
from shared.decider import Decider
from shared.log.event import Event


@dataclass(frozen=True, slots=True)
class Push:
    """An authenticated client leaves a request whose every rule has been applied."""

    client_id: str
    request_digest: str
    expires_at: datetime


def decide(command: Push, _: None) -> Sequence[Event]:
    """Keep it."""
    return (
        AuthorizationRequestPushed(
            client_id=command.client_id,
            request_digest=command.request_digest,
            expires_at=command.expires_at,
        ),
    )


def evolve(state: None, _: Event) -> None:
    """What was pushed is in a table, not in the log."""
    return state


decider: Decider[Push, None] = Decider("pushed", None, decide, evolve)
