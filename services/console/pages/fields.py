"""Forms with many fields: each is described once, shown from a message, and read back into what a message takes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from shared.errors import Refusal
from shared.http.errors import invalid_request
from shared.http.forms import Params


class Shape(StrEnum):
    """What a field holds, and how it is typed."""

    TEXT = "text"
    AREA = "area"
    LINES = "lines"
    """A list, one a line."""
    WORDS = "words"
    """A list, with spaces between."""
    NUMBER = "number"
    CHOICE = "choice"
    CHOICES = "choices"
    FLAG = "flag"
    PASSWORD = "password"


@dataclass(frozen=True, slots=True)
class Field:
    """One field."""

    name: str
    label: str
    shape: Shape = Shape.TEXT
    options: Sequence[str] = ()
    hint: str = ""
    required: bool = False

    def of(self, message: Any) -> Any:
        """Its value in a message."""
        value = getattr(message, self.name)
        return list(value) if self.shape in _LISTS else value

    def read(self, form: Params) -> Any:  # noqa: PLR0911  (one answer for each shape)
        """Its value in a form. Raises `Refusal` for what no such field can hold."""
        text = form.get(self.name) or ""
        match self.shape:
            case Shape.LINES:
                return [line.strip() for line in text.splitlines() if line.strip()]
            case Shape.WORDS:
                return text.split()
            case Shape.CHOICES:
                return [option for option in self.options if f"{self.name}:{option}" in form]
            case Shape.FLAG:
                return self.name in form
            case Shape.NUMBER:
                return self._number(text)
            case Shape.CHOICE if text and text not in self.options:
                raise invalid_request(f"{self.label} is none of those that can be chosen")
            case Shape.PASSWORD:
                return text
            case _:
                return text.strip().replace("\r\n", "\n")

    def _number(self, text: str) -> int:
        if not text.strip():
            return 0
        if not (text.strip().isascii() and text.strip().isdigit() and len(text.strip()) <= 9):
            raise invalid_request(f"{self.label} is a whole number")
        return int(text)

    def shown(self, value: Any) -> Mapping[str, Any]:
        """For the page."""
        text = value
        if self.shape is Shape.LINES:
            text = "\n".join(value)
        elif self.shape is Shape.WORDS:
            text = " ".join(value)
        elif self.shape is Shape.NUMBER:
            text = value or ""
        elif self.shape is Shape.PASSWORD:
            text = ""
        return {
            "name": self.name,
            "label": self.label,
            "shape": self.shape.value,
            "options": self.options,
            "hint": self.hint,
            "required": self.required,
            "value": text,
        }


_LISTS = frozenset({Shape.LINES, Shape.WORDS, Shape.CHOICES})


def empty(field: Field) -> Any:
    """What a field holds before anybody has typed."""
    if field.shape in _LISTS:
        return []
    return {Shape.FLAG: False, Shape.NUMBER: 0}.get(field.shape, "")


def read(fields: Iterable[Field], form: Params) -> dict[str, Any]:
    """All values of a form. Raises `Refusal`."""
    return {field.name: field.read(form) for field in fields}


def shown(fields: Iterable[Field], values: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """All fields for a page, with these values."""
    return [field.shown(values[field.name]) for field in fields]


def typed(fields: Iterable[Field], form: Params) -> dict[str, Any]:
    """What was typed, for the page that is shown once more: what cannot be read is left empty."""
    found = {}
    for field in fields:
        try:
            found[field.name] = field.read(form)
        except Refusal:
            found[field.name] = empty(field)
    return found
