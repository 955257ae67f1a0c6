"""Steps: how tables came to be what they are, in order, each taken once in each database and never changed after.

A folder of steps has files `0001_tables.sql`, `0002_...sql`; each is one schema's. A step adds (tables, columns with a
default, indexes), so that programs of before it go on beside it. One that takes away what older programs use says so in
its first line, and is written when nobody runs those any more:

    -- oldest program: 3

means that only programs that know step 3 of this schema (they have the file) can work with what is left.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from shared.errors import Kind, Refusal

LOG_STEPS = Path(__file__).with_name("migrations")
"""The steps of the log's own tables."""
_FILE = re.compile(r"(\d{4})_[a-z0-9_]+\.sql", re.ASCII)
_OLDEST = re.compile(r"-- oldest program: ([1-9]\d*)", re.ASCII)
_MADE = """
    CREATE TABLE IF NOT EXISTS log.steps (
        schema name NOT NULL,
        number integer NOT NULL CHECK (number > 0),
        name text NOT NULL,
        digest bytea NOT NULL,              -- SHA-256 of the file
        oldest integer NOT NULL CHECK (oldest > 0),
        taken_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (schema, number)
    )"""


class StepsRefused(Refusal):
    """The steps of this program and those that the database has taken do not fit together; nothing was changed."""

    def __init__(self, message: str) -> None:
        super().__init__(Kind.PRECONDITION, "steps_do_not_fit", message)


@dataclass(frozen=True, slots=True)
class Step:
    """One change of a schema's tables."""

    number: int
    """From 1, without gaps."""
    name: str
    sql: str
    oldest: int = 1
    """Programs that know this step can work with what it made."""

    @property
    def digest(self) -> bytes:
        """What tells whether it is still what it was."""
        return hashlib.sha256(self.sql.encode()).digest()


@dataclass(frozen=True, slots=True)
class Taken:
    """A step that a database has taken."""

    number: int
    name: str
    digest: bytes
    oldest: int


def read_steps(folder: Path) -> tuple[Step, ...]:
    """The steps of a folder, in order; none if there is no folder.

    `ValueError` if a file is no step, or one is missing.
    """
    steps = tuple(_read(path) for path in sorted(folder.iterdir())) if folder.is_dir() else ()
    if [step.number for step in steps] != list(range(1, len(steps) + 1)):
        raise ValueError(f"the steps in {folder} are not numbered 1, 2, 3 and so on")
    return steps


def _read(path: Path) -> Step:
    named = _FILE.fullmatch(path.name)
    if named is None:
        raise ValueError(f"{path} is not named like a step: 0002_what_it_does.sql")
    sql = path.read_bytes().decode()
    stated = _OLDEST.fullmatch(sql.partition("\n")[0])
    number, oldest = int(named[1]), int(stated[1]) if stated is not None else 1
    if oldest > number:
        raise ValueError(f"{path} wants a program that knows a later step")
    return Step(number, path.stem, sql, oldest)


async def taken_steps(connection: asyncpg.Connection) -> dict[str, list[Taken]] | None:
    """What the database has taken, by schema; None if it is new, or of before there were steps."""
    if not await connection.fetchval("SELECT to_regclass('log.steps') IS NOT NULL"):
        return None
    taken: dict[str, list[Taken]] = {}
    for row in await connection.fetch("SELECT schema, number, name, digest, oldest FROM log.steps ORDER BY 1, 2"):
        taken.setdefault(row["schema"], []).append(Taken(row["number"], row["name"], row["digest"], row["oldest"]))
    return taken


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a program's steps come to in a database."""

    pending: Sequence[tuple[str, Step]]
    """Of which schema, and which."""
    ahead: Sequence[str]
    """Schemas of which the database has taken steps that this program does not know, and can work with all the same."""


def compare(known: Mapping[str, Sequence[Step]], taken: Mapping[str, Sequence[Taken]]) -> Outlook:
    """What there is to do; `StepsRefused` if a step was changed, or the database is none of this program's."""
    pending: list[tuple[str, Step]] = []
    ahead: list[str] = []
    for schema, steps in known.items():
        done = taken.get(schema, ())
        for step, old in zip(steps, done, strict=False):
            if (step.number, step.digest) != (old.number, old.digest):
                raise StepsRefused(
                    f"step {old.number} of {schema} ({old.name}) is not the one that this database has taken; a step"
                    " that was taken is never changed"
                )
        pending += [(schema, step) for step in steps[len(done) :]]
        if len(done) > len(steps):
            ahead.append(schema)
            if (oldest := max(old.oldest for old in done)) > len(steps):
                raise StepsRefused(too_new(schema, len(done), len(steps), oldest))
    if ahead and pending:
        raise StepsRefused(
            f"the database has taken steps of {', '.join(ahead)} that this program does not know, and lacks others:"
            " it was made by a program that went another way"
        )
    return Outlook(pending, ahead)


def too_new(schema: str, number: int, known: int, oldest: int) -> str:
    """What to say to a program that is too old."""
    return (
        f"this program is too old for the database: {schema} is at step {number}, which needs a program that knows step"
        f" {oldest}, and this one knows {known}"
    )


async def prepare(connection: asyncpg.Connection) -> None:
    """Make the table that steps are written down in."""
    await connection.execute(_MADE)


async def take(connection: asyncpg.Connection, schema: str, pending: Sequence[tuple[str, Step]]) -> None:
    """Take those of the pending steps that are of this schema, in the caller's transaction and as its role."""
    for step in (step for of, step in pending if of == schema):
        await connection.execute(step.sql)


async def write_down(connection: asyncpg.Connection, pending: Sequence[tuple[str, Step]]) -> None:
    """Remember that these steps were taken."""
    await connection.executemany(
        "INSERT INTO log.steps (schema, number, name, digest, oldest) VALUES ($1, $2, $3, $4, $5)",
        [(schema, step.number, step.name, step.digest, step.oldest) for schema, step in pending],
    )
