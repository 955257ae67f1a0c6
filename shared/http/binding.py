"""Addresses that a service listens on, and what demo mode allows of them."""

import errno
import resource
import socket
from typing import Final
from urllib.parse import urlsplit

from shared.settings import ServiceSettings, is_loopback

_BACKLOG: Final = 2048
_OWN_FILES: Final = 256
"""Descriptors for all that is no client of HTTP: the log, NATS, gRPC, files."""


def parse(bind: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[host]:port`; ends the process with one line if it is neither."""
    host, colon, port = bind.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 65536):
        raise SystemExit(f"stagedoor: {bind!r} is not an address to listen on; it has the form host:port")
    return host, int(port)


def listen(bind: str) -> socket.socket:
    """A listening socket; ends the process with one line if the address cannot be had."""
    host, port = parse(bind)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as failure:
        raise SystemExit(f"stagedoor: HTTP cannot listen on {bind}: {failure.strerror}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.settimeout(0.0)
    except OSError as failure:
        listener.close()
        why = "the address is in use" if failure.errno == errno.EADDRINUSE else failure.strerror
        raise SystemExit(f"stagedoor: HTTP cannot listen on {bind}: {why}") from None
    return listener


def room_for(connections: int) -> int:
    """How many connections, of those wanted, may be open before there is a crowd of at most as many again.

    Each takes a file descriptor. The process takes as many as it may have: without one it could not even say no.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * connections + _OWN_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        return max(1, min(connections, (allowed - _OWN_FILES) // 2))
    return connections


def refuse_exposed_demo(settings: ServiceSettings) -> None:
    """End the process if demo mode, whose passwords are public, would be reachable from another machine."""
    if not settings.demo:
        return
    hosts = {
        "STAGEDOOR_HTTP_BIND": parse(settings.http_bind)[0],
        "STAGEDOOR_GRPC_BIND": parse(settings.grpc_bind)[0],
        "STAGEDOOR_ISSUER": urlsplit(settings.issuer).hostname or "",
        "STAGEDOOR_ORIGIN": urlsplit(settings.origin).hostname or "",
    }
    for name, host in hosts.items():
        if not is_loopback(host):
            raise SystemExit(f"stagedoor: demo mode is for this machine alone: {name} names {host or 'no host'}")
