"""Userinfo, signed on the identity service's behalf (OpenID Connect Core section 5.3.2): it holds no signing key.

Who is told, and of whom, is taken from the access token that userinfo was asked with, never from the identity service.
"""

from typing import Any

import msgspec

from services.token_issuer.claims import CLAIMS
from services.token_issuer.issuer import Issuer
from services.token_issuer.scopes import OPENID
from services.token_issuer.shown import read_shown
from services.token_issuer.signing import FOR_APPLICATIONS
from shared.errors import Kind, Refusal, Unavailable

USERINFO = "userinfo+jwt"
"""Its `typ`: it is neither an ID token nor an access token. Besides, those have an end, and this has none."""
LONGEST = 32 * 1024
"""Characters of the claims."""


async def sign_userinfo(issuer: Issuer, access_token: str, claims: str) -> str:
    """The claims as a JWT for the application of the token, if it wants that. Raises `Refusal`."""
    issuer.check_switch()
    shown = await read_shown(issuer, access_token)
    if shown is None or shown.said.exp <= issuer.clock().timestamp():
        raise _refused("the access token is not one of this issuer, or it has expired")
    if OPENID not in shown.scopes or issuer.policy.places.userinfo not in shown.said.aud:
        raise _refused("the access token is not for userinfo")
    client_id = shown.said.client_id
    application = (await issuer.questions.known(client_id)).application
    if application is None or not application.enabled:
        raise _refused("the application of the token is not there")
    algorithm = application.settings.userinfo_signed_response_alg
    if algorithm is None:
        # One of the two services has not heard of a change yet.
        raise Unavailable("not_signed", "the application does not want userinfo signed, as far as is known here")
    told = _claims(claims)
    if told.get("sub") != shown.sub:
        raise _refused("the access token is another person's")
    await issuer.keys.renew()
    key = issuer.keys.signer(FOR_APPLICATIONS[algorithm])
    return key.sign(USERINFO, {"iss": issuer.policy.issuer, "aud": client_id, **told})


def _claims(text: str) -> dict[str, Any]:
    """The claims, none of them one that means something to whoever checks a token."""
    try:
        told = msgspec.json.decode(text, type=dict[str, Any]) if len(text) <= LONGEST else {}
    except (ValueError, RecursionError):
        told = {}
    if not told or not told.keys() <= {"sub", *CLAIMS}:
        raise _refused("these are not claims that userinfo tells")
    return told


def _refused(message: str) -> Refusal:
    return Refusal(Kind.INVALID, "invalid_request", message)
