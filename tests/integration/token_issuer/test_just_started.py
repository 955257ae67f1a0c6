"""An issuer that has just started, and has not looked at the keys yet: nothing is said that is not so."""

import httpx
import pytest

from services.token_issuer.events import AccessTokenRevoked
from services.token_issuer.http import application
from services.token_issuer.issuer import Issuer
from services.token_issuer.keys import KeyRing
from shared.http.serve import Readiness, layers
from tests.support.issuing import ORIGIN, Stage, replica
from tests.support.postgres import Database


@pytest.fixture
async def fresh(database: Database, stage: Stage) -> Issuer:
    issuer, _ = await replica(database, stage.clock)
    assert not issuer.keys.loaded
    return issuer


def door(issuer: Issuer, stage: Stage) -> httpx.AsyncClient:
    async def ready() -> Readiness:
        return Readiness({})

    transport = httpx.ASGITransport(app=layers(application(issuer, stage.guard, stage.references), ready, 1000))
    return httpx.AsyncClient(transport=transport, base_url=ORIGIN, trust_env=False)


async def test_what_is_to_be_revoked_is_revoked(stage: Stage, fresh: Issuer) -> None:
    hub = await stage.register(resources=True)
    token = (await stage.tokens(hub, await stage.user()))["access_token"]
    async with door(fresh, stage) as stage.http:
        answer = await stage.revoke(hub, token)
    assert answer.status_code == 200
    (event,) = await stage.facts(AccessTokenRevoked)
    assert int(answer.headers["stagedoor-position"]) > 0
    assert isinstance(event, AccessTokenRevoked)


async def test_a_good_token_is_active(stage: Stage, fresh: Issuer) -> None:
    hub = await stage.register(resources=True)
    token = (await stage.tokens(hub, await stage.user()))["access_token"]
    async with door(fresh, stage) as stage.http:
        assert (await stage.introspect(hub, token)).json()["active"] is True


async def test_without_keys_it_says_so(stage: Stage, fresh: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing_there(_: KeyRing) -> None:
        """As while the table cannot be read."""

    monkeypatch.setattr(KeyRing, "refresh", nothing_there)
    hub = await stage.register(resources=True)
    token = (await stage.tokens(hub, await stage.user()))["access_token"]
    async with door(fresh, stage) as stage.http:
        for answer in (await stage.revoke(hub, token), await stage.introspect(hub, token)):
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
    assert await stage.facts(AccessTokenRevoked) == []
