"""Request objects (RFC 9101, OpenID Connect Core section 6.1): an authorization request that its application signed.

Then nobody on the way through the browser can change it. Of such a request only the object counts; what stands beside
it in the address is not looked at, but for the client_id (section 5). Applications that prove with a signature who they
are have keys for it; from others a `request` is not supported.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

from services.registry.events import AuthMethod
from services.token_issuer.assertions.jws import Jws, read_jws, timely
from services.token_issuer.assertions.keys import verified
from services.token_issuer.authorization.parameters import LONGEST_IN_ALL, Parameters
from services.token_issuer.fapi import may_sign
from services.token_issuer.issuer import Issuer
from services.token_issuer.views import Application
from shared.errors import Kind, Refusal

_TYPES: Final = frozenset({None, "jwt", "oauth-authz-req+jwt"})
"""Values of `typ` that one may have (section 10.8). A token of another kind is none."""
_OWN: Final = frozenset({"iss", "aud", "exp", "nbf", "iat", "jti"})
"""Claims that are about the object, and no parameters."""


@dataclass(frozen=True, slots=True)
class RequestObject:
    """What one says, believed by nobody yet."""

    jws: Jws
    parameters: Parameters | None
    """What it asks for; None: it asks in a way that no request does."""


def request_object(parameters: Parameters) -> RequestObject | None:
    """What stands in the `request` of a request; None where there is none."""
    text = parameters.get("request")
    if text is None:
        return None
    jws = read_jws(text, LONGEST_IN_ALL) if "request" not in parameters.repeated else None
    return RequestObject(jws, _parameters(jws)) if jws is not None else _MALFORMED


async def effective(
    issuer: Issuer, application: Application | None, parameters: Parameters, signed: RequestObject | None
) -> Parameters:
    """The parameters that count: those of the object, if it is this application's, and for here and now.

    Raises `invalid_request_object`, which is for the person alone: where it goes back to stands in the object.
    """
    if signed is None or application is None or application.settings.auth_method is not AuthMethod.PRIVATE_KEY_JWT:
        return parameters
    jws, asked = signed.jws, signed.parameters
    if parameters.get("request_uri") is not None:
        raise _invalid("request and request_uri stand in one request")
    if asked is None or asked.oversized or jws.typ not in _TYPES:
        raise _invalid("it is malformed")
    client_id = application.client_id
    if jws.claims.get("iss") != client_id or jws.claims.get("client_id") != client_id:
        raise _invalid("iss and client_id have to be the application's client_id")
    if not may_sign(application, jws.algorithm):
        raise _invalid("its algorithm is not one that the FAPI 2.0 Security Profile allows")
    if jws.audiences != (issuer.policy.issuer,):
        raise _invalid("its audience has to be this issuer, and nobody else")
    if jws.lifetime is None or not timely(*jws.lifetime, issuer.clock()):
        raise _invalid("it has to expire, in an hour at the latest, and not to have expired")
    if not verified(jws, await issuer.client_keys.of(application.settings, lambda key: key.fits(jws))):
        raise _invalid("it is not signed with a key of the application")
    return asked


def require_signed(application: Application, signed: RequestObject | None) -> None:
    """Refuse what is not signed of an application that has to sign its requests (section 10.5)."""
    if signed is None and application.settings.require_signed_request_object:
        raise Refusal(Kind.INVALID, "invalid_request", "this application has to sign its requests")


def _parameters(jws: Jws) -> Parameters | None:
    """The claims as parameters (section 4): texts and numbers; `claims` may be an object, `resource` a list."""
    pairs: list[tuple[str, str]] = []
    for name, value in jws.claims.items():
        if name in _OWN:
            continue
        # With a `sub` it could be a client assertion; a reference inside of it is forbidden by section 4.
        if name in {"sub", "request", "request_uri"} or (texts := _texts(name, value)) is None:
            return None
        pairs += [(name, text) for text in texts]
    return Parameters.of(pairs)


def _texts(name: str, value: Any) -> list[str] | None:
    if isinstance(value, str):
        return [value]
    if isinstance(value, int) and not isinstance(value, bool):
        return [str(value)]
    if name == "claims" and isinstance(value, dict):
        return [json.dumps(value)]
    if name == "resource" and isinstance(value, list) and all(isinstance(one, str) for one in value):
        return value
    return None


_MALFORMED: Final = RequestObject(Jws("", None, None, {}, b"", b""), None)


def _invalid(message: str) -> Refusal:
    return Refusal(Kind.INVALID, "invalid_request_object", f"the request object cannot be used: {message}")
