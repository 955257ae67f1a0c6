"""Calls between the services of a world, and to them, without a wire."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from services.identity.events import Role
from services.token_issuer.references.rpc import OWN_ACCESS, OwnAccessService
from services.token_issuer.rpc import AUTHORIZATION, AuthorizationService
from shared.ids import new_id
from shared.rpc import caller
from shared.rpc.caller import Call, Caller, Person
from stagedoor.denials import DenialView

if TYPE_CHECKING:
    from tests.properties.token_life.world import World

ADMINISTRATOR = "administrator"


class InProcess:
    """In the place of a gRPC channel from identity to the issuer: the same messages, without the wire."""

    def __init__(self, world: "World") -> None:
        self._world = world

    def unary_unary(self, path: str, **_: Any) -> Callable[..., Any]:
        full, name = path.strip("/").split("/")
        servicer: Any = {AUTHORIZATION: AuthorizationService, OWN_ACCESS: OwnAccessService}[full]

        async def ask(request: Any, metadata: Sequence[tuple[str, str]] = ()) -> Any:
            service = servicer(self._world.replica.issuer)
            key = dict(metadata).get("idempotency-key")
            call = called_by("service/identity")
            caller.current.set(call if key is None else call._replace(idempotency_key=UUID(key)))
            return await getattr(service, name)(request, None)

        return ask


class Unasked:
    """In the place of a channel that nobody asks anything over in these lives."""

    def unary_unary(self, path: str, **_: Any) -> Callable[..., Any]:
        async def ask(*_: Any, **__: Any) -> Any:
            raise AssertionError(f"{path} was asked")

        return ask


class GuardOfTheMoment:
    """The guard of the moment: the endpoints outlive a restart of what they ask."""

    def __init__(self, world: "World") -> None:
        self._world = world

    @property
    def issuer(self) -> str:
        return self._world.guard.issuer

    @property
    def view(self) -> DenialView:
        return self._world.guard.view

    async def validate(self, token: str, **how: Any) -> Any:
        return await self._world.guard.validate(token, **how)


def called_by(name: str, sub: str | None = None) -> Call:
    person = None
    if sub is not None:
        person = Person(sub, "com.stagedoor/cli", frozenset({Role.ADMINISTRATOR.value}), frozenset({"sec"}), "jti", 1)
    return Call(Caller(name), person, new_id(), None)
