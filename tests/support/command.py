"""The `stagedoor` command, as Brian would type it."""

import asyncio
import json
import sys
from typing import Any

from infra.local.services import python_environment
from infra.local.system import System


class CommandRefused(Exception):  # noqa: N818  (a refusal is an answer)
    """The command ended with another status than 0."""

    def __init__(self, arguments: tuple[str, ...], status: int | None, reason: str) -> None:
        super().__init__(f"stagedoor {' '.join(arguments)}: {reason}")
        self.status = status
        self.reason = reason


async def stagedoor(system: System, *arguments: str) -> list[dict[str, Any]]:
    """What it answers with `--json`, line by line; with the profile that the system left for Brian."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.cli.main", *arguments, "--json"),
        env={**python_environment(), "STAGEDOOR_HOME": str(system.home.path)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    if process.returncode:
        raise CommandRefused(arguments, process.returncode, err.decode().strip())
    return [json.loads(line) for line in out.decode().splitlines() if line.strip()]
