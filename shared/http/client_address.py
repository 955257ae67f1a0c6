"""Where a request comes from: what the proxy nearest to us saw, and nothing that a client says about itself."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Protocol

from starlette.types import Scope

LOOPBACK: Final = ("127.0.0.0/8", "::1/128")
_LONGEST: Final = 45
"""Characters of the longest address (RFC 4291 section 2.2)."""
_FORWARDED: Final = b"x-forwarded-for"


class Sender(Protocol):
    """What a request tells of where it comes from."""

    @property
    def peer(self) -> str:
        """Address of who is connected."""

    @property
    def headers(self) -> Iterable[tuple[bytes, bytes]]:
        """Names are in lower case."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The same of an ASGI scope."""

    peer: str
    headers: Iterable[tuple[bytes, bytes]]

    @classmethod
    def by(cls, scope: Scope) -> "Sent":
        """Of a request."""
        client = scope.get("client")
        return cls(client[0] if client else "", scope["headers"])


class ClientAddresses:
    """Tells the addresses of clients. `proxies` are the networks whose `X-Forwarded-For` is believed."""

    def __init__(self, proxies: Iterable[str]) -> None:
        networks = tuple(ip_network(network) for network in proxies)

        @lru_cache(maxsize=4096)
        def trusted(peer: str) -> bool:
            parsed = _parsed(peer)
            return parsed is not None and any(parsed in network for network in networks)

        self._trusted = trusted

    def of(self, sender: Sender) -> str:
        """The address of a request's client; empty if the server does not know its peer."""
        peer, said = sender.peer, b""
        for name, value in sender.headers:
            # Several fields are one list (RFC 9110 section 5.3); the end of it is what our own proxy added.
            if name == _FORWARDED:
                said = value
        if not said or not self._trusted(peer):
            return peer
        nearest = said.rpartition(b",")[2].strip(b" \t")
        shown = nearest.decode("latin-1") if len(nearest) <= _LONGEST else ""
        return shown if _parsed(shown) is not None else peer


@lru_cache(maxsize=4096)
def network(address: str) -> str:
    """What counts as one place: an IPv4 address, or the /64 that one IPv6 customer has."""
    parsed = _parsed(address)
    if parsed is None:
        return "unknown"
    if isinstance(parsed, IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Network((int(parsed), 64), strict=False))


@lru_cache(maxsize=4096)
def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
