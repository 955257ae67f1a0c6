"""Long requests, each another one, so that what the issuer remembers of them fills its memory.

What is looked up of an application is remembered by what was asked for, before anybody has proved anything.
"""

import gc
import tracemalloc
from collections.abc import Awaitable, Callable, Mapping

import pytest

from services.token_issuer.authorization.answers import Redirect
from tests.support.issuing import HUB, PUBLIC, SPA, Client, Stage, error

Request = Callable[[int], Awaitable[None]]

REQUESTS = 90
"""Of 20,000 bytes at least; few enough that nobody has failed too often by then."""
MOST_KEPT = 500_000
FIRST = 3
"""Requests after which whatever is made once has been made."""


def addresses(number: int, count: int, length: int) -> list[str]:
    """So many, each of so many characters, that no other request names."""
    return [f"https://{number}-{place}.example/".ljust(length, "x") for place in range(count)]


@pytest.fixture(params=["no proof", "a wrong secret", "an authorization request", "a client's own"])
async def request_of(request: pytest.FixtureRequest, stage: Stage) -> Request:
    """Sends one of that kind."""
    await stage.register(PUBLIC, SPA, resources=True)
    hub = await stage.register()
    await stage.follow()

    async def token(form: Mapping[str, object], client: Client | None = None) -> int:
        headers = {} if client is None else client.headers()
        answer = await stage.http.post("/id/connect/token", data=form, headers=headers)
        if answer.status_code != 200:
            assert error(answer) in ("invalid_client", "unauthorized_client", "invalid_target")
        return answer.status_code

    async def no_proof(number: int) -> None:
        form = {"grant_type": "client_credentials", "client_id": SPA, "resource": addresses(number, 90, 600)}
        assert await token(form) == 400

    async def wrong_secret(number: int) -> None:
        stolen = Client(HUB, "wrong", "")
        assert await token({"grant_type": "client_credentials", "resource": addresses(number, 90, 600)}, stolen) == 401

    async def authorization(number: int) -> None:
        outcome = await stage.begin(hub, *(("resource", one) for one in addresses(number, 40, 500)))
        assert isinstance(outcome, Redirect)

    async def own(number: int) -> None:
        scope = " ".join(["read"] * (8000 + number))
        assert await token({"grant_type": "client_credentials", "scope": scope}, hub) == 200

    return {
        "no proof": no_proof,
        "a wrong secret": wrong_secret,
        "an authorization request": authorization,
        "a client's own": own,
    }[request.param]


async def test_they_are_not_kept(request_of: Request) -> None:
    for number in range(FIRST):
        await request_of(number)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(FIRST, FIRST + REQUESTS):
            await request_of(number)
        gc.collect()
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert kept < MOST_KEPT
