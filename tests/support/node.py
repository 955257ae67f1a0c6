"""Programs for Node that use libraries which we did not write, and talk with the test that runs them.

The libraries are those of the lock file, by their digests. They are kept below `.venv` until the lock file changes, so
that they are fetched once.
"""

import asyncio
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from infra.local.sign_in import Visitor
from infra.local.system import System

_ROOT: Final = Path(__file__).resolve().parent.parent.parent
PROGRAMS: Final = _ROOT / "tests" / "integration" / "interoperability" / "node"
_LEAST: Final = 20
"""The major version of Node that the libraries need."""
_SECONDS: Final = 60.0

Answers = Mapping[str, Callable[[Any], Awaitable[Any]]]
"""How the test answers what a program asks."""


async def _said(*command: str, cwd: Path | None = None) -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: {err.decode()}")
    return out.decode().strip()


async def missing() -> str:
    """Why no program for Node can be run here: there is none, or an older one, or no npm. Empty if one can be."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "no node and npm on this machine"
    version = await _said("node", "--version")
    if int(version.removeprefix("v").partition(".")[0]) < _LEAST:
        return f"node is {version}, and the libraries need {_LEAST} or later"
    return ""


async def installed(programs: Path = PROGRAMS) -> Path:
    """The folder with the libraries of these programs."""
    lock = programs / "package-lock.json"
    folder = _ROOT / ".venv" / f"node-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
    # The other process of a test run may be about to do the same.
    with (folder.parent / "node.lock").open("w") as lock_file:
        await asyncio.to_thread(fcntl.flock, lock_file, fcntl.LOCK_EX)
        if folder.exists():
            return folder
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            whole = Path(made) / "whole"
            whole.mkdir()
            for file in ("package.json", "package-lock.json"):
                shutil.copy(programs / file, whole)
            await _said("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", cwd=whole)
            whole.rename(folder)
    return folder


async def run(name: str, told: Mapping[str, Any], answers: Answers, ca: str = "") -> None:
    """Run a program; it is told something first. Raises `AssertionError` with its own words where it does not end well.

    Skips the test where none can be run.

    `ca`: the file of an authority that it trusts besides those that everybody knows.
    """
    if reason := await missing():
        pytest.skip(reason)
    libraries = await installed()
    with tempfile.TemporaryDirectory(dir=libraries) as folder:
        for file in PROGRAMS.glob("*.mjs"):
            shutil.copy(file, folder)
        process = await asyncio.create_subprocess_exec(
            *("node", str(Path(folder) / f"{name}.mjs")),
            env={"PATH": os.environ["PATH"], **({"NODE_EXTRA_CA_CERTS": ca} if ca else {})},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(_SECONDS):
                _, err = await asyncio.gather(_converse(process, told, answers), _read(process.stderr))
                status = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert status == 0, err


def told(system: System) -> dict[str, Any]:
    """What their developers know."""
    applications = {one["client_id"]: one for one in system.demo["applications"]}
    return {
        "issuer": system.ports.issuer,
        "api": f"{system.ports.origin}/api",
        "applications": applications,
        "initialAccessToken": system.demo["initial_access_token"],
    }


class Person:
    """Goes where an application sends him."""

    def __init__(self, visitor: Visitor) -> None:
        self._visitor = visitor

    async def visit(self, asked: list[str]) -> str:
        """Where that led back to; where it is to lead nowhere, only how the last page was answered."""
        address, until = asked
        if until:
            return await self._visitor.go(address, until=until)
        return str((await self._visitor.browser.get(address, follow_redirects=True)).status_code)


async def _read(stream: asyncio.StreamReader | None) -> str:
    return "" if stream is None else (await stream.read()).decode()


async def _converse(process: asyncio.subprocess.Process, told: Mapping[str, Any], answers: Answers) -> None:
    """Answer until it ends."""
    if process.stdin is None or process.stdout is None:
        raise TypeError("it has no pipes")
    while line := await process.stdout.readline():
        question = json.loads(line)
        answer = told if question["ask"] == "begin" else await answers[question["ask"]](question["with"])
        process.stdin.write(json.dumps(answer).encode() + b"\n")
        await process.stdin.drain()
