"""Facts of others: which applications are gone, with what people had allowed them, and which want userinfo signed."""

from collections.abc import Iterable

from services.identity.read_model import SIGNED_USERINFO, UNINSTALLED
from services.registry.events import ApplicationChanged, ApplicationRegistered, ApplicationUninstalled
from shared.log.event import Delete, Put, Recorded, RowChange

PROJECTION = "uninstalled_applications"
SOURCES = ("registry",)


def project_registry(recorded: Recorded) -> Iterable[RowChange]:
    """What the tables learn of a fact of the registry.

    Consents are not deleted for it: their table has one feeder. Questions leave out those to applications that are
    gone, and a `client_id` is never used again.
    """
    match recorded.event:
        case ApplicationUninstalled(client_id=client_id):
            yield Put(UNINSTALLED, {"client_id": client_id, "position": recorded.position})
            yield Delete(SIGNED_USERINFO, {"client_id": client_id})
        case (
            ApplicationRegistered(client_id=client_id, settings=settings)
            | ApplicationChanged(client_id=client_id, settings=settings)
        ):
            if settings.userinfo_signed_response_alg is None:
                yield Delete(SIGNED_USERINFO, {"client_id": client_id})
            else:
                yield Put(SIGNED_USERINFO, {"client_id": client_id, "position": recorded.position})
        case _:
            return
