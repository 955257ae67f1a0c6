"""Requests to addresses that others chose, against servers that mean well and servers that do not."""

import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from shared.http.outgoing import NotSent, Outgoing, Reach
from tests.support.parties import Parties
from tests.support.parties import parties as parties  # noqa: PLC0414  (a fixture)
from tests.support.ports import free_port
from tests.support.receiver import Receiver, receiving, status
from tests.support.work import eventually

Named = Callable[..., None]


@pytest.fixture
async def outgoing() -> AsyncIterator[Outgoing]:
    made = Outgoing(Reach(loopback=True), seconds=10.0)
    yield made
    await made.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as running:
        yield running


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> Named:
    """Lets a name lead to an address."""
    known: dict[str, list[str]] = {}

    def look_up(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in known[host]]

    monkeypatch.setattr("shared.http.outgoing.socket.getaddrinfo", look_up)

    def lead(name: str, *addresses: str) -> None:
        known[name] = list(addresses)

    return lead


async def refusal(outgoing: Outgoing, uri: str) -> str:
    with pytest.raises(NotSent) as refused:
        await outgoing.post(uri, {"logout_token": "x"})
    return refused.value.code


async def test_a_form_is_sent(outgoing: Outgoing, receiver: Receiver) -> None:
    assert await outgoing.post(f"{receiver.uri}?tenant=1", {"logout_token": "a.b-c_d", "more": "x y&z"}) == 200
    assert receiver.forms == [{"logout_token": ["a.b-c_d"], "more": ["x y&z"]}]
    (head,) = receiver.heads
    assert head.startswith("POST /backchannel-logout?tenant=1 HTTP/1.1\r\n")
    assert f"host: localhost:{receiver.port}\r\n" in head.lower()
    assert "content-type: application/x-www-form-urlencoded\r\n" in head.lower()


async def test_no_redirect_is_followed(outgoing: Outgoing, receiver: Receiver) -> None:
    for number in (301, 302, 303, 307, 308):
        receiver.answer = status(number, f"Location: http://127.0.0.1:{receiver.port}/elsewhere")
        assert await outgoing.post(receiver.uri, {"a": "b"}) == number
    assert len(receiver.forms) == 5


async def test_no_proxy_of_the_environment_is_asked(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    outgoing = Outgoing(Reach(loopback=True))
    assert await outgoing.post(receiver.uri, {"a": "b"}) == 200
    await outgoing.close()


async def test_who_never_answers_is_left(receiver: Receiver) -> None:
    outgoing = Outgoing(Reach(loopback=True), seconds=1.0)
    receiver.answer = None
    begun = time.monotonic()
    assert await refusal(outgoing, receiver.uri) == "timeout"
    assert time.monotonic() - begun < 10
    await eventually(lambda: not receiver.under_way)  # it hears that nobody waits
    await outgoing.close()


async def test_a_body_without_end_is_not_read(outgoing: Outgoing, receiver: Receiver) -> None:
    receiver.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * (8 << 20)
    assert await outgoing.post(receiver.uri, {"a": "b"}) == 200


@pytest.mark.parametrize(
    "answer",
    [b"", b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 20)],
    ids=["nothing", "another protocol", "no status", "a header without end"],
)
async def test_what_is_no_answer(outgoing: Outgoing, receiver: Receiver, answer: bytes) -> None:
    receiver.answer = answer
    assert await refusal(outgoing, receiver.uri) == "no_answer"


async def test_where_nobody_listens(outgoing: Outgoing, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await refusal(outgoing, f"http://127.0.0.1:{free_port()}/") == "unreachable"

    def unknown(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("shared.http.outgoing.socket.getaddrinfo", unknown)
    assert await refusal(outgoing, "http://nowhere.invalid/") == "unreachable"
    for uri in ("ftp://localhost/", "http://localhost:99999/", "http://bücher.example/", "http://[::1/", "", "x"):
        assert await refusal(outgoing, uri) == "unreachable", uri


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "127.1", "0x7f.1", "2130706433", "0.0.0.0"],  # noqa: S104
)
async def test_this_machine_is_out_of_reach(receiver: Receiver, host: str) -> None:
    outgoing = Outgoing(Reach(), seconds=5.0)
    assert await refusal(outgoing, f"http://{host}:{receiver.port}/") in {"address_refused", "unreachable"}
    assert receiver.heads == []
    await outgoing.close()


async def test_a_name_is_judged_by_where_it_leads(receiver: Receiver, named: Named) -> None:
    named("hub.example", "127.0.0.1")
    outgoing = Outgoing(Reach())
    assert await refusal(outgoing, f"http://hub.example:{receiver.port}/") == "address_refused"
    assert receiver.heads == []
    await outgoing.close()


async def test_a_name_that_leads_elsewhere_later_leads_nowhere(
    outgoing: Outgoing, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the address that was judged is the one that is reached; the name is not looked up again."""
    looked_up: list[str] = []

    def once(host: str, port: int, **_: Any) -> list[Any]:
        looked_up.append(host)
        address = "127.0.0.1" if len(looked_up) == 1 else "10.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr("shared.http.outgoing.socket.getaddrinfo", once)
    assert await outgoing.post(f"http://hub.example:{receiver.port}/", {"a": "b"}) == 200
    assert looked_up == ["hub.example"]


async def test_the_addresses_of_a_name_are_tried_in_turn(
    outgoing: Outgoing, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def several(host: str, port: int, **_: Any) -> list[Any]:
        families = {"10.0.0.1": socket.AF_INET, "::1": socket.AF_INET6, "127.0.0.1": socket.AF_INET}
        return [(family, socket.SOCK_STREAM, 6, "", (address, port)) for address, family in families.items()]

    monkeypatch.setattr("shared.http.outgoing.socket.getaddrinfo", several)
    assert await outgoing.post(f"http://hub.example:{receiver.port}/", {"a": "b"}) == 200


async def test_certificates_are_checked(parties: Parties, named: Named) -> None:
    shown = parties.authority.service("hub")
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(shown.certificate, shown.key)
    believed = ssl.create_default_context(cafile=str(parties.authority.certificate))
    named("localhost", "127.0.0.1")
    named("hub.example", "127.0.0.1")
    async with receiving(served) as receiver:
        outgoing = Outgoing(Reach(loopback=True), context=believed)
        assert await outgoing.post(f"https://localhost:{receiver.port}/", {"a": "b"}) == 200
        assert await refusal(outgoing, f"https://hub.example:{receiver.port}/") == "unreachable"
        await outgoing.close()
        strict = Outgoing(Reach(loopback=True))
        assert await refusal(strict, f"https://localhost:{receiver.port}/") == "unreachable"
        await strict.close()
    assert len(receiver.forms) == 1
