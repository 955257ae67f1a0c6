"""What is asked of the log when something is appended, and what it answers."""

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from shared.denials import DenialKind
from shared.errors import Kind, Refusal, Unavailable
from shared.ids import CommandId
from shared.log.event import Event, RowChange


class AsOf(Struct, frozen=True):
    """What was known when something was decided."""

    epoch: int
    """The epoch of the log then …"""
    positions: Mapping[str, int]
    """… and for each source up to which position of it that source's facts were known. A source that is not named
    counts as never heard of."""


class Fence(Struct, frozen=True):
    """Refuses an append that gives something (code, token, session) if one of its parties was denied meanwhile.

    A denial of a party, born of a fact of source `s` at a position past `as_of.positions[s]`, refuses the append. So
    does another epoch: positions of a branch of the log that was lost say nothing of the one that took its place.
    """

    as_of: AsOf
    parties: tuple[tuple[DenialKind, str], ...]


class Name(Struct, frozen=True):
    """A name that is taken for ever, as a keyed digest (`shared.ids.keyed_digest`)."""

    digest: bytes


class OnceKey(Struct, frozen=True):
    """Something that may be used once (a code, a `jti`). The expiry is part of the key: the same each time."""

    digest: bytes
    expires_at: datetime


class Context(Struct, frozen=True):
    """On whose behalf and in which course of events something is written; all are ids, never personal data."""

    actor: str
    """`user:<sub>`, `client:<client_id>` or `service:<name>`."""
    correlation_id: str
    command_id: CommandId
    causation_id: int | None = None
    """Position of the event that made this one necessary, if any."""


class Append(Struct, frozen=True):
    """The events of one command, all of one stream."""

    stream: str
    """`<category>-<generated id>`."""
    expected_version: int | None
    """Version of the stream that was decided on (0: does not exist). None: a stream of this single event, whose
    id was just generated; it is not looked up."""
    events: tuple[Event, ...]
    context: Context
    rows: tuple[RowChange, ...] = ()
    """What the service's own tables learn of it, in the same statement; `Stamp`s are filled in by the log."""
    fence: Fence | None = None
    names: tuple[Name, ...] = ()
    once: tuple[OnceKey, ...] = ()
    personal_key: bytes | None = None
    """Key of the person whose `Personal` fields the events carry."""

    def __repr__(self) -> str:
        return f"Append({self.stream!r}, {self.expected_version}, {[event.stored_as for event in self.events]})"


class Appended(Struct, frozen=True):
    """Where the events stand; the last one's position, version and time (all events of one append share the time)."""

    epoch: int
    position: int
    version: int
    recorded_at: datetime


class Head(Struct, frozen=True):
    """How far the log has come."""

    epoch: int
    position: int
    denial_number: int


class VersionConflict(Refusal):
    """The stream has moved since it was loaded: load and decide again."""

    def __init__(self, stream: str) -> None:
        super().__init__(Kind.CONFLICT, "version_conflict", f"{stream} was changed at the same time; try again")


class NameTaken(Refusal):
    """The name was used before; names are never reused."""

    def __init__(self) -> None:
        super().__init__(Kind.ALREADY_EXISTS, "name_taken", "the name is taken, and names are never reused")


class AlreadyUsed(Refusal):
    """The once-key was used before."""

    def __init__(self) -> None:
        super().__init__(Kind.PRECONDITION, "already_used", "it was used before, and can be used only once")


class Fenced(Refusal):
    """A party was denied by a fact of `source` at `position`, which the decision had not heard of yet."""

    def __init__(self, source: str, position: int) -> None:
        super().__init__(Kind.CONFLICT, "fenced", "one of the parties was denied meanwhile; try again")
        self.source = source
        self.position = position


class EpochOver(Refusal):
    """The log has begun another epoch since it was decided: decide again."""

    def __init__(self) -> None:
        super().__init__(Kind.CONFLICT, "epoch_over", "the log has begun another epoch meanwhile; try again")


class LogUnavailable(Unavailable):
    """PostgreSQL cannot be reached, or did not answer within the bound; nothing was acknowledged."""

    def __init__(self, message: str = "the log cannot be reached") -> None:
        super().__init__("log_unavailable", message)
