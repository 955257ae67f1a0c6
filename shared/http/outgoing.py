"""Requests to addresses that somebody else chose. A web address is no licence to reach into this network.

The name is looked up here, each address that it leads to is judged, and the connection is made to one that was: so a
name that leads elsewhere a moment later leads nowhere (DNS rebinding). No redirect is followed, no proxy of the
environment is asked, and of an answer no more is read than was asked for.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeVar
from urllib.parse import urlencode

import httpcore

Network = IPv4Network | IPv6Network
T = TypeVar("T")

_HEADERS: Final = [
    ("Content-Type", "application/x-www-form-urlencoded"),
    ("User-Agent", "Stagedoor"),
    ("Connection", "close"),
]
_JSON_HEADERS: Final = [
    ("Accept", "application/jwk-set+json, application/json"),
    ("User-Agent", "Stagedoor"),
    ("Connection", "close"),
]
ATTEMPT_SECONDS: Final = 10.0
"""From the look-up of the name to the status of the answer."""
_MOST_TRIED: Final = 4
"""Addresses of one name that are tried in turn."""
_TRANSLATED: Final = ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48")
"""Addresses in which an IPv4 address stands that a gateway reaches (RFC 6052, RFC 8215)."""


class NotSent(Exception):  # noqa: N818  (it is what came of it)
    """There was no answer; the code is `address_refused`, `unreachable`, `timeout` or `no_answer`.

    Where a document was asked for also `status` (another one than 200), `too_long` and `media_type`.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Reach:
    """Which addresses may be reached: the public ones, and what is named here."""

    loopback: bool = False
    """This machine."""
    networks: tuple[Network, ...] = ()
    """Others that are not public."""

    def admits(self, address: str) -> bool:
        """Whether this is one."""
        try:
            ip = ip_address(address)
        except ValueError:
            return False
        if isinstance(ip, IPv6Address):
            if ip.ipv4_mapped is None and _leads_to_ipv4(ip):
                return False
            ip = ip.ipv4_mapped or ip
        if ip.is_loopback:
            return self.loopback
        return _is_public(ip) or any(ip in network for network in self.networks)


def _is_public(ip: IPv4Address | IPv6Address) -> bool:
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


def _leads_to_ipv4(ip: IPv6Address) -> bool:
    return ip.sixtofour is not None or ip.teredo is not None or any(ip in network for network in _TRANSLATED)


class Outgoing:
    """Sends such requests, some of them side by side; `close` it."""

    def __init__(
        self,
        reach: Reach,
        *,
        at_once: int = 64,
        seconds: float = ATTEMPT_SECONDS,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """`context` says which certificates are believed; those of the system's authorities, if it is not given."""
        self._seconds = seconds
        # A resolver that hangs has threads of its own to hang in.
        self._threads = ThreadPoolExecutor(at_once, "outgoing")
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context or ssl.create_default_context(),
            max_connections=at_once,
            max_keepalive_connections=0,
            network_backend=_Judging(reach, self._threads),
        )

    async def post(self, uri: str, form: Mapping[str, str]) -> int:
        """Send a form (`application/x-www-form-urlencoded`); answers the status. Raises `NotSent`."""

        async def send() -> int:
            body = urlencode(form).encode()
            async with self._pool.stream("POST", uri, headers=_HEADERS, content=body) as answer:
                return answer.status

        return await self._in_time(send)

    async def get(self, uri: str, longest: int, *, media_types: Collection[str] = ()) -> bytes:
        """The document at an address, of at most `longest` bytes. Raises `NotSent`.

        `media_types`: what it has to be, in lower case and without parameters; none: whatever it is.
        """

        async def fetch() -> bytes:
            async with self._pool.stream("GET", uri, headers=_JSON_HEADERS) as answer:
                if answer.status != 200:
                    raise NotSent("status")
                if media_types and _media_type(answer.headers) not in media_types:
                    raise NotSent("media_type")
                body = b""
                async for part in answer.aiter_stream():
                    body += part
                    if len(body) > longest:
                        raise NotSent("too_long")
                return body

        return await self._in_time(fetch)

    async def _in_time(self, work: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(self._seconds):
                return await work()
        except _Refused:
            raise NotSent("address_refused") from None
        except (TimeoutError, httpcore.TimeoutException):
            raise NotSent("timeout") from None
        except (httpcore.ConnectError, httpcore.UnsupportedProtocol, OSError, ValueError, TypeError):
            # The last two are about an address that is none.
            raise NotSent("unreachable") from None
        except (httpcore.NetworkError, httpcore.ProtocolError):
            raise NotSent("no_answer") from None

    async def close(self) -> None:
        """Let go of connections and threads."""
        await self._pool.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)


def _media_type(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """What an answer says that it is (RFC 9110 section 8.3); empty if it says nothing, or several things."""
    given = [value for name, value in headers if name.lower() == b"content-type"]
    return given[0].decode("latin-1").partition(";")[0].strip(" \t").lower() if len(given) == 1 else ""


class _Refused(httpcore.ConnectError):
    """The name leads to no address that may be reached."""


class _Judging(httpcore.AsyncNetworkBackend):
    """Connects to addresses that may be reached, and to no others."""

    def __init__(self, reach: Reach, threads: ThreadPoolExecutor) -> None:
        self._reach = reach
        self._threads = threads
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to the first of the host's addresses that takes one."""
        found = await self._addresses(host, port)
        admitted = [address for address in found if self._reach.admits(address)]
        if not admitted:
            raise _Refused("this host leads to no address that may be reached")
        failure: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for address in admitted[:_MOST_TRIED]:
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as one:
                failure = one
        raise failure or httpcore.ConnectError

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        """All addresses of a host, each once."""

        def look_up() -> list[str]:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
            return list(dict.fromkeys(str(address[0]) for *_, address in found))

        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        except (OSError, UnicodeError) as unknown:
            raise httpcore.ConnectError(str(unknown)) from unknown
