"""`infra/compose.yaml` played by processes, where there is no container engine.

What each service is told is what the file says, word by word: its command, its environment, and of the secrets and
volumes only those that it names. Translated are only the places: where a container has a folder or a host of its own,
here is a folder below one, and a port of this machine. PostgreSQL is the one from the wheel, on its Unix socket (it
was built without TLS); NATS and the door are the real programs with the real configurations.
"""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from infra.compose.prepare import NODES
from infra.local.caddy import program
from infra.local.ports import LOOPBACK, Ports
from infra.local.postgres import Postgres
from infra.local.process import Process
from infra.local.services import python_environment
from infra.local.tending import Part, Tending

INFRA = Path(__file__).resolve().parent.parent.parent / "infra"
_VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::-([^}]*))?\}")
_ADDRESS = re.compile(r"(?<![\w.-])([a-z0-9.-]+):(\d{4})(?!\d)")
SERVICES = ("registry", "identity", "token-issuer", "resource", "ledger")


def compose_file(environment: Mapping[str, str]) -> dict[str, Any]:
    """The file with its variables put in, as Compose does."""
    text = (INFRA / "compose.yaml").read_text()
    found: dict[str, Any] = yaml.safe_load(_VARIABLE.sub(lambda match: environment.get(match[1], match[2] or ""), text))
    return found


