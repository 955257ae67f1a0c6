"""Events: the facts, their permanent names, and how they are written down.

An event's JSON text is canonical (sorted keys, no white space), so that its digest can be computed again by
anyone. Personal data never stands in it in the clear: a `Personal` field is written as ciphertext under the key
of the person (`data_subject`), and destroying that key erases it without touching the log.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from os import urandom
from typing import Any, ClassVar, Generic, Self, TypeVar
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from shared.denials import Denial

T = TypeVar("T")

_SEALED = "p1."
"""Version mark of the ciphertext format: base64url(nonce of 12 bytes, then AES-256-GCM of the JSON value)."""


SHAPE = "$shape"
"""Member of a stored event that says which shape it has; the first shape does not say it. No field can be called so."""

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""Pure: from the members of one shape to those of the next. It sees personal data as ciphertext, so it can move a
`Personal` member and not look into it."""


class Retention(StrEnum):
    """How long the log keeps the data of an event; the partition follows from it."""

    LASTING = "lasting"
    EXPIRING = "expiring"
    """Exported, reduced to its hash and dropped when nothing that it began can still be alive."""


class Personal(Generic[T]):
    """A value about a person: in the clear in memory, ciphertext in the log.

    `reveal()` is None where the key is gone (erased) or is not this service's to have.
    """

    __slots__ = ("_plain", "_sealed")

    def __init__(self, plain: T | None, *, sealed: str | None = None) -> None:
        self._plain = plain
        self._sealed = sealed

    def reveal(self) -> T | None:
        """The value, or None where it cannot be read."""
        return self._plain

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Personal) and (self._plain, self._sealed) == (other._plain, other._sealed)

    def __hash__(self) -> int:
        return hash((Personal, self._sealed))

    def __repr__(self) -> str:
        return "Personal(…)"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            cls._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(
                cls._serialize, info_arg=True, when_used="always"
            ),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^p1\.", "description": "Personal: ciphertext under the person's key."}

    @classmethod
    def _validate(cls, value: object, info: ValidationInfo) -> "Personal[Any]":
        if isinstance(value, Personal):
            return value
        if not isinstance(value, str) or not value.startswith(_SEALED):
            raise ValueError("personal data is stored as ciphertext only")
        key = (info.context or {}).get("key")
        if key is None:
            return cls(None, sealed=value)
        raw = urlsafe_b64decode(value.removeprefix(_SEALED))
        try:
            plain = json.loads(AESGCM(key).decrypt(raw[:12], raw[12:], _SEALED.encode()))
        except InvalidTag as wrong_key:
            raise ValueError("personal data does not open with this person's key") from wrong_key
        return cls(plain, sealed=value)

    def _serialize(self, info: Any) -> str:
        if self._sealed is not None:
            return self._sealed
        key = (info.context or {}).get("key")
        if key is None:
            raise ValueError("personal data is written under its person's key, and none was given")
        nonce = urandom(12)
        text = json.dumps(self._plain, ensure_ascii=False).encode()
        self._sealed = _SEALED + urlsafe_b64encode(nonce + AESGCM(key).encrypt(nonce, text, _SEALED.encode())).decode()
        return self._sealed


