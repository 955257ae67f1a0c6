"""The revocation of one access token. It has a stream of its own, since issuing a token leaves none to add to."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.token_issuer.events import AccessTokenRevoked
from shared.decider import Decider
from shared.log.event import Event


@dataclass(frozen=True, slots=True)
class Revoke:
    """Whoever may do so takes a token back."""

    jti: str
    client_id: str
    token_ends_at: datetime


def decide(command: Revoke, revoked: bool) -> Sequence[Event]:  # noqa: FBT001  (the state is this one fact)
    """Revoke it, once."""
    if revoked:
        return ()
    return (AccessTokenRevoked(jti=command.jti, client_id=command.client_id, token_ends_at=command.token_ends_at),)


def evolve(revoked: bool, event: Event) -> bool:  # noqa: FBT001  (the state is this one fact)
    """The state after a fact."""
    return revoked or isinstance(event, AccessTokenRevoked)


decider: Decider[Revoke, bool] = Decider("revocation", False, decide, evolve)  # noqa: FBT003  (the state is this one fact)
