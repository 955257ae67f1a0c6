"""A resource that proxies stand before, and whoever decides for them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from cryptography import x509

from services.token_issuer.audiences import AudienceCallers
from services.token_issuer.gateway import Gateway, judge_by
from tests.support.client_certificates import certified, own_token, self_signed
from tests.support.dpop import ProofKey, ask
from tests.support.exchanging import chain
from tests.support.issuing import API, Stage
from tests.support.ports import free_port
from tests.support.work import eventually


@pytest.fixture
def gateway(stage: Stage) -> Gateway:
    return Gateway(
        judge_by(stage.guard, stage.references), AudienceCallers(stage.issuer.log.pool, stage.issuer.policy.places)
    )


async def token(stage: Stage, *, scope: str = "read", key: ProofKey | None = None) -> str:
    """A token of BackstageHub's own, for a resource that proxies protect; bound to a key where one is given."""
    hub = await stage.register()
    await stage.add_resources(callers=("resource/tours", "service/proxy"))
    await stage.follow()
    answer = await ask(stage, hub, key, grant_type="client_credentials", scope=scope)
    return str(answer.json()["access_token"])


async def token_of_a_certificate(stage: Stage, shown: x509.Certificate) -> str:
    """A token for that resource which is bound to this certificate, for the key "own"; the issuer has to believe it."""
    app = await certified(stage, self_signed("own"), shown, resources=False)
    await stage.add_resources(callers=("resource/tours", "service/proxy"))
    await stage.follow()
    return str((await own_token(stage, app)).json()["access_token"])


async def token_of_an_exchange(stage: Stage) -> str:
    """A token that Tourbus was given for one of a person's, at the same resource."""
    there = await chain(stage, callers=("resource/tours", "service/proxy"))
    return await there.exchanged(await there.subject(await stage.user()), resource=API)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """ASGI application of the resource: answers with what reached it."""
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    seen = {name.decode(): value.decode() for name, value in scope["headers"]}
    content = json.dumps({"headers": seen, "path": scope["path"], "body": body.decode()}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": content})


@asynccontextmanager
async def served(**apps: Any) -> AsyncIterator[dict[str, int]]:
    """ASGI applications on loopback, by name; gives the port of each."""
    ports = {name: free_port() for name in apps}
    common: dict[str, Any] = {"interface": "asgi3", "lifespan": "off", "log_config": None, "access_log": False}
    servers = [
        uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=ports[name], **common)) for name, app in apps.items()
    ]
    serving = [asyncio.create_task(server.serve()) for server in servers]
    try:
        await eventually(lambda: all(server.started for server in servers))
        yield ports
    finally:
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*serving)


async def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
