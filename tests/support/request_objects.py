"""Authorization requests that are signed by their application (RFC 9101)."""

from typing import Any

from services.token_issuer.authorization.begin import Outcome, begin
from tests.support.assertions import ClientKey, SigningClient
from tests.support.issuing import CHALLENGE, ISSUER, Stage

TYP = "oauth-authz-req+jwt"


def asking(stage: Stage, client: SigningClient, **changes: Any) -> dict[str, Any]:
    """The claims of the usual request; one that is None is left out."""
    now = int(stage.clock().timestamp())
    claims = {
        "iss": client.client_id,
        "aud": ISSUER,
        "iat": now,
        "exp": now + 300,
        "client_id": client.client_id,
        "redirect_uri": client.redirect_uri,
        "response_type": "code",
        "scope": "openid read offline_access",
        "state": "xyz",
        "nonce": "n-0S6",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        **changes,
    }
    return {name: value for name, value in claims.items() if value is not None}


def request_of(stage: Stage, client: SigningClient, *, key: ClientKey | None = None, **changes: Any) -> str:
    """The object, signed by the application unless another key is named."""
    return (key or client.key).sign(asking(stage, client, **changes), typ=TYP)


async def begin_signed(stage: Stage, client: SigningClient, request: str, *more: tuple[str, str]) -> Outcome:
    """What becomes of it when the browser brings it."""
    return await begin(stage.issuer, [("client_id", client.client_id), ("request", request), *more])
