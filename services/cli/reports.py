"""`stagedoor audit report`: what auditors want to know of many things at once; for people, for programs, as a table."""

import json
from datetime import datetime
from typing import Annotated, Any

import typer

from protos.stagedoor.ledger.v1 import ledger_pb2 as pb
from services.cli import output
from services.cli.audit import Since
from services.cli.connection import Connection
from services.cli.moments import Position, Time, in_words, moment
from services.cli.output import Json
from services.cli.profile import default_path
from services.cli.spreadsheet import Sheet, cell

app = typer.Typer(help="Reports. Each is one question to the log, and a fact in it.", no_args_is_help=True)

Csv = Annotated[bool, typer.Option("--csv", help="Print comma-separated values, safe for spreadsheets.")]
Sub = Annotated[str, typer.Option("--sub", help="Only of this user.")]
Client = Annotated[str, typer.Option("--client", help="Only of this application.")]


@app.command()
def access(  # noqa: PLR0913  (each option narrows or shapes the answer)
    *,
    sub: Sub = "",
    client: Client = "",
    position: Position = None,
    time: Time = None,
    as_csv: Csv = False,
    as_json: Json = False,
) -> None:
    """Who has, or had, access to what: roles, consents, grants, reference tokens, applications by themselves."""
    request = pb.ReportRequest(access=pb.AccessReport(sub=sub, client_id=client), moment=moment(position, time))
    _show(request, as_csv=as_csv, as_json=as_json)


@app.command()
def actions(  # noqa: PLR0913  (as above)
    *,
    sub: Sub = "",
    client: Client = "",
    since: Since = None,
    position: Position = None,
    time: Time = None,
    as_csv: Csv = False,
    as_json: Json = False,
) -> None:
    """What one user (--sub), or one application (--client), did."""
    if not sub and not client:
        raise typer.BadParameter("actions are those of one user (--sub) or of one application (--client)")
    wanted = pb.ActionsReport(sub=sub, client_id=client)
    _since(wanted, since)
    _show(pb.ReportRequest(actions=wanted, moment=moment(position, time)), as_csv=as_csv, as_json=as_json)


@app.command()
def applications(*, position: Position = None, time: Time = None, as_csv: Csv = False, as_json: Json = False) -> None:
    """All applications by their last use; those that were never used come first."""
    request = pb.ReportRequest(applications=pb.ApplicationsReport(), moment=moment(position, time))
    _show(request, as_csv=as_csv, as_json=as_json)


@app.command()
def changes(
    client_id: Annotated[str, typer.Argument(help="The application.", show_default=False)],
    *,
    position: Position = None,
    time: Time = None,
    as_csv: Csv = False,
    as_json: Json = False,
) -> None:
    """Who changed an application, and what was there before and after."""
    request = pb.ReportRequest(changes=pb.ChangesReport(client_id=client_id), moment=moment(position, time))
    _show(request, as_csv=as_csv, as_json=as_json)


@app.command()
def references(
    *,
    unused_days: Annotated[
        int, typer.Option(min=0, max=36_500, help="Only those that nobody made or used for so many days.")
    ] = 0,
    position: Position = None,
    time: Time = None,
    as_csv: Csv = False,
    as_json: Json = False,
) -> None:
    """Reference tokens that are valid, by their last use; with --unused-days those that are dormant."""
    wanted = pb.ReferencesReport(unused_days=unused_days)
    _show(pb.ReportRequest(references=wanted, moment=moment(position, time)), as_csv=as_csv, as_json=as_json)


@app.command("failed-sign-ins")
def failed_sign_ins(  # noqa: PLR0913  (as above)
    *,
    sub: Sub = "",
    since: Since = None,
    position: Position = None,
    time: Time = None,
    as_csv: Csv = False,
    as_json: Json = False,
) -> None:
    """Sign-ins that failed, counted by user and minute."""
    wanted = pb.FailedSignInsReport(sub=sub)
    _since(wanted, since)
    _show(pb.ReportRequest(failed_sign_ins=wanted, moment=moment(position, time)), as_csv=as_csv, as_json=as_json)


def _since(wanted: pb.ActionsReport | pb.FailedSignInsReport, since: datetime | None) -> None:
    if since is not None:
        wanted.since.FromDatetime(since)


def _show(request: pb.ReportRequest, *, as_csv: bool, as_json: bool) -> None:
    if as_csv and as_json:
        raise typer.BadParameter("a report is --csv or --json, not both")

    async def work() -> None:
        begins, sheet, found = pb.ReportBegins(), None, list[dict[str, Any]]()
        async with Connection(default_path()) as services:
            async for answer in services.stream(services.ledger.Report, request):
                which = answer.WhichOneof("message")
                if which == "begins":
                    begins = answer.begins
                    _warn(begins)
                    sheet = Sheet(begins.columns) if as_csv else None
                elif which == "row":
                    row = json.loads(answer.row)
                    if sheet is not None:
                        sheet.add(row)
                    elif as_json:
                        output.document(row)
                    else:
                        found.append(row)
        if not (as_csv or as_json):
            shown = [name for name in begins.columns if any(cell(row[name]) for row in found)]
            output.rows([name.upper() for name in shown], [[_plain(row[name]) for name in shown] for row in found])
            output.say(f"{len(found)} {'row' if len(found) == 1 else 'rows'}, {in_words(begins.then)}")

    output.run(work())


def _plain(value: object) -> object:
    """A cell for people: several words one below the other, what has parts as JSON."""
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _warn(begins: pb.ReportBegins) -> None:
    if begins.pruned_before:
        output.say(f"what expires was pruned before position {begins.pruned_before}: of that time not all is told")
