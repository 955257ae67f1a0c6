"""What the identity service learns of applications."""

from datetime import UTC, datetime
from uuid import UUID

from services.identity.read_model import SIGNED_USERINFO, UNINSTALLED
from services.identity.subscriptions import project_registry
from services.registry.events import (
    ApplicationChanged,
    ApplicationDisabled,
    ApplicationRegistered,
    ApplicationSettings,
    ApplicationType,
    ApplicationUninstalled,
    AuthMethod,
    ResponseAlgorithm,
)
from shared.log.event import Delete, Event, Put, Recorded, RowChange

HUB = "com.backstagehub/app"
PLAIN = ApplicationSettings(
    display_name="BackstageHub", type=ApplicationType.CONFIDENTIAL, auth_method=AuthMethod.CLIENT_SECRET_BASIC
)
SIGNED = PLAIN.model_copy(update={"userinfo_signed_response_alg": ResponseAlgorithm.RS256})
ROW = {"client_id": HUB}


def rows(event: Event) -> list[RowChange]:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return list(project_registry(Recorded(event, "application-x", 1, 7, 1, now, "service:test", UUID(int=1), "c")))


def test_which_applications_want_userinfo_signed() -> None:
    wants, does_not = Put(SIGNED_USERINFO, {**ROW, "position": 7}), Delete(SIGNED_USERINFO, ROW)
    assert rows(ApplicationRegistered(client_id=HUB, settings=SIGNED)) == [wants]
    assert rows(ApplicationRegistered(client_id=HUB, settings=PLAIN)) == [does_not]
    assert rows(ApplicationChanged(client_id=HUB, settings=SIGNED, narrowed=False)) == [wants]
    assert rows(ApplicationChanged(client_id=HUB, settings=PLAIN, narrowed=False)) == [does_not]
    assert rows(ApplicationDisabled(client_id=HUB, reason="")) == []


def test_an_application_that_is_gone() -> None:
    assert rows(ApplicationUninstalled(client_id=HUB)) == [
        Put(UNINSTALLED, {**ROW, "position": 7}),
        Delete(SIGNED_USERINFO, ROW),
    ]
