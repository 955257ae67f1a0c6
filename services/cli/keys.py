"""`stagedoor keys`: the keys that sign tokens."""

from typing import Annotated, Any

import typer

from protos.stagedoor.tokens.v1 import tokens_pb2 as pb
from services.cli import output
from services.cli.connection import Connection
from services.cli.output import Json
from services.cli.profile import default_path

app = typer.Typer(help="The keys that sign tokens.", no_args_is_help=True)

USES = ("access_token", "id_token", "id_token_es256")


@app.command("list")
def list_(*, as_json: Json = False) -> None:
    """List the signing keys, oldest first."""

    async def work() -> None:
        async with Connection(default_path()) as services:
            found = (await services.ask(services.tokens.ListKeys, pb.ListKeysRequest())).keys
        if as_json:
            output.document([output.plain(one) for one in found])
        else:
            output.rows(("kid", "use", "algorithm", "state", "announced", "next"), [_row(one) for one in found])

    output.run(work())


@app.command()
def rotate(
    *,
    use: Annotated[list[str] | None, typer.Option(help=f"{', '.join(USES)}; all, if it is not said.")] = None,
    as_json: Json = False,
) -> None:
    """Announce successors to the keys that sign. Each signs once everybody can have fetched it."""
    if unknown := set(use or ()) - set(USES):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: a use is one of {', '.join(USES)}")

    async def work() -> None:
        found = []
        async with Connection(default_path()) as services:
            for one in use or USES:
                answer = await services.ask(services.tokens.RotateKey, pb.RotateKeyRequest(use=one))
                found.append({"use": one, **output.plain(answer)})
                if not as_json:
                    print(f"{answer.kid} is announced, and signs from {output.when(answer.use_from)} ({one})")
        if as_json:
            output.document(found)

    output.run(work())


@app.command()
def compromise(
    kid: Annotated[str, typer.Argument(help="The id of the key, as in the list.", show_default=False)],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Somebody else may have this key: refuse all that it signed, everywhere, and sign with another one at once."""
    if not yes:
        output.confirm(f"Refuse every token that {kid} signed, for ever?")

    async def work() -> None:
        async with Connection(default_path()) as services:
            answer = await services.ask(services.tokens.CompromiseKey, pb.CompromiseKeyRequest(kid=kid))
        if as_json:
            output.document({"kid": kid, "position": answer.position})
        else:
            print(f"{kid} is compromised (position {answer.position})")

    output.run(work())


def _row(key: Any) -> tuple[object, ...]:
    announced = output.when(key.announced_at)
    following = {"pending": ("signs", key.use_from), "retiring": ("retires", key.retire_from)}.get(key.state)
    return (
        key.kid,
        key.use,
        key.algorithm,
        key.state,
        announced,
        "" if following is None else f"{following[0]} {output.when(following[1])}",
    )