class Composed:
    """One deployment. `start` begins with the services, so whatever they need is not there yet."""

    def __init__(self, folder: Path, ports: Ports) -> None:
        self.folder = folder
        self.ports = ports
        self.origin = f"https://localhost:{ports.door}"
        self.secrets = folder / "secrets"
        self.prepared = folder / "prepared"
        self.file = compose_file(
            {"STAGEDOOR_HOST": "localhost", "STAGEDOOR_PORT": str(ports.door), "STAGEDOOR_DOOR_ADDRESS": LOOPBACK}
        )
        self.postgres = Postgres(folder / "postgres", fsync=False, settings=[f"hba_file={folder}/postgres/pg_hba.conf"])
        self.tending = Tending()
        self.parts: dict[str, Part] = {}
        # A volume is the folder that `prepare` fills, under whatever name others have it.
        self._volumes = {
            source: self.prepared / target.removeprefix("/prepared/")
            for source, target in self._mounts("prepare").items()
            if source.isidentifier() or "-" in source
        }

    # What the file says

    def _mounts(self, service: str) -> dict[str, str]:
        """Volumes and folders that a service has, and where."""
        found = {}
        for mount in self.file["services"][service].get("volumes", ()):
            if isinstance(mount, dict):
                found[mount["source"]] = mount["target"]
            else:
                source, target = mount.split(":")[:2]
                found[source] = target
        return found

    def _shown(self, service: str) -> Path:
        """The folder with the secrets that the file gives to a service, and no others."""
        folder = self.folder / "run" / service / "secrets"
        folder.mkdir(parents=True, exist_ok=True)
        for name in self.file["services"][service].get("secrets", ()):
            source = INFRA / self.file["secrets"][name]["file"]
            shutil.copyfile(self.secrets / source.name, folder / name)
        return folder

    def _there(self, service: str, text: str) -> str:
        """A text of the file as it is true on this machine."""
        for source, target in self._mounts(service).items():
            here = INFRA / source if source.startswith(".") else self._volumes.get(source, self.folder / source)
            here = self.secrets if target == "/secrets" else here
            text = re.sub(rf"(?<![\w/]){re.escape(target)}(?=/|$|\")", str(here), text)
        text = text.replace("/run/secrets", str(self._shown(service)))
        if text.startswith("postgresql://"):
            parts = urlsplit(text)
            assert "sslmode=verify-full" in parts.query
            assert parts.username is not None
            return self.postgres.dsn(parts.username, parts.path.removeprefix("/"))
        return _ADDRESS.sub(lambda match: self._address(service, match[1], int(match[2])), text)

    def _address(self, service: str, host: str, port: int) -> str:
        local = host in {"0.0.0.0", LOOPBACK}  # noqa: S104  (it is what the file says, not what is listened on)
        here = LOOPBACK if local else "localhost"
        return f"{here}:{self._port(service if local else host, port)}"

    def _port(self, host: str, port: int) -> int:
        base = self.ports.base
        if host in NODES:
            return base + {4222: 22, 6222: 32, 8222: 52}[port] + NODES.index(host)
        if port == self.ports.door:
            return port
        return base + (1000 + port - 9400 if port > 9000 else port - 8400)

    def environment(self, service: str) -> dict[str, str]:
        """What the file tells a service, and where this machine has its programs."""
        inherited = {name: value for name, value in python_environment().items() if not name.startswith("STAGEDOOR_")}
        told = self.file["services"][service].get("environment", {})
        there = {name: self._there(service, str(value)) for name, value in told.items()}
        return {**inherited, "STAGEDOOR_RENEWAL_SECONDS": "2", **there}

    def command(self, service: str) -> list[str]:
        """What the file has a service run."""
        first, *rest = (self._there(service, word) for word in self.file["services"][service]["command"])
        if first == "python":
            return [sys.executable, *rest]
        if first == "stagedoor":
            return [sys.executable, "-P", "-m", "services.cli.main", *rest]
        return [program(first), *rest] if first == "caddy" else [program("nats-server"), first, *rest]

    # What is done with it

    async def run(self, service: str) -> tuple[int | None, str]:
        """Run one that ends; its exit status and what it said."""
        process = await asyncio.create_subprocess_exec(
            *self.command(service),
            env=self.environment(service),
            cwd=self.folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(60):
            out, _ = await process.communicate()
        return process.returncode, out.decode()

    async def make(self) -> None:
        """Secrets, certificates and configurations."""
        self.folder.mkdir(exist_ok=True)
        script = INFRA / "compose" / "secrets.sh"
        await asyncio.to_thread(subprocess.run, [str(script), str(self.secrets)], check=True)
        words = self.file["services"]["prepare"]["command"]
        assert words[-1] == "--own"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *words[1:-3], str(self.secrets), str(self.prepared)),
            env={**python_environment(), **self.file["services"]["prepare"]["environment"]},
        )
        assert await process.wait() == 0
        for node in NODES:
            here = self.folder / "run" / node
            here.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.prepared / node / "nats.conf", here / "nats.conf")
            text = (self.prepared / node / "local.conf").read_text()
            routes = re.sub(r"@(nats-\d):6222", lambda match: f"@localhost:{self._port(match[1], 6222)}", text)
            (here / "local.conf").write_text(self._there(node, routes))
        (self.folder / "postgres").mkdir(exist_ok=True)
        shutil.copyfile(self.secrets / "postgres.superuser", self.folder / "postgres" / "password")
        shutil.copyfile(INFRA / "postgres" / "pg_hba.conf", self.folder / "postgres" / "pg_hba.conf")

    async def start(self) -> None:
        """Start everything, what others need last, and two migrations at once."""
        for service in (*SERVICES, "console", "readiness", "door"):
            await self.keep(self.process(service))
        for node in NODES:
            await self.keep(self.process(node))
        await self.keep(self.postgres)
        for status, said in await asyncio.gather(self.run("migrate"), self.run("migrate")):
            assert status == 0, said

    def process(self, service: str) -> Process:
        """A service, not yet started."""
        folder = self.folder / "run" / service
        folder.mkdir(parents=True, exist_ok=True)
        command = self.command(service)
        if service in NODES:
            command = [command[0], "--config", str(folder / "nats.conf")]
        return Process(service, command, self.environment(service), self.folder / f"{service}.log")

    async def keep(self, part: Part) -> None:
        """Start a part, and keep it running, as its `restart: unless-stopped` does."""
        self.parts[part.name] = part
        self.tending.want(part)
        await part.start()

    async def stop(self) -> None:
        """Stop everything."""
        for names in (("door", "readiness"), ("console", *SERVICES), NODES, ("postgres",)):
            parts = [self.parts[name] for name in names if name in self.parts]
            self.tending.leave(parts)
            await asyncio.gather(*(part.stop() for part in parts))

    def operator(self) -> dict[str, str]:
        """The environment of the `stagedoor` command, with the profile that was prepared."""
        profile = self.folder / "profile.toml"
        if not profile.exists():
            text = (self.prepared / "operator" / "profile.toml").read_text()
            profile.write_text(_ADDRESS.sub(lambda match: self._address("", match[1], int(match[2])), text))
            profile.chmod(0o600)
        told = self.file["services"]["operator"]["environment"]
        assert set(told) == {"STAGEDOOR_PROFILE", "SSL_CERT_FILE"}
        trust = self._there("operator", told["SSL_CERT_FILE"])
        quiet = dict.fromkeys(("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"), "")
        known = {"STAGEDOOR_PROFILE": str(profile), "SSL_CERT_FILE": trust}
        return {**os.environ, **python_environment(), **quiet, **known}


async def stagedoor(environment: Mapping[str, str], *arguments: str, given: str = "") -> tuple[int | None, str, str]:
    """The command: status, output, and what it says beside it."""
    process = await start_stagedoor(environment, arguments)
    async with asyncio.timeout(60):
        out, err = await process.communicate(given.encode())
    return process.returncode, out.decode(), err.decode()


async def start_stagedoor(environment: Mapping[str, str], arguments: Sequence[str]) -> asyncio.subprocess.Process:
    """The command, under way."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "services.cli.main", *arguments),
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
