"""The moment that a question about the past is about: `--position` or `--time`; without either, now."""

from datetime import datetime
from typing import Annotated

import typer

from protos.stagedoor.ledger.v1 import ledger_pb2 as pb
from services.cli import output
from services.cli.audit import TIMES

Position = Annotated[int | None, typer.Option("--position", min=1, max=2**63 - 1, help="After the event there.")]
Time = Annotated[datetime | None, typer.Option("--time", "--at", formats=TIMES, help="At this time, in UTC.")]


def moment(position: int | None, time: datetime | None) -> pb.Moment:
    """From what was typed; raises `typer.BadParameter` for both."""
    if position is not None and time is not None:
        raise typer.BadParameter("a moment is --position or --time, not both")
    wanted = pb.Moment()
    if position is not None:
        wanted.position = position
    elif time is not None:
        wanted.time.FromDatetime(time)
    return wanted


def in_words(then: pb.Then) -> str:
    """What it turned out to be."""
    return f"as of position {then.position}, {output.when(then.time)}"
