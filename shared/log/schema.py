"""What a program needs of the tables: every step that it knows, and none that is not for it any more."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import asyncpg

from shared.log.append import LogUnavailable
from shared.log.log import Log
from shared.log.steps import LOG_STEPS, StepsRefused, read_steps, too_new

_PAUSE_SECONDS = 1.0
_NEVER_MIGRATED = (
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.UndefinedFunctionError,
    asyncpg.InsufficientPrivilegeError,
)
"""How it shows that there is no database yet, nothing in it, or only what was there before there were steps."""


class Schema:
    """The tables of one service and of the log, as this program needs them."""

    def __init__(self, log: Log, service: str, steps: Path) -> None:
        self._log = log
        self._known = {"log": len(read_steps(LOG_STEPS)), service: len(read_steps(steps))}
        self._looked = False

    @classmethod
    async def of(cls, log: Log, service: str, steps: Path) -> "Schema":
        """Look at them before anything is done; `steps` is the folder with the steps of the service's own tables.

        Raises `StepsRefused` if this program cannot work with them. If they are out of reach, `run` looks again.
        """
        schema = cls(log, service, steps)
        await schema._look()
        return schema

    async def _look(self) -> None:
        try:
            rows = await self._log.schema_steps()
        except LogUnavailable:
            return
        except _NEVER_MIGRATED:
            rows = {}
        check(self._known, rows)
        self._looked = True

    async def run(self) -> None:
        """Go on until they were looked at; raises `StepsRefused` as `of` does."""
        while not self._looked:
            await asyncio.sleep(_PAUSE_SECONDS)
            await self._look()


def check(known: Mapping[str, int], taken: Mapping[str, tuple[int, int]]) -> None:
    """Hold the last steps that a program knows against (the last one taken, the oldest that has to be known).

    Raises `StepsRefused`, with a line for the operator.
    """
    for schema, needed in known.items():
        number, oldest = taken.get(schema, (0, 1))
        if number < needed:
            raise StepsRefused(
                f"the database is too old for this program: {schema} is at step {number}, and step {needed} is needed;"
                " the migration has to be run first"
            )
        if needed and oldest > needed:
            raise StepsRefused(too_new(schema, number, needed, oldest))
