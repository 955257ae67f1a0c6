"""Commands on their way to the log: encoded one by one, sent in groups."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import Struct

from shared.errors import Kind, Refusal
from shared.ids import random_bytes
from shared.log.append import Append, Appended, AsOf
from shared.projector import PlannedChange, batches

MOST_EVENT_BYTES: Final = 262_144
"""Of the data of one event, as `log.events` has it."""
MOST_EVENTS: Final = 1024
"""Of one command, and of one group."""
MOST_BYTES: Final = 1_000_000
"""Of one command with its rows, and of one group."""
_SALT_BYTES = 16
_OVERHEAD_BYTES = 512
"""About what a command weighs without its events and rows."""


class TooLarge(Refusal):
    """What would have to be recorded is larger than the log takes; nothing was sent to it."""

    def __init__(self, what: str) -> None:
        super().__init__(Kind.INVALID, "too_large", f"this is too large to be recorded: {what}")


class Encoded(Struct, frozen=True):
    """A command as it is sent, the same however often that is."""

    append: Append
    texts: tuple[str, ...]
    """The events' JSON."""
    salts: tuple[bytes, ...]
    changes: tuple[PlannedChange, ...]
    size: int
    """Bytes, about."""


def encode(append: Append, changes: Iterable[PlannedChange]) -> Encoded:
    """Write the events down.

    Raises `TooLarge`, or `ValueError` for what cannot be written (text that is not Unicode, for one).
    """
    if not append.events:
        raise ValueError("a command without events is nothing to append")
    if len(append.events) > MOST_EVENTS:
        raise TooLarge(f"{len(append.events)} events at once, and {MOST_EVENTS} are the most")
    if append.expected_version is None and len(append.events) != 1:
        raise ValueError("a stream without versions has a single event")
    texts, salts, size = [], [], _OVERHEAD_BYTES
    for event in append.events:
        text = event.to_json(append.personal_key)
        texts.append(text)
        salts.append(random_bytes(_SALT_BYTES))
        length = len(text.encode())
        if length > MOST_EVENT_BYTES:
            raise TooLarge(f"an event of {length} bytes ({event.stored_as}), and {MOST_EVENT_BYTES} are the most")
        size += length
    planned = tuple(changes)
    for change in planned:
        size += len(change.row.encode())
    if size > MOST_BYTES:
        raise TooLarge(f"{size} bytes at once, and {MOST_BYTES} are the most")
    return Encoded(append, tuple(texts), tuple(salts), planned, size)


@dataclass(slots=True, eq=False)
class Pending:
    """A command whose caller waits."""

    encoded: Encoded
    answer: "asyncio.Future[Appended]"
    since: float
    """Monotonic seconds at which it came."""


class _Columns(Struct):
    """The arguments of `log.append`: lists that run in parallel."""

    streams: list[str] = []
    expected: list[int | None] = []
    commands: list[Any] = []
    actors: list[str] = []
    correlations: list[str] = []
    causations: list[int | None] = []
    as_of: list[str | None] = []
    event_of: list[int] = []
    types: list[str] = []
    data: list[str] = []
    salts: list[str] = []
    denial_of: list[int] = []
    denial_kinds: list[str] = []
    denial_ids: list[str] = []
    denial_rules: list[str] = []
    denial_excepts: list[str | None] = []
    denial_untils: list[Any] = []
    name_of: list[int] = []
    names: list[str] = []
    once_of: list[int] = []
    once: list[str] = []
    once_expire: list[Any] = []
    party_of: list[int] = []
    party_kinds: list[str] = []
    party_ids: list[str] = []

    def add(self, number: int, encoded: Encoded) -> None:
        """One more command."""
        append = encoded.append
        context = append.context
        self.streams.append(append.stream)
        self.expected.append(append.expected_version)
        self.commands.append(context.command_id)
        self.actors.append(context.actor)
        self.correlations.append(context.correlation_id)
        self.causations.append(context.causation_id)
        self.as_of.append(None if append.fence is None else _as_of(append.fence.as_of))
        for event, text, salt in zip(append.events, encoded.texts, encoded.salts, strict=True):
            self.event_of.append(number)
            self.types.append(event.stored_as)
            self.data.append(text)
            self.salts.append(_bytea(salt))
            for denial in event.denies():
                self.denial_of.append(len(self.types))
                self.denial_kinds.append(denial.kind.value)
                self.denial_ids.append(denial.id)
                self.denial_rules.append(denial.rule.value)
                self.denial_excepts.append(denial.except_id)
                self.denial_untils.append(denial.until)
        for name in append.names:
            self.name_of.append(number)
            self.names.append(_bytea(name.digest))
        for key in append.once:
            self.once_of.append(number)
            self.once.append(_bytea(key.digest))
            self.once_expire.append(key.expires_at)
        if append.fence is not None:
            for kind, party in append.fence.parties:
                self.party_of.append(number)
                self.party_kinds.append(kind)
                self.party_ids.append(party)


def _as_of(known: AsOf) -> str:
    """As one JSON object: no source is named `epoch`."""
    return msgspec.json.encode({**known.positions, "epoch": known.epoch}).decode()


def _bytea(raw: bytes) -> str:
    """Bytes as PostgreSQL reads them."""
    return f"\\x{raw.hex()}"


STATEMENT = """
    SELECT a.*, current_setting('stagedoor.gate_wait', true) AS gate_wait
      FROM log.append_with_rows($1, $2, $3) a"""
"""The seconds at the gate are read after the append, in the same statement; null where an older log does not tell."""


def arguments(group: Sequence[Pending], *, resend: bool) -> tuple[str, bool, str | None]:
    """The arguments of `STATEMENT` for a group; `resend` if it was sent before and its outcome is not known."""
    columns = _Columns()
    for number, pending in enumerate(group, start=1):
        columns.add(number, pending.encoded)
    rows = batches([pending.encoded.changes for pending in group])
    return msgspec.json.encode(columns).decode(), resend, rows
