"""`stagedoor tokens`: may this token do this, make one, take it back, and which grants and tokens there are."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from protos.stagedoor.tokens.v1 import tokens_pb2 as pb
from services.cli import output, passwords
from services.cli.connection import Connection
from services.cli.output import Json
from services.cli.profile import default_path
from shared.errors import Kind, Refusal
from stagedoor.validation.v1 import validation_pb2 as validation

app = typer.Typer(help="Access tokens, reference tokens and grants.", no_args_is_help=True)

TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file", help="Read it from the first line of this file; - is standard input.", allow_dash=True
    ),
]


@app.command()
def validate(
    *,
    token_file: TokenFile = None,
    audience: Annotated[str | None, typer.Option(help="Whose token it should be; default: the API.")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="Needed; repeated.")] = None,
    as_json: Json = False,
) -> None:
    """Ask whether a token is accepted now. It is asked for, or read from standard input; a denied one is status 1."""
    token = passwords.read(token_file, "Token")

    async def work() -> None:
        async with Connection(default_path()) as services:
            request = validation.ValidateRequest(
                token=token,
                audience=audience or f"{services.profile.origin}/api",
                scopes=[word for text in scope or () for word in text.split()],
                with_claims=True,
            )
            verdict = await services.ask(services.validation.Validate, request, as_person=False)
        claims = json.loads(verdict.claims) if verdict.claims else None
        if as_json:
            output.document({**output.plain(verdict), "claims": claims})
        elif verdict.allowed:
            output.facts({"allowed": True, **(claims or {}), "as of position": verdict.position})
        if not verdict.allowed:
            raise Refusal(Kind.FORBIDDEN, verdict.reason, f"the token is denied, as of position {verdict.position}")

    output.run(work())


@app.command()
def revoke(
    *,
    token_file: TokenFile = None,
    jti: Annotated[
        str | None, typer.Option(help="The id of an access token or a reference token, instead of the token.")
    ] = None,
    grant: Annotated[str | None, typer.Option(help="The id of a grant, to end it with every token of it.")] = None,
    as_json: Json = False,
) -> None:
    """Take back a token or a grant, everywhere, at once."""
    if sum(given is not None for given in (token_file, jti, grant)) > 1:
        raise typer.BadParameter("give one of --token-file, --jti and --grant")
    token = passwords.read(token_file, "Token") if jti is None and grant is None else ""

    async def work() -> None:
        async with Connection(default_path()) as services:
            if grant is not None:
                answer = await services.ask(services.tokens.EndGrant, pb.EndGrantRequest(gid=grant))
            else:
                request = pb.RevokeTokenRequest(token=token) if jti is None else pb.RevokeTokenRequest(jti=jti)
                answer = await services.ask(services.tokens.RevokeToken, request)
            if not answer.position:
                # To a client the answer would be silence (RFC 7009 section 2.2); a person wants to know.
                raise Refusal(Kind.NOT_FOUND, "token_not_found", "there is no such token to take back")
        if as_json:
            output.document({"position": answer.position})
        else:
            print(f"revoked (position {answer.position})")

    output.run(work())


@app.command("issue-reference")
def issue_reference(  # noqa: PLR0913  (each is one option)
    client_id: Annotated[str, typer.Argument(metavar="CLIENT_ID", help="The application that it is for.")],
    *,
    label: Annotated[str, typer.Option(help="What to call it in lists: where it is used, or what for.")],
    kind: Annotated[
        str, typer.Option(help="pat: acts as you. sat: acts as the application's service account.")
    ] = "pat",
    scope: Annotated[
        list[str] | None, typer.Option(help="Repeated; default: all API scopes of the application.")
    ] = None,
    days: Annotated[int, typer.Option(help="How long it lives.", min=1, max=366)] = 30,
    as_json: Json = False,
) -> None:
    """Make a reference token. It is shown this once."""

    async def work() -> None:
        request = pb.IssueReferenceRequest(
            kind=kind,
            client_id=client_id,
            scopes=[word for text in scope or () for word in text.split()],
            label=label,
        )
        # A little early, so that a clock that is ahead of the instance's does not ask for more than there is.
        request.expires_at.FromDatetime(datetime.now(UTC) + timedelta(days=days) - timedelta(minutes=1))
        async with Connection(default_path()) as services:
            answer = await services.ask(services.tokens.IssueReference, request)
        if as_json:
            output.document(output.plain(answer))
        else:
            output.facts(output.plain(answer))
            output.say("The token is shown this once; keep it safe.")

    output.run(work())


@app.command("report-leaked")
def report_leaked(*, token_file: TokenFile = None, as_json: Json = False) -> None:
    """Take back a reference token that was found where it should not be. Nobody has to be signed in for that."""
    token = passwords.read(token_file, "Token")

    async def work() -> None:
        async with Connection(default_path()) as services:
            request = pb.ReportLeakedRequest(token=token)
            answer = await services.ask(services.tokens.ReportLeaked, request, as_person=False)
        if as_json:
            output.document(output.plain(answer))
        elif answer.position:
            print(f"revoked (position {answer.position})")
        else:
            print("nobody made this token, or it has expired: there is nothing to take back")

    output.run(work())


@app.command("list")
def list_(
    *,
    references: Annotated[bool, typer.Option("--references", help="Reference tokens, instead of grants.")] = False,
    sub: Annotated[str | None, typer.Option(help="Only those of this user, by sub.")] = None,
    client: Annotated[str | None, typer.Option(help="Only those of this application.")] = None,
    as_json: Json = False,
) -> None:
    """List the grants: what users allowed applications. Or the reference tokens that were made."""
    output.run(_list_references(sub, client, as_json=as_json) if references else _list(sub, client, as_json=as_json))


async def _list(sub: str | None, client: str | None, *, as_json: bool) -> None:
    found: list[pb.Grant] = []
    request = pb.ListGrantsRequest(sub=sub or "", client_id=client or "", page_size=1000)
    async with Connection(default_path()) as services:
        async for page in services.pages(services.tokens.ListGrants, request):
            found += page.grants
    if as_json:
        output.document([output.plain(one) for one in found])
    else:
        output.rows(("gid", "client_id", "sub", "scopes", "state", "opened"), [_row(one) for one in found])


async def _list_references(sub: str | None, client: str | None, *, as_json: bool) -> None:
    found: list[pb.Reference] = []
    request = pb.ListReferencesRequest(sub=sub or "", client_id=client or "", page_size=1000)
    async with Connection(default_path()) as services:
        async for page in services.pages(services.tokens.ListReferences, request):
            found += page.references
    if as_json:
        output.document([output.plain(one) for one in found])
    else:
        headings = ("jti", "kind", "client_id", "sub", "scopes", "label", "state", "expires", "last used")
        output.rows(headings, [_reference_row(one) for one in found])


def _reference_row(one: pb.Reference) -> tuple[object, ...]:
    used = output.when(one.last_used_at) if one.HasField("last_used_at") else ""
    scopes, expires = " ".join(one.scopes), output.when(one.expires_at)
    return one.jti, one.kind, one.client_id, one.sub, scopes, one.label, one.state, expires, used


def _row(grant: Any) -> tuple[object, ...]:
    scopes = " ".join(grant.scopes)
    return grant.gid, grant.client_id, grant.sub, scopes, grant.state, output.when(grant.opened_at)
