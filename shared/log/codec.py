"""Between events and rows of the log. Keys of persons are fetched only for events that carry personal data."""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, Protocol, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel

from shared.log.event import Catalogue, Event, Personal, Recorded


class PersonalKeys(Protocol):
    """Whoever has the keys of persons."""

    async def keys(self, subs: Collection[str]) -> Mapping[str, bytes]:
        """The keys of these persons; those who were erased are missing."""


class UnreadableEvent(Exception):  # noqa: N818  (a state of the log that stops whoever meets it)
    """A row is not an event that this process knows; it is never skipped."""

    def __init__(self, position: int, event_type: str) -> None:
        super().__init__(f"the event at position {position} cannot be read as {event_type}")
        self.position = position
        self.event_type = event_type


@cache
def has_personal_fields(model: type[BaseModel]) -> bool:
    """Whether a `Personal` can stand anywhere in an event of this class."""
    return any(_can_hold_personal(field.annotation) for field in model.model_fields.values())


def _can_hold_personal(annotation: Any) -> bool:
    if annotation is Personal or get_origin(annotation) is Personal:
        return True
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return has_personal_fields(annotation)
    return any(_can_hold_personal(argument) for argument in get_args(annotation))


async def decode(rows: Sequence[Any], catalogue: Catalogue, personal_keys: PersonalKeys | None) -> list[Recorded]:
    """The events of database records. Raises `UnreadableEvent`."""
    recorded = [_decode(row, catalogue, None) for row in rows]
    if personal_keys is None:
        return recorded
    subjects = {
        number: subject
        for number, one in enumerate(recorded)
        if has_personal_fields(type(one.event)) and (subject := one.event.data_subject()) is not None
    }
    if subjects:
        keys = await personal_keys.keys(set(subjects.values()))
        for number, subject in subjects.items():
            if subject in keys:
                recorded[number] = _decode(rows[number], catalogue, keys[subject])
    return recorded


def _decode(record: Any, catalogue: Catalogue, key: bytes | None) -> Recorded:
    event_type: str = record["type"]
    if event_type not in catalogue:
        raise UnreadableEvent(record["position"], event_type)
    try:
        event: Event = catalogue[event_type].from_json(record["data"], key)
    except ValueError:  # its text may quote personal data
        raise UnreadableEvent(record["position"], event_type) from None
    return Recorded(
        event=event,
        stream=record["stream"],
        version=record["version"],
        position=record["position"],
        epoch=record["epoch"],
        recorded_at=record["recorded_at"],
        actor=record["actor"],
        command_id=UUID(int=record["command_id"].int),
        correlation_id=record["correlation_id"],
        causation_id=record["causation_id"],
    )
