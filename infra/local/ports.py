"""Which part of the local system listens where. Everything is on the loopback address."""

import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from infra.local.failure import SystemFailure

LOOPBACK = "127.0.0.1"
DEFAULT_BASE = 8400
SERVICES = ("registry", "identity", "token_issuer", "resource", "ledger")
"""In the order of their ports: HTTP on base + 1 to base + 5, gRPC a thousand higher."""


@dataclass(frozen=True, slots=True)
class Ports:
    """All ports of one system; another base moves them all, so that several systems run side by side."""

    base: int = DEFAULT_BASE
    tls: bool = False
    """Whether the front door speaks https; over http it then only says how it is."""

    @property
    def door(self) -> int:
        """The front door, the only public one."""
        return self.base + 43 if self.tls else self.base

    @property
    def mtls(self) -> int:
        """Where the door asks for client certificates, with TLS."""
        return self.base + 44

    @property
    def readiness(self) -> int:
        """Where the door asks whether all services are ready."""
        return self.base + 6

    @property
    def console(self) -> int:
        """The administrators' console, which is reached by the door."""
        return self.base + 7

    @property
    def nats(self) -> int:
        """NATS clients."""
        return self.base + 22

    @property
    def backstagehub(self) -> int:
        """BackstageHub, the demo application."""
        return self.base + 80

    @property
    def spa(self) -> int:
        """Where the demo's browser application would be."""
        return self.base + 81

    @property
    def setlist(self) -> int:
        """Where the demo's other application would be."""
        return self.base + 82

    def http(self, service: str) -> int:
        """A service's internal HTTP."""
        return self.base + 1 + SERVICES.index(service)

    def grpc(self, service: str) -> int:
        """A service's gRPC."""
        return self.base + 1001 + SERVICES.index(service)

    @property
    def origin(self) -> str:
        """The public origin."""
        return f"https://localhost:{self.door}" if self.tls else f"http://{LOOPBACK}:{self.door}"

    @property
    def mtls_origin(self) -> str:
        """The origin at which clients are asked for a certificate, with TLS."""
        return f"https://localhost:{self.mtls}"

    @property
    def issuer(self) -> str:
        """The issuer identifier."""
        return f"{self.origin}/id"

    def grpc_address(self, service: str) -> str:
        """Host and port of a service's gRPC."""
        return f"{LOOPBACK}:{self.grpc(service)}"

    def listening(self) -> Iterator[tuple[str, int]]:
        """Every port that the system itself listens on, with what it is for."""
        yield "the front door", self.door
        if self.tls:
            yield "the front door over http", self.base
            yield "the front door for client certificates", self.mtls
        yield "readiness", self.readiness
        yield "the console", self.console
        yield "NATS", self.nats
        yield "BackstageHub", self.backstagehub
        for service in SERVICES:
            yield f"{service}, HTTP", self.http(service)
            yield f"{service}, gRPC", self.grpc(service)

    def taken(self) -> tuple[str, int] | None:
        """The first port that somebody else listens on, or None."""
        for what, port in self.listening():
            if not _free(port):
                return what, port
        return None


def tls_wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """What `STAGEDOOR_TLS` says (`make run TLS=1`): whether the front door is to speak https."""
    said = environment.get("STAGEDOOR_TLS", "")
    if said not in {"", "0", "1"}:
        raise SystemFailure(f"TLS has to be 1 or 0, not {said!r}")
    return said == "1"


def _free(port: int) -> bool:
    """Whether a server can listen on this port (connections of an earlier one may still be closing)."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True
