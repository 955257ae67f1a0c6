"""`stagedoor logouts`: applications that could not be told that a session has ended."""

from typing import Annotated

import typer

from protos.stagedoor.tokens.v1 import tokens_pb2 as pb
from services.cli import output
from services.cli.connection import Connection
from services.cli.output import Json
from services.cli.profile import default_path

app = typer.Typer(help="Back-channel logout: whom it could not be told.", no_args_is_help=True)

Client = Annotated[str | None, typer.Option(help="Only those of this application.")]


@app.command("list")
def list_(
    *,
    client: Client = None,
    given_up: Annotated[bool, typer.Option("--given-up", help="Only those that are not tried any more.")] = False,
    as_json: Json = False,
) -> None:
    """List the logouts that are not delivered yet, newest first."""

    async def work() -> None:
        found: list[pb.UndeliveredLogout] = []
        request = pb.ListLogoutsRequest(client_id=client or "", given_up_only=given_up, page_size=1000)
        async with Connection(default_path()) as services:
            async for page in services.pages(services.logouts.ListLogouts, request):
                found += page.logouts
        if as_json:
            output.document([output.plain(one) for one in found])
        else:
            headings = ("id", "client_id", "sub", "sid", "state", "attempts", "failure", "next")
            output.rows(headings, [_row(one) for one in found])

    output.run(work())


@app.command()
def retry(
    delivery_id: Annotated[list[int] | None, typer.Argument(help="Their ids, as in the list.")] = None,
    *,
    client: Client = None,
    all_: Annotated[bool, typer.Option("--all", help="All there are.")] = False,
    as_json: Json = False,
) -> None:
    """Try to deliver them at once, and from the beginning."""
    if not (delivery_id or client or all_):
        raise typer.BadParameter("name some ids, or give --client or --all")
    if all_ and (delivery_id or client):
        raise typer.BadParameter("--all is all: name nothing else")

    async def work() -> None:
        request = pb.RetryLogoutsRequest(delivery_ids=delivery_id or [], client_id=client or "", all=all_)
        async with Connection(default_path()) as services:
            answer = await services.ask(services.logouts.RetryLogouts, request)
        if as_json:
            output.document({"retried": answer.retried})
        else:
            print(f"{answer.retried} tried again")

    output.run(work())


def _row(one: pb.UndeliveredLogout) -> tuple[object, ...]:
    following = output.when(one.due_at) if one.HasField("due_at") else ""
    return one.delivery_id, one.client_id, one.sub, one.sid, one.state, one.attempts, one.failure, following
