"""How commands of the registry meet the log: which stream, which names, which rows."""

from collections.abc import Awaitable, Callable

from services.registry.domain import application, resource
from services.registry.domain.trust import check_client_id
from services.registry.read_model import project
from shared.handle import Guards, Handled, handle
from shared.ids import keyed_digest
from shared.log.append import Context, Name
from shared.log.log import Log, Stream


async def of_application(
    log: Log,
    names_key: bytes,
    client_id: str,
    command: application.Command | Callable[[], Awaitable[application.Command]],
    context: Context,
) -> Handled[application.State]:
    """Carry out a command on one application; its first one takes its name for ever."""
    check_client_id(client_id)
    name = Name(keyed_digest(names_key, "client_id", client_id))

    async def guarding(stream: Stream) -> Guards:
        return Guards(names=() if stream.version else (name,))

    return await handle(
        log, application.decider, client_id, command, context=context, project=project, guarding=guarding
    )


async def of_resources(log: Log, command: resource.Command, context: Context) -> Handled[resource.Catalogue]:
    """Carry out a command on the catalogue of resources."""
    return await handle(log, resource.decider, resource.CATALOGUE, command, context=context, project=project)
