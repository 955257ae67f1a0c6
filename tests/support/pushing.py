"""Authorization requests that are pushed (RFC 9126)."""

import httpx

from services.token_issuer.authorization.begin import Outcome, begin
from tests.support.issuing import CHALLENGE, Client, Stage


async def push(stage: Stage, client: Client, **changes: str) -> httpx.Response:
    """Push the usual request; an empty value leaves a parameter out."""
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
    form = client.form(**{name: value for name, value in parameters.items() if value})
    return await stage.http.post("/id/connect/par", data=form, headers=client.headers())


async def pushed_uri(stage: Stage, client: Client, **changes: str) -> str:
    """The `request_uri` of such a request."""
    answer = await push(stage, client, **changes)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["request_uri"])


async def begin_pushed(stage: Stage, client: Client, uri: str, **more: str) -> Outcome:
    """What becomes of the reference when the browser brings it."""
    return await begin(stage.issuer, [("client_id", client.client_id), ("request_uri", uri), *more.items()])
