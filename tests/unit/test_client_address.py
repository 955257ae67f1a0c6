"""Where a request comes from."""

import pytest

from shared.http.client_address import LOOPBACK, ClientAddresses, Sent, network


def sent(peer: str | None, *forwarded: str) -> Sent:
    headers = [(b"host", b"x"), *((b"x-forwarded-for", value.encode("latin-1")) for value in forwarded)]
    return Sent.by({"type": "http", "client": None if peer is None else (peer, 40000), "headers": headers})


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("127.0.0.1", ["192.0.2.7"], "192.0.2.7"),
        ("::1", ["192.0.2.7"], "192.0.2.7"),
        ("127.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        ("127.0.0.1", ["203.0.113.9, 192.0.2.7"], "192.0.2.7"),
        ("127.0.0.1", ["203.0.113.9", "192.0.2.7"], "192.0.2.7"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["192.0.2.7,"], "127.0.0.1"),
        ("127.0.0.1", ["192.0.2.7", ""], "127.0.0.1"),
        ("127.0.0.1", ["unknown"], "127.0.0.1"),
        ("127.0.0.1", ["192.0.2.7:80"], "127.0.0.1"),
        ("127.0.0.1", ["é"], "127.0.0.1"),
        ("127.0.0.1", ["1" * 20_000], "127.0.0.1"),
        ("198.51.100.1", ["192.0.2.7"], "198.51.100.1"),
        ("10.0.0.1", ["127.0.0.1"], "10.0.0.1"),
        (None, ["192.0.2.7"], ""),
    ],
)
def test_only_the_proxys_word_counts(peer: str | None, forwarded: list[str], address: str) -> None:
    assert ClientAddresses(LOOPBACK).of(sent(peer, *forwarded)) == address


def test_the_operator_says_who_the_proxies_are() -> None:
    addresses = ClientAddresses(["10.1.0.0/16"])
    assert addresses.of(sent("10.1.2.3", "192.0.2.7")) == "192.0.2.7"
    assert addresses.of(sent("127.0.0.1", "192.0.2.7")) == "127.0.0.1"


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
        ("", "unknown"),
    ],
)
def test_what_counts_as_one_place(address: str, place: str) -> None:
    assert network(address) == place
