"""A pushed authorization request (RFC 9126): pushed once. That it leads to one code at most is for the log to say."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.token_issuer.events import AuthorizationRequestPushed
from shared.decider import Decider
from shared.errors import Kind, Refusal
from shared.log.event import Event


@dataclass(frozen=True, slots=True)
class Push:
    """An authenticated client leaves a request whose every rule has been applied."""

    client_id: str
    request_digest: str
    expires_at: datetime


State = AuthorizationRequestPushed | None


def decide(command: Push, state: State) -> Sequence[Event]:
    """Keep it, unless the id is taken."""
    if state is not None:
        raise Refusal(Kind.ALREADY_EXISTS, "pushed_request_exists", "a request with this id was written before")
    return (
        AuthorizationRequestPushed(
            client_id=command.client_id,
            request_digest=command.request_digest,
            expires_at=command.expires_at,
        ),
    )


def evolve(state: State, event: Event) -> State:
    """The state after a fact."""
    return event if isinstance(event, AuthorizationRequestPushed) else state


decider: Decider[Push, State] = Decider("pushed", None, decide, evolve)
