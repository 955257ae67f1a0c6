"""NATS of the local system: one server with JetStream, its users and permissions from `infra/nats.conf`."""

import asyncio
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from infra.local.caddy import program
from infra.local.home import Home
from infra.local.ports import LOOPBACK, SERVICES, Ports
from infra.local.process import Process

USERS = (*SERVICES, "resource_server")
"""One for each service, and one for resource servers of others."""
_CONFIGURATION = Path(__file__).resolve().parent.parent / "nats.conf"
_ANSWER_SECONDS = 1.0


def password_file(home: Home, user: str) -> Path:
    """The file with the password of a NATS user, made at the first call."""
    return home.secret(f"{user}.nats")


def process(home: Home, ports: Ports, name: str = "nats", port: int | None = None, more: Sequence[str] = ()) -> Process:
    """The server, not yet started, with its configuration written.

    One of several has a `name` and a `port` of its own, and `more` lines that tell it of the others.
    """
    folder = home.path / name
    folder.mkdir(mode=0o700, exist_ok=True)
    shutil.copyfile(_CONFIGURATION, folder / "nats.conf")
    local = [
        f'listen: "{LOOPBACK}:{port or ports.nats}"',
        f'server_name: "{"stagedoor" if name == "nats" else name}"',
        f"jetstream {{ store_dir: {json.dumps(str(folder))}, max_memory_store: 64MB }}",
        *(f"{user.upper()}_PASSWORD: {json.dumps(password_file(home, user).read_text().strip())}" for user in USERS),
        *more,
    ]
    home.write_private(folder / "local.conf", "\n".join(local) + "\n")
    command = [program("nats-server"), "-c", str(folder / "nats.conf")]
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder)}
    return Process(name, command, environment, home.log(name))


async def ready(ports: Ports) -> bool:
    """Whether the server greets."""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(LOOPBACK, ports.nats)
            greeting = await reader.readline()
            writer.close()
    except (OSError, TimeoutError):
        return False
    return greeting.startswith(b"INFO ")
