"""`stagedoor audit`: what is in the log."""

import json
from datetime import datetime
from typing import Annotated, Any, Final

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from protos.stagedoor.ledger.v1 import ledger_pb2 as pb
from services.cli import output
from services.cli.connection import Connection
from services.cli.output import Json
from services.cli.profile import default_path

app = typer.Typer(help="The log, for auditors.", no_args_is_help=True)

Types = Annotated[list[str] | None, typer.Option("--type", help="Like registry.ApplicationDisabled; repeated.")]
Sources = Annotated[list[str] | None, typer.Option("--source", help="Like registry; repeated.")]
Clients = Annotated[list[str] | None, typer.Option("--client", help="client_id; repeated.")]
Subs = Annotated[list[str] | None, typer.Option("--sub", help="A user; repeated.")]
Sids = Annotated[list[str] | None, typer.Option("--sid", help="A session; repeated.")]
Gids = Annotated[list[str] | None, typer.Option("--gid", help="A grant; repeated.")]
Jtis = Annotated[list[str] | None, typer.Option("--jti", help="A token; repeated.")]
Actors = Annotated[list[str] | None, typer.Option("--actor", help="Who did it, like user:…; repeated.")]
Streams = Annotated[list[str] | None, typer.Option("--stream", help="Like application-com.example/app; repeated.")]
Courses = Annotated[list[str] | None, typer.Option("--correlation", help="A course of events; repeated.")]
_TIMES: Final = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"]
_HIGHEST: Final = 2**63 - 1
"""Positions are 64-bit numbers."""


@app.command()
def tail(  # noqa: PLR0913  (each option narrows what is shown)
    *,
    last: Annotated[int, typer.Option("--last", min=0, help="Begin with this many positions before the head.")] = 10,
    types: Types = None,
    sources: Sources = None,
    clients: Clients = None,
    subs: Subs = None,
    sids: Sids = None,
    gids: Gids = None,
    jtis: Jtis = None,
    actors: Actors = None,
    streams: Streams = None,
    courses: Courses = None,
    as_json: Json = False,
) -> None:
    """Follow the log as it grows, until Ctrl-C."""
    narrowed = _filter(
        types=types,
        sources=sources,
        client_ids=clients,
        subs=subs,
        sids=sids,
        gids=gids,
        jtis=jtis,
        actors=actors,
        streams=streams,
        correlation_ids=courses,
    )

    async def work() -> None:
        async with Connection(default_path()) as services:
            head = await services.ask(services.ledger.GetHead, pb.GetHeadRequest())
            request = pb.ReadRequest(after=max(0, head.position - last), filter=narrowed, follow=True)
            await _show(services, request, as_json=as_json)

    output.run(work())


@app.command()
def replay(  # noqa: PLR0913  (each option narrows what is shown)
    *,
    after: Annotated[int, typer.Option(min=0, max=_HIGHEST, help="Begin after this position.")] = 0,
    until: Annotated[int | None, typer.Option(min=1, max=_HIGHEST, help="End with this position.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, max=_HIGHEST, help="At most this many events.")] = None,
    since: Annotated[datetime | None, typer.Option(formats=_TIMES, help="Recorded at or after, in UTC.")] = None,
    before: Annotated[datetime | None, typer.Option(formats=_TIMES, help="Recorded before, in UTC.")] = None,
    types: Types = None,
    sources: Sources = None,
    clients: Clients = None,
    subs: Subs = None,
    sids: Sids = None,
    gids: Gids = None,
    jtis: Jtis = None,
    actors: Actors = None,
    streams: Streams = None,
    courses: Courses = None,
    as_json: Json = False,
) -> None:
    """Show what happened, in order."""
    narrowed = _filter(
        types=types,
        sources=sources,
        client_ids=clients,
        subs=subs,
        sids=sids,
        gids=gids,
        jtis=jtis,
        actors=actors,
        streams=streams,
        correlation_ids=courses,
    )
    for at, name in ((since, "since"), (before, "before")):
        if at is not None:
            moment = Timestamp()
            moment.FromDatetime(at)
            getattr(narrowed, name).CopyFrom(moment)
    request = pb.ReadRequest(after=after, until=until or 0, limit=limit or 0, filter=narrowed)

    async def work() -> None:
        async with Connection(default_path()) as services:
            await _show(services, request, as_json=as_json)

    output.run(work())


def _filter(**given: list[str] | None) -> pb.Filter:
    return pb.Filter(**{name: values for name, values in given.items() if values})  # type: ignore[arg-type]  # lists of text, each


async def _show(services: Connection, request: pb.ReadRequest, *, as_json: bool) -> None:
    async for answer in services.stream(services.ledger.Read, request):
        if answer.WhichOneof("message") == "pruned":
            _say_gap(answer.pruned, as_json=as_json)
        if answer.WhichOneof("message") != "event":
            continue
        event = answer.event
        data = json.loads(event.data) if event.data else None
        if as_json:
            output.document({**output.plain(event), "data": data})
        else:
            print(_line(event, data), flush=True)


def _say_gap(gap: Any, *, as_json: bool) -> None:
    """Events are not in the log any more: that has to be seen where they would be."""
    if as_json:
        output.document({"pruned": output.plain(gap)})
    else:
        what = f"{gap.events} events were archived and are not in the log any more (position {gap.record} says so)"
        print(f"{gap.first}-{gap.last}: {what}", flush=True)


def _line(event: Any, data: object) -> str:
    """One event on one line: where, when, what, by whom, and what it says."""
    said = "(pruned)" if data is None else json.dumps(data, ensure_ascii=True, separators=(", ", ": "))
    return f"{event.position:>8}  {output.when(event.recorded_at)}  {event.type:<36} {event.actor}  {said}"
