"""Facts of others: an application that is gone takes along what people had allowed it."""

from collections.abc import Iterable

from services.identity.read_model import UNINSTALLED
from services.registry.events import ApplicationUninstalled
from shared.log.event import Put, Recorded, RowChange

PROJECTION = "uninstalled_applications"
SOURCES = ("registry",)


def project_registry(recorded: Recorded) -> Iterable[RowChange]:
    """What the tables learn of a fact of the registry.

    Consents are not deleted for it: their table has one feeder. Questions leave out those to applications that are
    gone, and a `client_id` is never used again.
    """
    if isinstance(recorded.event, ApplicationUninstalled):
        yield Put(UNINSTALLED, {"client_id": recorded.event.client_id, "position": recorded.position})
