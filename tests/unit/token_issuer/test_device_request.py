"""What a device asked for, as the log knows it."""

from services.token_issuer.domain.device_request import Request, decider
from services.token_issuer.events import DeviceAuthorizationRequested
from shared.ids import digest
from tests.support.decider import given
from tests.unit.token_issuer.world import HUB, later


def test_it_is_asked_once() -> None:
    request = Request(gid="g", client_id=HUB, device_code_digest=digest("code"), expires_at=later(seconds=600))
    asked = DeviceAuthorizationRequested(
        gid="g", client_id=HUB, device_code_digest=digest("code"), expires_at=later(seconds=600)
    )
    given(decider).when(request).then(asked)
    given(decider, asked).when(request).refused("device_request_exists")
