"""Which addresses a request may go to that somebody else has named the place of."""

from ipaddress import ip_network

import pytest

from shared.http.outgoing import Reach

PUBLIC = Reach()


@pytest.mark.parametrize("address", ["93.184.216.34", "1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1"])
def test_public_addresses_are_reached(address: str) -> None:
    assert PUBLIC.admits(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "::1",
        "0.0.0.0",  # noqa: S104  (an address to be refused, not to listen on)
        "::",
        "10.0.0.1",
        "172.16.3.4",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "198.18.0.1",
        "192.0.2.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd12:3456::1",
        "ff02::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a00:1",
        "2002:7f00:1::",
        "2002:a00:1::1",
        "2001:0:7f00:1::1",
        "127.1",
        "0x7f000001",
        "localhost",
        "",
    ],
)
def test_others_are_not(address: str) -> None:
    assert not PUBLIC.admits(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_this_machine_where_that_is_said(address: str) -> None:
    assert Reach(loopback=True).admits(address)
    assert not Reach(loopback=True).admits("10.0.0.1")


def test_networks_that_are_named() -> None:
    reach = Reach(networks=(ip_network("10.8.0.0/16"), ip_network("fd00:8::/32")))
    for address in ("10.8.0.1", "::ffff:10.8.0.1", "fd00:8::1", "1.1.1.1"):
        assert reach.admits(address)
    for address in ("10.9.0.1", "fd00:9::1", "192.168.0.1"):
        assert not reach.admits(address)


def test_this_machine_is_in_no_network_that_is_named() -> None:
    reach = Reach(networks=(ip_network("0.0.0.0/0"), ip_network("::/0")))
    assert not reach.admits("127.0.0.1")
    assert not reach.admits("::1")
    assert reach.admits("10.0.0.1")
