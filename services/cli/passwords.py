"""How a password comes in: from the person at the terminal, a file, or standard input; never as an argument."""

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

PasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--password-file", help="Read it from the first line of this file; - is standard input.", allow_dash=True
    ),
]
_LONGEST: Final = 4096


def read(file: Path | None, what: str, *, confirm: bool = False) -> str:
    """A secret of one line; wrong usage if there is none."""
    if file is None and sys.stdin.isatty():
        entered: str = typer.prompt(what, hide_input=True, confirmation_prompt=confirm, err=True)
        return entered
    try:
        if file is None or str(file) == "-":
            text = sys.stdin.readline(_LONGEST)
        else:
            with file.open() as source:
                text = source.readline(_LONGEST)
    except (OSError, UnicodeDecodeError):
        raise typer.BadParameter(f"{file} cannot be read") from None
    secret = text.removesuffix("\n").removesuffix("\r")
    if not secret:
        raise typer.BadParameter(f"no {what.lower()} was given: type it, or give it in a file or on standard input")
    return secret
