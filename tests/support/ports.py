"""Port bases for systems and servers that tests start, below the range that the kernel gives to clients."""

import contextlib
import random
import socket

from infra.local.ports import LOOPBACK, Ports

_LOWEST = 12_000
_HIGHEST = 28_900


def free_port() -> int:
    """One port that nobody listens on, above those of whole systems."""
    for _ in range(200):
        port = random.randrange(_HIGHEST + 1010, 32_768)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((LOOPBACK, port))
            return port
    raise RuntimeError("no free port was found")


def free_ports() -> Ports:
    """Ports that nobody listens on. Chosen at random, because other test runs choose as well."""
    for _ in range(200):
        ports = Ports(random.randrange(_LOWEST, _HIGHEST, 100))
        if ports.taken() is None:
            return ports
    raise RuntimeError("no free ports were found")
