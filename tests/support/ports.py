"""Ports for systems and servers that tests start, below the range that the kernel gives to clients.

Several test processes choose at the same time, in this run and in others on the machine. So whoever takes a base
holds a lock on it, and keeps away from it for a good while afterwards: connections of an earlier server may still be
closing, and a test that wants a port for itself would find it in use.
"""

import fcntl
import os
import random
import socket
import tempfile
from collections import deque
from pathlib import Path

from infra.local.ports import LOOPBACK, Ports

_BASES = tuple(base + offset for base in range(10_000, 30_000, 2_000) for offset in range(0, 1_000, 100))[1:]
"""gRPC is a thousand above a base, so the thousands between are left free: no two bases share a port. Not the first
one, whose BackstageHub no browser would visit: 10080 is a bad port (Fetch Standard)."""
_SINGLE = range(30_000, 32_768)
_MOST_HELD = 24
"""Few enough that three processes at once leave bases free."""

_MOST_HELD_ALONE = 100

_held_alone: deque[int] = deque()
"""The descriptors that hold the locks of single ports, oldest first."""
_held: deque[tuple[int, int]] = deque()
"""Bases that this process has taken, oldest first, with the descriptors that hold their locks."""


def free_port() -> int:
    """One port that nobody listens on, above those of whole systems, and that no other test takes meanwhile."""
    while len(_held_alone) >= _MOST_HELD_ALONE:
        os.close(_held_alone.popleft())
    for _ in range(200):
        port = random.choice(_SINGLE)
        if (lock := _lock(port)) is None:
            continue
        _held_alone.append(lock)
        if _quiet(port):
            return port
    raise RuntimeError("no free port was found")


def free_ports(*, tls: bool = False) -> Ports:
    """Ports that nobody listens on, and that no other test takes meanwhile."""
    while len(_held) >= _MOST_HELD:
        os.close(_held.popleft()[1])
    mine = {base for base, _ in _held}
    for base in random.sample(_BASES, len(_BASES)):
        ports = Ports(base, tls=tls)
        if base in mine or (lock := _lock(base)) is None:
            continue
        if all(_quiet(port) for _, port in ports.listening()):
            _held.append((base, lock))
            return ports
        os.close(lock)
    raise RuntimeError("no free ports were found")


def _lock(base: int) -> int | None:
    """The descriptor that holds this base, or None if somebody else does. It ends with the process, if not before."""
    folder = Path(tempfile.gettempdir()) / f"stagedoor-test-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(folder / str(base), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def _quiet(port: int) -> bool:
    """Whether nobody has this port, not even a connection that is still closing."""
    with socket.socket() as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True
