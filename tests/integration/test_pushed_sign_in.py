"""A pushed request (RFC 9126) through the front door, the pages and back."""

from collections.abc import AsyncIterator
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from infra.local.sign_in import Visitor
from infra.local.system import System
from tests.support.doors import FREDDIE, HUB, Doors, opened


@pytest.fixture
async def doors(system: System) -> AsyncIterator[Doors]:
    async with opened(system) as open_ones:
        yield open_ones


async def test_freddie_signs_in_by_a_request_that_was_pushed(doors: Doors) -> None:
    flow = doors.flow("openid read", login_hint="freddie")
    pushed = await doors.http.post(
        f"{doors.issuer}/connect/par", data=dict(parse_qsl(urlsplit(flow.address).query)), auth=doors.secret()
    )
    assert pushed.status_code == 201, pushed.text
    reference = urlencode({"client_id": HUB, "request_uri": pushed.json()["request_uri"]})
    address = f"{doors.issuer}/connect/authorize?{reference}"
    async with Visitor(*FREDDIE) as freddie:
        code = flow.code(await freddie.go(address, until=flow.redirect_uri))
        # Whoever finds the address in his history gets nothing from it, signed in or not.
        again = await freddie.browser.get(address)
        assert again.status_code == 400
        assert "used before" in again.text
    tokens = await flow.redeem(code, client_secret=doors.application(HUB)["client_secret"])
    assert tokens["scope"] == "openid read"
