"""What a device asked for (RFC 8628): requested once, and refused at most once. If it is allowed, a grant begins.

That only one of the two happens is for the log to say, by a once-key.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.token_issuer.events import DeviceAuthorizationRefused, DeviceAuthorizationRequested
from shared.decider import Decider
from shared.errors import Kind, Refusal
from shared.log.event import Event


@dataclass(frozen=True, slots=True)
class Request:
    """An authenticated client asks, with a request whose every rule has been applied."""

    gid: str
    client_id: str
    device_code_digest: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Refuse:
    """A person says no."""

    sub: str
    sid: str


Command = Request | Refuse


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """What is known of one."""

    gid: str
    client_id: str
    refused: bool = False


State = DeviceRequest | None


def decide(command: Command, state: State) -> Sequence[Event]:
    """What happens, or the refusal."""
    match command:
        case Request():
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
        case Refuse():
            if state is None or state.refused:
                raise unknown_user_code()
            return (
                DeviceAuthorizationRefused(gid=state.gid, client_id=state.client_id, sub=command.sub, sid=command.sid),
            )


def unknown_user_code() -> Refusal:
    """The one answer to a code that nobody was given, that is too old, or that was used (RFC 8628 section 5.1)."""
    return Refusal(Kind.NOT_FOUND, "user_code_unknown", "This code is not known here, is too old, or was used before.")


def evolve(state: State, event: Event) -> State:
    """The state after a fact."""
    match event:
        case DeviceAuthorizationRequested():
            return DeviceRequest(event.gid, event.client_id)
        case DeviceAuthorizationRefused() if state is not None:
            return replace(state, refused=True)
        case _:
            return state


decider: Decider[Command, State] = Decider("device", None, decide, evolve)
