"""The resource service as it runs, on a real PostgreSQL. Only the issuer of the tokens is made up."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from services.resource import events
from services.resource.http import application
from shared.http.operations import Readiness
from shared.http.serve import layers
from shared.log.event import Catalogue
from shared.log.log import Log
from stagedoor import Guard
from tests.support.postgres import Database
from tests.support.postgres import database as database  # noqa: PLC0414  (a fixture)
from tests.support.postgres import databases as databases  # noqa: PLC0414  (a fixture)
from tests.support.sdk_tokens import ISSUER, SigningKey, claims, guard

ORIGIN = "https://api.example.com"


@dataclass
class Api:
    """The API, asked as a user through an application."""

    client: httpx.AsyncClient
    log: Log
    key: SigningKey
    guard: Guard
    jtis: list[str] = field(default_factory=list)

    async def __call__(self, method: str, path: str, /, *, who: str = "freddie", **options: Any) -> httpx.Response:
        changes = options.pop("claims", {})
        jti = f"jti-{len(self.jtis)}"
        self.jtis.append(jti)
        token = self.key.sign(claims(**{"sub": who, "jti": jti, **changes}))
        headers = {"Authorization": f"Bearer {token}", **options.pop("headers", {})}
        return await self.client.request(method, path, headers=headers, **options)

    async def events(self) -> list[str]:
        """What is in the log, by name, in order."""
        return [recorded.event.stored_as for recorded in await self.log.read(0)]


async def _ready() -> Readiness:
    return Readiness()


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    log, key = await database.log("resource", Catalogue.of(events)), SigningKey()
    checked = guard(key)
    app = layers(application(checked, log, origin=ORIGIN, issuer=ISSUER), _ready, 100)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
        yield Api(client, log, key, checked)


Added = Callable[..., Awaitable[str]]


@pytest.fixture
def added(api: Api) -> Added:
    """Adds a tour and answers its id."""

    async def add(**changes: Any) -> str:
        who = changes.pop("who", "freddie")
        answer = await api("POST", "/api/tours", who=who, json={**TOUR, **changes})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    return add


TOUR = {"title": "Magic Tour", "venue": "Wembley Stadium", "city": "London", "date": "1986-07-12"}
ARTICLE = {"title": "Tour shirt", "price_cents": 1500, "stock": 200}
