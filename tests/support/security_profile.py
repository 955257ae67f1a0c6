"""Applications that are held to the FAPI 2.0 Security Profile, as their developers would write them."""

from typing import Any

import httpx

from services.registry.events import ApplicationSettings, ResponseAlgorithm, SecurityProfile
from services.token_issuer.authorization.begin import Outcome
from tests.support.assertions import ClientKey, SigningClient, signing, signing_client
from tests.support.dpop import PAR, ProofKey, ask, redeem
from tests.support.issuing import CHALLENGE, HUB, Stage, query
from tests.support.pushing import begin_pushed

CALLBACK = "https://backstagehub.example/callback"
HELD: dict[str, Any] = {
    "security_profile": SecurityProfile.FAPI2,
    "redirect_uris": (CALLBACK,),
    "require_pushed_authorization_requests": True,
    "dpop_bound_access_tokens": True,
    "id_token_signed_response_alg": ResponseAlgorithm.ES256,
}


def held(*keys: ClientKey, **changes: Any) -> ApplicationSettings:
    """Settings of such an application with these keys."""
    return signing(*keys, **{**HELD, **changes})


async def held_client(
    stage: Stage, key: ClientKey | None = None, *, client_id: str = HUB, resources: bool = True, **changes: Any
) -> SigningClient:
    """One with this key, registered."""
    return await signing_client(stage, key, client_id=client_id, resources=resources, **{**HELD, **changes})


async def push(stage: Stage, client: SigningClient, key: ProofKey | None = None, **changes: str) -> httpx.Response:
    """Push the usual request, with a proof of this key if there is one; an empty value leaves a parameter out."""
    parameters = {
        "client_id": client.client_id,
        "redirect_uri": client.redirect_uri,
        "response_type": "code",
        "scope": "openid read offline_access",
        "state": "xyz",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        **changes,
    }
    return await ask(stage, client, key, at=PAR, **{name: value for name, value in parameters.items() if value})


async def begun(stage: Stage, client: SigningClient, key: ProofKey | None = None, **changes: str) -> Outcome:
    """What becomes of such a request in the browser."""
    answer = await push(stage, client, key, **changes)
    assert answer.status_code == 201, answer.text
    return await begin_pushed(stage, client, answer.json()["request_uri"])


async def code(stage: Stage, client: SigningClient, sub: str, key: ProofKey | None = None) -> str:
    """A code for this user; bound to the key, if there is one."""
    person, position = await stage.sign_in(sub)
    sent = query((await stage.issue(await begun(stage, client, key), person, position)).redirect.uri)
    assert "code" in sent, sent
    return sent["code"]


async def tokens(stage: Stage, client: SigningClient, key: ProofKey, sub: str) -> dict[str, Any]:
    """Everything that a sign-in gives."""
    answer = await redeem(stage, client, key, await code(stage, client, sub, key))
    assert answer.status_code == 200, answer.text
    return dict(answer.json())
