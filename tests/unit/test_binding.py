"""Addresses to listen on."""

import socket

import pytest

from shared.http.binding import listen, parse
from shared.settings import is_loopback


@pytest.mark.parametrize(
    ("bind", "parsed"),
    [
        ("127.0.0.1:8401", ("127.0.0.1", 8401)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:8401", ("::1", 8401)),
        ("[::]:65535", ("::", 65535)),
    ],
)
def test_host_and_port(bind: str, parsed: tuple[str, int]) -> None:
    assert parse(bind) == parsed


@pytest.mark.parametrize(
    "bind", ["", "8401", ":8401", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "::1:8401", "[]:1"]
)
def test_anything_else_ends_the_process(bind: str) -> None:
    with pytest.raises(SystemExit, match="not an address to listen on"):
        parse(bind)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["", "0.0.0.0", "::", "10.0.0.1", "localhost.example.com", "127.0.0.1.example.com", "2130706433"],  # noqa: S104
)
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_a_socket_listens_at_once() -> None:
    listener = listen("127.0.0.1:0")
    try:
        socket.create_connection(listener.getsockname(), 5).close()
    finally:
        listener.close()


def test_an_address_of_another_machine_ends_the_process() -> None:
    with pytest.raises(SystemExit, match=r"^stagedoor: HTTP cannot listen on 192\.0\.2\.1:8401: "):
        listen("192.0.2.1:8401")
