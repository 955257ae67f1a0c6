"""Golden samples: for every stored event a text as it may stand in a log for ever.

tests/golden/<source>/<Name>.json is the first one of an event, <Name>.v2.json the next, and so on. They are never
changed: what was stored once has to be read always. Personal data in them is under `KEY`.

python -m tests.support.golden      writes a sample for each event that has none, and one more for each event that is
                                    not written any more as its last sample is
"""

import types
import typing
from datetime import UTC, date, datetime
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel

from infra.migrate import EVENTS
from shared.log.event import Catalogue, Event, Personal

FOLDER = Path(__file__).resolve().parent.parent / "golden"
CATALOGUE = Catalogue.of(*EVENTS.values())
KEY = bytes(range(32))
"""Of the person in the samples."""
M = TypeVar("M", bound=BaseModel)
_IDS = {
    "sub",
    "sid",
    "passkey_id",
    "gid",
    "jti",
    "kid",
    "client_id",
    "secret_id",
    "resource_id",
    "tour_id",
    "merchandise_id",
}


def files_of(event: type[Event], folder: Path = FOLDER) -> list[Path]:
    """The samples of an event, the oldest first; those without a gap in their numbers."""
    found: list[Path] = []
    while (path := file_of(event, len(found) + 1, folder)).exists():
        found.append(path)
    return found


def file_of(event: type[Event], number: int, folder: Path = FOLDER) -> Path:
    """Where the sample of this number is, or would be."""
    source, _, name = event.stored_as.partition(".")
    return folder / source / (f"{name}.json" if number == 1 else f"{name}.v{number}.json")


def is_written_so(event: type[Event], text: str) -> bool:
    """Whether an event that was read from this text is written as the same bytes."""
    try:
        return event.from_json(text, KEY).to_json(KEY) == text
    except ValueError:
        return False


def sample(event: type[Event]) -> str:
    """A text in which every member has a value; ids are the same in all events, other texts are not."""
    return _model(event, event.__name__).to_json(KEY)


def _model(model: type[M], of: str) -> M:
    return model(**{name: _value(name, field.annotation, of) for name, field in model.model_fields.items()})


def _value(name: str, annotation: Any, of: str) -> Any:  # noqa: PLR0911  (one for each kind of type)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in {types.UnionType, typing.Union}:
        (present,) = (argument for argument in arguments if argument is not type(None))
        return _value(name, present, of)
    if origin is Personal:
        return Personal(_value(name, arguments[0], of))
    if origin is tuple:
        return tuple(_value(f"{which} {name}", arguments[0], of) for which in ("one", "other"))
    if origin is dict:
        return {"one": "value", "other": "value"}
    if not isinstance(annotation, type):
        raise TypeError(f"write a sample with {name} by hand")
    if issubclass(annotation, Enum):
        return list(annotation)[0 if name.startswith("one") else -1]
    if issubclass(annotation, BaseModel):
        return _model(annotation, of)
    simple: dict[type, Any] = {
        bool: True,
        int: 42,
        str: f"a-{name}" if name in _IDS else f"{name} of “Ünïcode” {of}",
        datetime: datetime(1986, 7, 12, 19, 30, 0, 123456, UTC),
        date: date(1986, 7, 12),
    }
    return simple[annotation]


def write(catalogue: Catalogue = CATALOGUE, folder: Path = FOLDER) -> list[Path]:
    """Write the samples that are missing; answers which."""
    written = []
    for event in catalogue:
        found = files_of(event, folder)
        if found and is_written_so(event, found[-1].read_text()):
            continue
        path = file_of(event, len(found) + 1, folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(sample(event))
        written.append(path)
    return written


if __name__ == "__main__":
    for one in write():
        print(one.relative_to(FOLDER))
