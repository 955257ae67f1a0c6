"""What a device asked for (RFC 8628): asked once. What comes of it is for the grant to say (`grant.py`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.token_issuer.events import DeviceAuthorizationRequested
from shared.decider import Decider
from shared.errors import Kind, Refusal
from shared.log.event import Event


@dataclass(frozen=True, slots=True)
class Request:
    """An authenticated client asks, with a request whose every rule has been applied."""

    gid: str
    """Of the grant that it may lead to."""
    client_id: str
    device_code_digest: str
    expires_at: datetime


State = DeviceAuthorizationRequested | None


def decide(command: Request, state: State) -> Sequence[Event]:
    """Keep it, unless the id is taken."""
    if state is not None:
        raise Refusal(Kind.ALREADY_EXISTS, "device_request_exists", "a request with this id was written before")
    return (
        DeviceAuthorizationRequested(
            gid=command.gid,
            client_id=command.client_id,
            device_code_digest=command.device_code_digest,
            expires_at=command.expires_at,
        ),
    )


def evolve(state: State, event: Event) -> State:
    """The state after a fact."""
    return event if isinstance(event, DeviceAuthorizationRequested) else state


decider: Decider[Request, State] = Decider("device", None, decide, evolve)