class Event(BaseModel):
    """A fact. Subclasses state a permanent stored name: `class UserDisabled(Event, stored_as="identity.UserDisabled")`.

    The part before the dot is the source: the service that owns the fact. A changed meaning is a new name. The same
    meaning in another shape is an upcaster more: see `docs/events.md`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    stored_as: ClassVar[str] = ""
    source: ClassVar[str] = ""
    retention: ClassVar[Retention] = Retention.LASTING
    denial_kinds: ClassVar[frozenset[str]] = frozenset()
    """The kinds that `denies` can answer; the log refuses any other for this type."""
    upcasters: ClassVar[tuple[Upcaster, ...]] = ()
    """How stored events of older shapes are read: the first one leads from shape 1 to shape 2, the last one to the
    present shape. They are only ever added to, at the end."""

    @classmethod
    def __init_subclass__(cls, *, stored_as: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if stored_as:
            cls.stored_as = stored_as
            cls.source = stored_as.partition(".")[0]

    def denies(self) -> tuple[Denial, ...]:
        """What this fact denies or lifts, from its own data alone."""
        return ()

    def data_subject(self) -> str | None:
        """Whose key the `Personal` fields are written under; None where there are none."""
        return None

    @classmethod
    def shape(cls) -> int:
        """Number of the shape that is written now."""
        return len(cls.upcasters) + 1

    def to_json(self, personal_key: bytes | None = None) -> str:
        """The canonical text that is stored and hashed."""
        value = self.model_dump(mode="json", context=None if personal_key is None else {"key": personal_key})
        if self.upcasters:
            value[SHAPE] = self.shape()
        return msgspec.json.encode(value, order="deterministic").decode()

    @classmethod
    def from_json(cls, text: str | bytes, personal_key: bytes | None = None) -> Self:
        """Read a stored event; strict, so that a row nobody wrote this way is an error and not a guess.

        An older shape is brought to the present one in memory; the stored text stays what was hashed. Raises
        `ValueError`, for a shape from the future too.
        """
        if cls.upcasters:
            text = cls._present(text)
        return cls.model_validate_json(text, context={"key": personal_key})

    @classmethod
    def _present(cls, text: str | bytes) -> str:
        """The same event in the present shape, without the member that says so."""
        members = json.loads(text)
        if not isinstance(members, dict):
            raise ValueError("a stored event is a JSON object")  # noqa: TRY004  (the text is wrong, not the caller)
        least = 2 if SHAPE in members else 1
        shape = members.pop(SHAPE, 1)
        if type(shape) is not int or not least <= shape <= cls.shape():
            raise ValueError(f"{cls.stored_as} has no such shape")
        for upcast in cls.upcasters[shape - 1 :]:
            try:
                members = upcast(members)
            except (LookupError, TypeError, AttributeError):  # what it says may quote the event
                raise ValueError(f"an event does not have the shape that it states: {cls.stored_as}") from None
        return json.dumps(members, ensure_ascii=False)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        found = handler(schema)
        if cls.upcasters:
            stated = handler.resolve_ref_schema(found)
            stated["properties"] = {SHAPE: {"const": cls.shape(), "type": "integer"}, **stated.get("properties", {})}
            stated["required"] = [SHAPE, *stated.get("required", [])]
        return found


class Catalogue:
    """The event classes that a process knows, by stored name."""

    def __init__(self, *classes: type[Event]) -> None:
        self._classes: dict[str, type[Event]] = {}
        for event_class in classes:
            if not event_class.stored_as:
                raise TypeError(f"{event_class.__qualname__} has no stored name")
            if event_class.stored_as in self._classes:
                raise TypeError(f"two event classes are stored as {event_class.stored_as}")
            self._classes[event_class.stored_as] = event_class

    @classmethod
    def of(cls, *modules: object) -> "Catalogue":
        """All event classes with a stored name that these modules define."""
        found = {
            value.stored_as: value
            for module in modules
            for value in vars(module).values()
            if isinstance(value, type) and issubclass(value, Event) and value.stored_as
        }
        return cls(*found.values())

    def __iter__(self) -> Any:
        return iter(self._classes.values())

    def __contains__(self, name: object) -> bool:
        return name in self._classes

    def __getitem__(self, name: str) -> type[Event]:
        return self._classes[name]


@dataclass(frozen=True, slots=True)
class Stamp:
    """Stands in a row change for what only the append will know."""

    value: str
    """As the append is told."""

    POSITION: ClassVar["Stamp"]
    """Of the last event of the command."""
    EPOCH: ClassVar["Stamp"]
    RECORDED_AT: ClassVar["Stamp"]

    @classmethod
    def position(cls, later: int) -> "Stamp":
        """The position of an event that is followed by so many of the same command: theirs come one after the other."""
        return cls(f"position-{later}") if later else cls.POSITION


Stamp.POSITION = Stamp("position")
Stamp.EPOCH = Stamp("epoch")
Stamp.RECORDED_AT = Stamp("recorded_at")


class Recorded(Struct, frozen=True):
    """An event in its place in the log.

    While it is being appended, `position`, `epoch` and `recorded_at` are `Stamp`s: `project` may put them into
    a row, never compute with them.
    """

    event: Event
    stream: str
    version: int
    """1 for the first event of its stream."""
    position: int | Stamp
    epoch: int | Stamp
    recorded_at: datetime | Stamp
    actor: str
    command_id: UUID
    correlation_id: str
    causation_id: int | None = None
    """Position of the event that made this one necessary, if any."""


RowValue = str | int | float | bool | None | bytes | datetime | list[Any] | Mapping[str, Any] | Stamp


@dataclass(frozen=True, slots=True)
class Put:
    """Write a whole row, replacing one with the same primary key."""

    table: str
    row: Mapping[str, RowValue]


@dataclass(frozen=True, slots=True)
class Patch:
    """Set columns of the rows that match `where` (equality on every column named); none matching is no error."""

    table: str
    where: Mapping[str, RowValue]
    values: Mapping[str, RowValue]


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove the rows that match `where`."""

    table: str
    where: Mapping[str, RowValue]


RowChange = Put | Patch | Delete
"""One change to the tables of a service's own schema."""
