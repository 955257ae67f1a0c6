"""Devices that ask for access (RFC 8628), and people who let them in."""

from dataclasses import dataclass, replace
from typing import Any

import httpx

from services.registry.events import ApplicationSettings, ApplicationType, AuthMethod, GrantType
from services.token_issuer.authorization import device
from services.token_issuer.authorization.device import Waiting
from services.token_issuer.authorization.person import SignedIn
from shared.ids import new_command_id, new_id
from shared.log.append import Context
from tests.support.issuing import Client, Stage

TELEVISION = "com.television/app"
GRANT = GrantType.DEVICE_CODE.value
PUBLIC_DEVICE = ApplicationSettings(
    display_name="Television",
    type=ApplicationType.NATIVE,
    scopes=("read", "update"),
    grants=(GrantType.DEVICE_CODE, GrantType.REFRESH_TOKEN),
    auth_method=AuthMethod.NONE,
)
"""Without a redirect URI."""
CONFIDENTIAL_DEVICE = PUBLIC_DEVICE.model_copy(
    update={"type": ApplicationType.CONFIDENTIAL, "auth_method": AuthMethod.CLIENT_SECRET_BASIC}
)


@dataclass(frozen=True)
class Asked:
    """What a device was told."""

    device_code: str
    user_code: str


async def ask_raw(stage: Stage, client: Client, **form: str) -> httpx.Response:
    """A device asks."""
    return await stage.http.post("/id/connect/device", data=client.form(**form), headers=client.headers())


async def ask(stage: Stage, client: Client, scope: str = "openid read offline_access", **form: str) -> Asked:
    """A device asks, and is told its codes."""
    answer = await ask_raw(stage, client, scope=scope, **form)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    return Asked(told["device_code"], told["user_code"])


async def poll(stage: Stage, client: Client, asked: Asked | str, **more: str) -> httpx.Response:
    """It asks how it stands."""
    code = asked if isinstance(asked, str) else asked.device_code
    return await stage.token(client, grant_type=GRANT, device_code=code, **more)


async def begin(stage: Stage, asked: Asked) -> Waiting:
    """A person types the code."""
    found = await device.begin(stage.issuer, asked.user_code)
    assert isinstance(found, Waiting), found
    return found


async def allow(stage: Stage, waiting: Waiting, person: SignedIn, position: int = 0, **changes: Any) -> int:
    """They allow everything."""
    request = waiting.proceed.request
    agreed = replace(person, **{"consented": request.scopes, **changes})
    return await device.allow(stage.issuer, waiting.proceed.sealed, agreed, position, context(person.sub))


async def refuse(stage: Stage, waiting: Waiting, person: SignedIn) -> int:
    """They say no."""
    return await device.refuse(stage.issuer, waiting.proceed.sealed, person.sid, person.sub, context(person.sub))


async def allowed(stage: Stage, client: Client, sub: str, **form: str) -> tuple[Asked, SignedIn]:
    """A device that has been let in, and who did that."""
    asked = await ask(stage, client, **form)
    person, position = await stage.sign_in(sub)
    await allow(stage, await begin(stage, asked), person, position)
    return asked, person


def context(sub: str) -> Context:
    """For what a person does."""
    return Context(f"user:{sub}", new_id(), new_command_id())
