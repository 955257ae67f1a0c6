"""Applications that go on with tokens which they were sent (RFC 8693), on the issuer of `tests.support.issuing`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import jwt

from services.identity.events import UserKind
from services.registry import events as registry
from services.registry.events import ApplicationSettings, GrantType, ResourceSettings, Scope
from shared.ids import new_id
from tests.support.issuing import API, CONFIDENTIAL, ORIGIN, Client, Stage

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
JWT = "urn:ietf:params:oauth:token-type:jwt"
TOURBUS = "com.tourbus/api"
"""Of the API: it is sent tokens."""
TRUCKS = f"{ORIGIN}/trucks"
"""Another API, which the first one calls."""
SCOPES = ("read", "update", "drive")

HUB_SETTINGS = CONFIDENTIAL.model_copy(update={"scopes": SCOPES})
OF_API = ApplicationSettings(
    display_name="Tourbus",
    type=CONFIDENTIAL.type,
    user_kinds=(UserKind.INTERNAL, UserKind.COMMUNITY),
    scopes=("read", "drive"),
    grants=(GrantType.TOKEN_EXCHANGE,),
    auth_method=CONFIDENTIAL.auth_method,
)


@dataclass(frozen=True)
class Chain:
    """Two APIs, an application that has tokens for both, and that of the first API."""

    stage: Stage
    hub: Client
    tourbus: Client

    async def subject(self, sub: str, scope: str = "openid read update drive offline_access") -> str:
        """An access token that a person's sign-in gave the application."""
        return str((await self.stage.tokens(self.hub, sub, scope=scope))["access_token"])

    async def ask(self, token: str, client: Client | None = None, /, **more: str | list[str]) -> httpx.Response:
        """What the token endpoint answers; an empty value leaves a parameter out."""
        by = client or self.tourbus
        form = {"grant_type": EXCHANGE, "subject_token": token, "subject_token_type": ACCESS_TOKEN, **more}
        kept = {name: value for name, value in {**by.form(), **form}.items() if value}
        return await self.stage.http.post("/id/connect/token", data=kept, headers=by.headers())

    async def exchanged(self, token: str, client: Client | None = None, /, **more: str | list[str]) -> str:
        """The access token that is given."""
        answer = await self.ask(token, client, **more)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    async def another(self, client_id: str, **changes: Any) -> Client:
        """One more application that may exchange tokens of both APIs."""
        client = await self.stage.register(OF_API.model_copy(update=changes), client_id)
        await self.callers(TOURBUS, client_id)
        return client

    async def callers(self, *client_ids: str, community: bool = True) -> None:
        """From now on these are the callers of both APIs."""
        callers = tuple(f"client:{client_id}" for client_id in client_ids)
        api, trucks = settings(callers, community=community)
        await self.stage.write(
            self.stage.registry,
            "resource-catalogue",
            registry.ResourceChanged(resource_id=IDS[0], settings=api),
            registry.ResourceChanged(resource_id=IDS[1], settings=trucks),
        )


IDS = (new_id(), new_id())


def settings(callers: Sequence[str], *, community: bool) -> tuple[ResourceSettings, ResourceSettings]:
    """Those of both APIs."""
    api, trucks = (
        ResourceSettings(
            display_name=name,
            scopes=tuple(Scope(name=scope, description=f"{scope} your tours") for scope in scopes),
            callers=tuple(callers),
            admits_community_users=community,
        )
        for name, scopes in (("API", ("read", "update")), ("Trucks", ("drive",)))
    )
    return api, trucks


async def chain(stage: Stage, *, community: bool = True, callers: Sequence[str] = ()) -> Chain:
    """Register all of them. Tourbus, and `callers`, are those of the first API alone."""
    api, trucks = settings((f"client:{TOURBUS}", *callers), community=community)
    trucks = trucks.model_copy(update={"callers": ()})
    management = ResourceSettings(display_name="Management", scopes=(Scope(name="sec", description="manage"),))
    for resource_id, identifier, each in (
        (IDS[0], API, api),
        (IDS[1], TRUCKS, trucks),
        (new_id(), f"{ORIGIN}/management", management),
    ):
        event = registry.ResourceRegistered(resource_id=resource_id, identifier=identifier, settings=each)
        await stage.write(stage.registry, "resource-catalogue", event)
    hub = await stage.register(HUB_SETTINGS)
    return Chain(stage, hub, await stage.register(OF_API, TOURBUS))


def claims_of(token: str) -> dict[str, Any]:
    """What a token says; nothing is verified."""
    return dict(jwt.decode(token, options={"verify_signature": False}))
