"""An application registers an address for logouts that leads into the issuer's own network (SSRF).

What it could reach there would get a POST from inside. It would learn nothing but a code in the administrators' list.
"""

import socket
from typing import Any

import pytest

from shared.http.outgoing import Reach
from tests.support.backchannel import Backchannel
from tests.support.backchannel import backchannel as backchannel  # noqa: PLC0414  (a fixture)
from tests.support.log_lines import LogLines
from tests.support.log_lines import log_lines as log_lines  # noqa: PLC0414  (a fixture)
from tests.support.receiver import receiving, status
from tests.support.work import eventually


@pytest.fixture
def led_to(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that every name leads to; the test fills it."""
    addresses: list[str] = []

    def look_up(_: str, port: int, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr("shared.http.outgoing.socket.getaddrinfo", look_up)
    return addresses


async def failure(backchannel: Backchannel) -> str | None:
    """Of the one logout that there is."""

    async def failed() -> bool:
        return [one.attempts for one in await backchannel.left()] == [1]

    await eventually(failed)
    return (await backchannel.left())[0].failure


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "169.254.169.254", "10.0.0.1", "192.168.1.1", "::1", "::ffff:127.0.0.1", "fd00::1"]
)
async def test_a_name_that_leads_inside(backchannel: Backchannel, led_to: list[str], address: str) -> None:
    led_to.append(address)
    async with receiving() as victim:
        freddie = await backchannel.signed_in(await backchannel.hub(f"http://hub.example:{victim.port}/admin"))
        backchannel.deliver(Reach())
        await backchannel.sign_out(freddie)
        assert await failure(backchannel) == "address_refused"
    assert victim.heads == []


@pytest.mark.parametrize("number", [302, 307, 308])
async def test_a_redirect_that_leads_inside(backchannel: Backchannel, number: int) -> None:
    async with receiving() as victim, receiving(answer=status(number, f"Location: {victim.uri}")) as hub:
        freddie = await backchannel.signed_in(await backchannel.hub(hub.uri))
        backchannel.deliver()
        await backchannel.sign_out(freddie)
        assert await failure(backchannel) == f"status_{number}"
    assert len(hub.heads) == 1
    assert victim.heads == []


async def test_what_is_inside_is_not_told(backchannel: Backchannel, log_lines: LogLines) -> None:
    """Of an answer nobody learns more than its status."""
    async with receiving(answer=b"HTTP/1.1 403 No\r\nX-Inner: inner-secret\r\n\r\ninner-secret") as victim:
        freddie = await backchannel.signed_in(await backchannel.hub(victim.uri))
        backchannel.deliver()
        await backchannel.sign_out(freddie)
        assert await failure(backchannel) == "status_403"
    assert "inner-secret" not in str(log_lines.read())
    rows = await backchannel.stage.issuer.log.pool.fetch("SELECT d::text AS row FROM token_issuer.logout_deliveries d")
    assert "inner-secret" not in str([row["row"] for row in rows])
