"""What the command prints: calm tables for people, or JSON for programs. Errors are one line on standard error."""

import asyncio
import json
import os
import sys
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from datetime import UTC
from typing import Annotated, Any

import typer
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shared.errors import Refusal

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document (one a line where it streams).")]


def run(work: Coroutine[Any, Any, None]) -> None:
    """Do the work of a command: exit status 0 done, 1 refused with one line that says why."""
    try:
        asyncio.run(work)
    except Refusal as refusal:
        print(f"stagedoor: {cell(refusal.message)} ({refusal.code})", file=sys.stderr)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BrokenPipeError:
        # Whoever read the output has seen enough. Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None


def plain(message: Message) -> dict[str, Any]:
    """A message as JSON has it: names as in the protocol, whole numbers as numbers, times in RFC 3339, all fields."""
    found: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.is_repeated:
            found[field.name] = [_value(one) for one in value]
        elif field.message_type is not None:
            found[field.name] = _value(value) if message.HasField(field.name) else None
        elif field.has_presence and not message.HasField(field.name):
            found[field.name] = None
        else:
            found[field.name] = _value(value)
    return found


def _value(value: Any) -> Any:
    if isinstance(value, Timestamp):
        return when(value)
    if isinstance(value, Message):
        return plain(value)
    return value.hex() if isinstance(value, bytes) else value


def when(at: Timestamp) -> str:
    """A moment, in UTC."""
    return at.ToDatetime(tzinfo=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def document(value: object) -> None:
    """Print one JSON document, on a line of its own and at once, so that several can follow each other."""
    print(escaped(json.dumps(value, ensure_ascii=False, separators=(",", ":"))), flush=True)


def escaped(document: str) -> str:
    """The same JSON document; on a terminal without anything in its strings that this would take for a command."""
    if document.isprintable() or not sys.stdout.isatty():
        return document
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in document)


def facts(values: Mapping[str, object], *, aside: bool = False) -> None:
    """Print what is known of one thing; what is empty is left out. `aside`: beside the output."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in values.items():
        if value not in ("", None, [], {}):
            table.add_row(name, cell(value))
    _console(aside=aside).print(table)


def rows(headings: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
    """Print several things, one a line."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for values in lines:
        table.add_row(*(cell(value) for value in values))
    _console().print(table)


def cell(value: object) -> Text:
    """A value in words, without anything that a terminal would take for a command."""
    if isinstance(value, bool):
        text = "yes" if value else "no"
    elif isinstance(value, list | tuple):
        text = "\n".join(str(one) for one in value)
    else:
        text = "" if value is None else str(value)
    return Text("".join(character for character in text if character == "\n" or character.isprintable()))


def say(text: str) -> None:
    """Tell the person something beside the output."""
    print(text, file=sys.stderr)


def confirm(question: str) -> None:
    """Ask the person; unless they say yes, the command ends: status 1, and one line that says so."""
    print(f"{question} [y/N]: ", end="", file=sys.stderr, flush=True)
    given = sys.stdin.readline()
    if not (given.endswith("\n") and sys.stdin.isatty()):
        say("")  # else the person's own Enter ended the line
    if given.strip().lower() not in {"y", "yes"}:
        say("stagedoor: nothing was done (not_confirmed)")
        raise typer.Exit(1)


def _console(*, aside: bool = False) -> Console:
    # A pipe has no width to fold lines at.
    to = sys.stderr if aside else sys.stdout
    return Console(file=to, highlight=False, width=None if to.isatty() else 1000)
