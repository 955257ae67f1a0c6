"""`stagedoor audit`: what is in the log."""

import json
import re
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
import typer
from google.protobuf.timestamp_pb2 import Timestamp

from protos.stagedoor.ledger.v1 import ledger_pb2 as pb
from services.cli import output
from services.cli.connection import Connection
from services.cli.output import Json
from services.cli.profile import default_path
from shared.errors import Kind, Refusal

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
TIMES: Final = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.%fZ"]
Since = Annotated[datetime | None, typer.Option(formats=TIMES, help="Recorded at or after, in UTC.")]
_HIGHEST: Final = 2**63 - 1
"""Positions are 64-bit numbers."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9._~:/@+*-]+")
_NOT_THERE: Final = "there is no such event, or not any more, or it does not match"
_SEALED: Final = "p1."
"""What personal data begins with as it is stored."""


@app.command()
def tail(  # noqa: PLR0913  (each option narrows what is shown)
    *,
    last: Annotated[int, typer.Option("--last", min=0, help="Begin with this many positions before the head.")] = 10,
    since: Since = None,
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

    _narrow_by_time(narrowed, since=since)

    async def work() -> None:
        async with Connection(default_path()) as services:
            head = await services.ask(services.ledger.GetHead, pb.GetHeadRequest())
            after = max(0, head.position - last) if since is None else 0
            request = pb.ReadRequest(after=after, filter=narrowed, follow=True)
            await _show(services, request, as_json=as_json)

    output.run(work())


@app.command()
def replay(  # noqa: PLR0913  (each option narrows what is shown)
    *,
    position: Annotated[
        int | None, typer.Option(min=1, max=_HIGHEST, help="Only this event: a token's `pos`, for example.")
    ] = None,
    after: Annotated[int, typer.Option(min=0, max=_HIGHEST, help="Begin after this position.")] = 0,
    until: Annotated[int | None, typer.Option(min=1, max=_HIGHEST, help="End with this position.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, max=_HIGHEST, help="At most this many events.")] = None,
    since: Since = None,
    before: Annotated[datetime | None, typer.Option(formats=TIMES, help="Recorded before, in UTC.")] = None,
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
    _narrow_by_time(narrowed, since=since, before=before)
    if position is not None:
        if after or until is not None:
            raise typer.BadParameter("--position is a single event; --after and --until are of a stretch")
        after, until = position - 1, position
    request = pb.ReadRequest(after=after, until=until or 0, limit=limit or 0, filter=narrowed)

    async def work() -> None:
        async with Connection(default_path()) as services:
            shown = await _show(services, request, as_json=as_json)
            if position is not None and not shown:
                raise Refusal(Kind.NOT_FOUND, "event_not_found", _NOT_THERE)

    output.run(work())


def _filter(**given: list[str] | None) -> pb.Filter:
    return pb.Filter(**{name: values for name, values in given.items() if values})  # type: ignore[arg-type]  # lists of text, each


def _narrow_by_time(narrowed: pb.Filter, *, since: datetime | None = None, before: datetime | None = None) -> None:
    for at, name in ((since, "since"), (before, "before")):
        if at is not None:
            moment = Timestamp()
            moment.FromDatetime(at)
            getattr(narrowed, name).CopyFrom(moment)


async def _show(services: Connection, request: pb.ReadRequest, *, as_json: bool) -> int:
    """Print the events as they come; answers how many."""
    shown = 0
    async for answer in services.stream(services.ledger.Read, request):
        if answer.WhichOneof("message") == "pruned":
            _say_gap(answer.pruned, as_json=as_json)
        if answer.WhichOneof("message") == "events":
            line = _document if as_json else _line
            print("\n".join([line(event) for event in answer.events.events]), flush=True)
            shown += len(answer.events.events)
    return shown


def _say_gap(gap: Any, *, as_json: bool) -> None:
    """Events are not in the log any more: that has to be seen where they would be."""
    if as_json:
        output.document({"pruned": output.plain(gap)})
    else:
        what = f"{gap.events} events were archived and are not in the log any more (position {gap.record} says so)"
        print(f"{gap.first}-{gap.last}: {what}", flush=True)


def _document(event: pb.Event) -> str:
    """One event as a JSON document. Its data is JSON already, and goes as it is: a whole log is printed like this."""
    found = {
        "position": event.position,
        "epoch": event.epoch,
        "stream": event.stream,
        "version": event.version,
        "type": event.type,
        "data": msgspec.Raw(event.data.encode() or b"null"),
        "data_digest": event.data_digest.hex(),
        "salt": event.salt.hex(),
        "leaf_hash": event.leaf_hash.hex(),
        "actor": event.actor,
        "command_id": event.command_id,
        "correlation_id": event.correlation_id,
        "causation_id": event.causation_id,
        "recorded_at": output.when(event.recorded_at),
    }
    return output.escaped(msgspec.json.encode(found).decode())


def _line(event: pb.Event) -> str:
    """One event on one line: where, when, what, by whom, and what it says."""
    said = _said(json.loads(event.data)) if event.data else "(pruned)"
    return f"{event.position:>8}  {output.when(event.recorded_at)}  {event.type:<36} {event.actor}  {said}"


def _said(data: object) -> str:
    """What an event says, member by member. Names and plain words stand as they are, all else as JSON in ASCII."""
    if isinstance(data, dict):
        members = [f"{name}={_value(value)}" for name, value in data.items() if value not in (None, [], {})]
        return " ".join(members)
    return _value(data)


def _value(value: object) -> str:
    if isinstance(value, str):
        if value.startswith(_SEALED):
            return "(personal)"
        return value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=True)
    if isinstance(value, list):
        return ",".join(map(_value, value))
    return f"{{{_said(value)}}}" if isinstance(value, dict) else json.dumps(value)
