"""`stagedoor audit as-of` and `audit explain`: what something was, and whether a token was accepted."""

import json
from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Annotated, Any

import typer

from protos.stagedoor.ledger.v1 import ledger_pb2 as pb
from services.cli import output
from services.cli.connection import Connection
from services.cli.moments import Position, Time, in_words, moment
from services.cli.output import Json
from services.cli.profile import default_path

app = typer.Typer()

IssuedAt = Annotated[int, typer.Option("--issued-position", min=0, max=2**63 - 1, help="The token's `pos`, if known.")]


class Kind(StrEnum):
    """What is asked about."""

    APPLICATION = "application"
    INITIAL_ACCESS_TOKEN = "initial_access_token"
    RESOURCE = "resource"
    USER = "user"
    CONSENT = "consent"
    GRANT = "grant"
    TOKEN = "token"


@app.command("as-of")
def as_of(  # noqa: PLR0913  (the moment, and what helps to find a token)
    kind: Annotated[Kind, typer.Argument(help="What it is.", show_default=False)],
    its_id: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="client_id, the token's id, identifier, sub, SUB.CLIENT_ID, gid or jti.",
            show_default=False,
        ),
    ],
    *,
    position: Position = None,
    time: Time = None,
    issued_position: IssuedAt = 0,
    as_json: Json = False,
) -> None:
    """What something was at a moment, from the log alone."""
    request = pb.AsOfRequest(kind=kind.value, id=its_id, moment=moment(position, time), issued_position=issued_position)

    async def work() -> None:
        async with Connection(default_path()) as services:
            state = await _answer(services.stream(services.ledger.AsOf, request), "state")
        data = json.loads(state.data) if state.data else None
        if as_json:
            output.document({**output.plain(state), "data": data})
            return
        print(f"{kind.value} {its_id}, {in_words(state.then)}: {_KNOWLEDGE[state.knowledge]}")
        if data is not None:
            output.facts({name: _shown(value) for name, value in data.items()})
        if state.HasField("changed"):
            changed = state.changed
            print(f"last changed at position {changed.position}, {output.when(changed.recorded_at)}")
            print(f"  by {changed.actor}: {changed.type}")

    output.run(work())


@app.command()
def explain(  # noqa: PLR0913  (as above)
    jti: Annotated[str, typer.Argument(metavar="TOKEN_ID", help="The token's jti, not the token.", show_default=False)],
    *,
    position: Position = None,
    time: Time = None,
    issued_position: IssuedAt = 0,
    kid: Annotated[str, typer.Option(help="The key in the token's header, if known.")] = "",
    as_json: Json = False,
) -> None:
    """Whether a token was accepted at a moment, and which facts made it so."""
    request = pb.ExplainRequest(jti=jti, moment=moment(position, time), issued_position=issued_position, kid=kid)

    async def work() -> None:
        async with Connection(default_path()) as services:
            told = await _answer(services.stream(services.ledger.Explain, request), "explanation")
        if as_json:
            output.document(output.plain(told))
            return
        code = f" ({told.reason})" if told.reason else ""
        print(f"{told.verdict}{code}, {in_words(told.then)}: {told.description}")
        if told.HasField("token"):
            output.facts({name: _shown(value) for name, value in output.plain(told.token).items()})
        for fact in told.facts:
            mark = "*" if fact.decides else " "
            print(
                f"{mark}{fact.position:>8}  {output.when(fact.recorded_at)}  {fact.type:<36} {fact.actor}  {fact.what}"
            )

    output.run(work())


_KNOWLEDGE = {
    "known": "this is what it was",
    "none": "there was none",
    "pruned": "the log does not have all facts about it any more",
}


def _shown(value: object) -> object:
    """A value for people: what has parts as JSON, and no empty parts."""
    if isinstance(value, dict):
        return json.dumps({name: one for name, one in value.items() if one not in (None, "", [], {})})
    if isinstance(value, list):
        return [_shown(one) for one in value]
    return value


async def _answer(answers: AsyncIterator[Any], name: str) -> Any:
    """The one that counts; before it the ledger may say how far it has looked."""
    found = None
    async for answer in answers:
        if answer.WhichOneof("message") == name:
            found = getattr(answer, name)
        else:
            output.say(f"looking for the token: {answer.looked_back_to}")
    return found
