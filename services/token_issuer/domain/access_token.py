"""An access token without a grant: client credentials (RFC 6749 section 4.4). It is issued once, and that is all."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.token_issuer.events import AccessTokenIssued
from shared.decider import Decider
from shared.errors import Kind, Refusal
from shared.log.event import Event


@dataclass(frozen=True, slots=True)
class Issue:
    """An authenticated client asks for a token of its own."""

    jti: str
    client_id: str
    sub: str
    """Of the client's service account, or the client_id where it has none."""
    scopes: tuple[str, ...]
    audiences: tuple[str, ...]
    access_token_seconds: int
    jkt: str | None = None
    """Thumbprint of the key that it is to be bound to."""
    x5t_s256: str | None = None
    """Thumbprint of the certificate that it is to be bound to."""


State = AccessTokenIssued | None


def decide(command: Issue, state: State) -> Sequence[Event]:
    """Issue it, unless the id is taken."""
    if state is not None:
        raise Refusal(Kind.ALREADY_EXISTS, "token_exists", "a token with this id was issued before")
    return (
        AccessTokenIssued(
            jti=command.jti,
            client_id=command.client_id,
            sub=command.sub,
            scopes=command.scopes,
            audiences=command.audiences,
            access_token_seconds=command.access_token_seconds,
            jkt=command.jkt,
            x5t_s256=command.x5t_s256,
        ),
    )


def evolve(state: State, event: Event) -> State:
    """The state after a fact."""
    return event if isinstance(event, AccessTokenIssued) else state


decider: Decider[Issue, State] = Decider("token", None, decide, evolve)
