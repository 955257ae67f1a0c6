"""What a question touches when the log is long, whatever the planner thinks of it."""

import asyncio
import json

from services.registry.events import ApplicationEnabled
from services.token_issuer.events import AccessTokenIssued
from shared.ids import new_command_id, new_id, new_ordered_id
from shared.log.append import Append, Context
from shared.log.event import Event
from tests.support.facts import EVERYTHING
from tests.support.postgres import Database
from tests.support.postgres import database as database  # noqa: PLC0414  (a fixture)

_TOKENS = 50_000  # with fewer the planner happens to be right
_FEW = 100
"""Pages; walking past the tokens takes thousands."""


def fact(stream: str, event: Event) -> Append:
    return Append(stream, None, (event,), Context("service:test", new_id(), new_command_id()))


def token() -> Append:
    jti = new_ordered_id()
    client = "com.backstagehub/app"
    return fact(
        f"token-{jti}",
        AccessTokenIssued(
            jti=jti, client_id=client, sub=client, scopes=("read",), audiences=("api",), access_token_seconds=60
        ),
    )


async def test_what_a_service_says_seldom_is_found_without_walking_past_the_tokens(database: Database) -> None:
    issuer, registry = [await database.log(login, EVERYTHING) for login in ("token_issuer", "registry")]
    left = iter(range(_TOKENS))

    async def issue() -> None:
        for _ in left:
            await issuer.append(token())

    await asyncio.gather(*(issue() for _ in range(500)))
    # As the sample of a large log has it: there is one source.
    async with database.connection() as server:
        await server.execute("VACUUM (ANALYZE) log.events")
    await registry.append(
        fact("application-com.backstagehub/app", ApplicationEnabled(client_id="com.backstagehub/app"))
    )
    touched = []
    async with database.connection("token_issuer") as reader:
        for _ in range(8):  # a session's first calls read the catalogue and plan; later ones go by what they found
            found = await reader.fetchval(
                "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)"
                " SELECT * FROM log.read_page(0, null, '{registry}', 1000, 1000000)"
            )
            plan = json.loads(found)[0]["Plan"]
            assert plan["Actual Rows"] == 1
            touched.append(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
    assert touched[-1] < _FEW, touched
