"""What was made of the log in a run: views, rows, the stream, the evidence, and verdicts on tokens."""

from typing import Any

import asyncpg

from infra.local.process import until
from infra.local.system import System
from shared.ids import new_id
from tests.chaos import stream
from tests.chaos.clients import Clients
from tests.chaos.load import Load
from tests.chaos.verdict import WHOLE_LOG, Verdict, Written
from tests.support import read_models
from tests.support.behind import views_behind
from tests.support.command import CommandRefused, stagedoor

_CAUGHT_UP_SECONDS = 30.0
_OK, _UNAUTHORIZED = 200, 401


async def whole_log(system: System) -> list[Written]:
    """Every event, in order."""
    return [Written.of(row) for row in await _ask(system, WHOLE_LOG)]


async def look_at_it(
    system: System, clients: Clients, load: Load, verdict: Verdict, held: list[str], *, few: bool
) -> None:
    """Add to the verdict what is wrong, and tell what `held`."""
    found = {
        "every view is complete": await views_behind(system),
        "the stream is a copy of the log": await stream.differences(system),
        "every row of every read model is what a rebuild would make of the log": await _rows(system, load),
        "what was denied is refused, and what was not is accepted": await _tokens(clients, load),
        "audit verify": await _evidence(system),
    }
    if not few:  # the rows have been compared above; here it is what an operator is told
        found["rebuild --check of registry, identity and token_issuer"] = await _checked(system)
    for told, wrong in found.items():
        verdict.wrong += wrong
        held += [] if wrong else [told]


async def _ask(system: System, statement: str) -> list[Any]:
    connection = await asyncpg.connect(system.postgres.dsn(), password=system.postgres.password)
    try:
        return list(await connection.fetch(statement))
    finally:
        await connection.close()


async def _rows(system: System, load: Load) -> list[str]:
    """Every row is what a rebuild would make of the log, and tours are as their last change left them."""
    wrong = [f"{one.table} {dict(one.key)}: {one.what}" for one in await read_models.differences(system)]
    there = {row["tour_id"] for row in await _ask(system, "SELECT tour_id FROM resource.tours")}
    wrong += [f"tour {tour} should be {'there' if wanted else 'gone'}" for tour, wanted in load.tours.items()
              if (tour in there) is not wanted]  # fmt: skip
    return wrong


async def _tokens(clients: Clients, load: Load) -> list[str]:
    """What was revoked is refused by the API, and what was not is accepted."""
    wrong = []
    for tokens, expected in ((load.revoked, _UNAUTHORIZED), (load.good, _OK)):
        for token in tokens[-25:]:

            async def so(token: str = token, expected: int = expected) -> bool:
                return (await clients.call("GET", "/tours", token, new_id())).status_code == expected

            if not await until(so, _CAUGHT_UP_SECONDS):
                wrong.append(f"a {'good' if expected == _OK else 'revoked'} token is not answered {expected}")
    return wrong


async def _evidence(system: System) -> list[str]:
    """The log is what the ledger has signed, by an auditor's own command."""
    try:
        await stagedoor(system, "audit", "verify")
    except CommandRefused as refused:
        return [str(refused)]
    return []


async def _checked(system: System) -> list[str]:
    """What the operator's command says of the read models."""
    wrong = []
    for service in ("registry", "identity", "token_issuer"):
        try:
            await stagedoor(system, "rebuild", service, "--check")
        except CommandRefused as refused:
            wrong.append(str(refused))
    return wrong
