"""`stagedoor initial-access`: initial access tokens, with which programs register applications (RFC 7591)."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from protos.stagedoor.registry.v1 import registration_pb2 as pb
from services.cli import output
from services.cli.connection import Connection
from services.cli.output import Json
from services.cli.profile import default_path

app = typer.Typer(help="Initial access tokens: who may register applications by program.", no_args_is_help=True)


@app.command()
def issue(  # noqa: PLR0913  (each option is a limit of the token)
    *,
    purpose: Annotated[str, typer.Option(help="What it is for; shown in the list, kept in the log.")],
    days: Annotated[int, typer.Option(help="It ends in so many days, 366 at most.", min=1, max=366)] = 7,
    uses: Annotated[int, typer.Option(help="How many applications it registers.", min=1)] = 1,
    unlimited: Annotated[bool, typer.Option("--unlimited", help="Any number of them, instead.")] = False,
    prefix: Annotated[
        str, typer.Option(help="What their client_ids begin with, like com.example/; default: dynamic.registration/.")
    ] = "",
    scope: Annotated[list[str] | None, typer.Option(help="API scope that they may have; repeated.")] = None,
    grant: Annotated[
        list[str] | None,
        typer.Option(help="Grant that they may have; repeated. Default: authorization_code and refresh_token."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Let programs register applications. The token is shown this once."""
    ends = Timestamp()
    ends.FromDatetime(datetime.now(UTC) + timedelta(days=days))
    request = pb.IssueInitialAccessTokenRequest(
        purpose=purpose,
        expires_at=ends,
        uses=0 if unlimited else uses,
        unlimited=unlimited,
        client_id_prefix=prefix,
        scopes=_words(scope),
        grants=_words(grant),
    )

    async def work() -> None:
        async with Connection(default_path()) as services:
            answer = await services.ask(services.registration.IssueInitialAccessToken, request)
        found = {**_plain(answer.token), "initial_access_token": answer.initial_access_token}
        if as_json:
            output.document({**found, "position": answer.position})
        else:
            output.facts(found)
            output.say("The token is shown this once; keep it safe.")

    output.run(work())


@app.command("list")
def list_(*, as_json: Json = False) -> None:
    """List the tokens that were not revoked."""

    async def work() -> None:
        found: list[pb.InitialAccessToken] = []
        request = pb.ListInitialAccessTokensRequest(page_size=1000)
        async with Connection(default_path()) as services:
            async for page in services.pages(services.registration.ListInitialAccessTokens, request):
                found += page.tokens
        if as_json:
            output.document([_plain(one) for one in found])
        else:
            headings = ("token_id", "purpose", "ends", "used", "client_ids", "scopes")
            output.rows(headings, [_row(one) for one in found])

    output.run(work())


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(help="Its id, as in the list.", show_default=False)],
    *,
    as_json: Json = False,
) -> None:
    """Let nothing more be registered with a token; what it registered stays."""
    request = pb.RevokeInitialAccessTokenRequest(token_id=token_id)

    async def work() -> None:
        async with Connection(default_path()) as services:
            answer = await services.ask(services.registration.RevokeInitialAccessToken, request)
        if as_json:
            output.document({"token_id": token_id, "position": answer.position})
        else:
            print(f"{token_id} is revoked (position {answer.position})")

    output.run(work())


def _words(values: list[str] | None) -> list[str]:
    """Several may come in one value, as in `--scope "read update"`."""
    return [word for value in values or () for word in value.split()]


def _plain(token: pb.InitialAccessToken) -> dict[str, Any]:
    return {**output.plain(token), "uses": token.uses or None}


def _row(token: pb.InitialAccessToken) -> tuple[object, ...]:
    used = f"{token.used} of {token.uses}" if token.uses else f"{token.used}, no limit"
    ends = output.when(token.expires_at)
    return token.token_id, token.purpose, ends, used, f"{token.client_id_prefix}…", " ".join(token.scopes)
