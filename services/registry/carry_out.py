"""How commands of the registry meet the log: which stream, which names, which rows."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from services.registry.domain import application, initial_access, resource
from services.registry.domain.trust import check_client_id
from services.registry.read_model import project
from shared.handle import Guards, Handled, handle
from shared.ids import keyed_digest
from shared.log.append import Context, Name
from shared.log.log import Log, Stream


async def of_application(  # noqa: PLR0913  (each is one independent part)
    log: Log,
    names_key: bytes,
    client_id: str,
    command: application.Command | Callable[[], Awaitable[application.Command]],
    context: Context,
    *,
    claiming: Callable[[], Guards] = Guards,
) -> Handled[application.State]:
    """Carry out a command on one application; its first one takes its name for ever.

    `claiming` says what else must hold for it, as known when the command was built.
    """
    check_client_id(client_id)
    name = Name(keyed_digest(names_key, "client_id", client_id))

    async def guarding(stream: Stream) -> Guards:
        also = claiming()
        return replace(also, names=also.names if stream.version else (name, *also.names))

    return await handle(
        log, application.decider, client_id, command, context=context, project=project, guarding=guarding
    )


async def of_resources(log: Log, command: resource.Command, context: Context) -> Handled[resource.Catalogue]:
    """Carry out a command on the catalogue of resources."""
    return await handle(log, resource.decider, resource.CATALOGUE, command, context=context, project=project)


async def of_initial_access(
    log: Log,
    token_id: str,
    command: initial_access.Command | Callable[[], Awaitable[initial_access.Command]],
    context: Context,
) -> Handled[initial_access.State]:
    """Carry out a command on one initial access token."""
    return await handle(log, initial_access.decider, token_id, command, context=context, project=project)
