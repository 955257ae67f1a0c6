"""What a device asked for, as the log knows it."""

from services.token_issuer.domain.device_request import DeviceRequest, Refuse, Request, decider
from services.token_issuer.events import DeviceAuthorizationRefused, DeviceAuthorizationRequested
from shared.ids import digest
from tests.support.decider import given
from tests.unit.token_issuer.world import HUB, later

REQUEST = Request(gid="g", client_id=HUB, device_code_digest=digest("code"), expires_at=later(seconds=600))
REQUESTED = DeviceAuthorizationRequested(
    gid="g", client_id=HUB, device_code_digest=digest("code"), expires_at=later(seconds=600)
)
REFUSED = DeviceAuthorizationRefused(gid="g", client_id=HUB, sub="freddie", sid="s")


def test_it_is_requested_once() -> None:
    given(decider).when(REQUEST).then(REQUESTED)
    given(decider, REQUESTED).when(REQUEST).refused("device_request_exists")


def test_it_is_refused_once_by_a_person() -> None:
    refusing = Refuse(sub="freddie", sid="s")
    given(decider, REQUESTED).when(refusing).then(REFUSED)
    given(decider, REQUESTED, REFUSED).when(refusing).refused("user_code_unknown")
    given(decider).when(refusing).refused("user_code_unknown")


def test_what_is_known_of_it() -> None:
    assert decider.fold([REQUESTED]) == DeviceRequest("g", HUB)
    assert decider.fold([REQUESTED, REFUSED]) == DeviceRequest("g", HUB, refused=True)
    assert decider.fold([REFUSED]) is None
