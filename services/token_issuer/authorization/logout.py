"""BeginLogout: the rules of RP-initiated logout (OpenID Connect RP-Initiated Logout 1.0 sections 2 and 3).

`logout_hint` and `ui_locales` change nothing: whoever is signed in is shown whom it is about to sign out, in the one
language that the pages have. An error is shown here, and leads nowhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from services.token_issuer.authorization.begin import Refused
from services.token_issuer.authorization.hints import Hints
from services.token_issuer.authorization.parameters import Parameters
from services.token_issuer.authorization.redirects import registered_for_logout, with_parameters
from services.token_issuer.authorization.rules import invalid_request, state_to_return
from services.token_issuer.issuer import Issuer
from services.token_issuer.views import Application
from shared.errors import Kind, Refusal, Unavailable


@dataclass(frozen=True, slots=True)
class Logout:
    """What the pages have to know to sign somebody out."""

    client_id: str = ""
    display_name: str = ""
    sub: str = ""
    sid: str = ""
    redirect: str = ""
    """Where to go afterwards; empty: nowhere."""


async def begin_logout(issuer: Issuer, pairs: Sequence[tuple[str, str]]) -> Logout | Refused:
    """Apply every rule to a logout request."""
    parameters = Parameters.of(pairs)
    try:
        return await issuer.patiently(lambda: _begin(issuer, parameters))
    except Unavailable:
        raise
    except Refusal as refusal:
        return Refused(refusal.code, refusal.message)


async def _begin(issuer: Issuer, parameters: Parameters) -> Logout:
    if parameters.oversized or parameters.repeated or parameters.faulty():
        raise invalid_request("a parameter is given more than once, is too long, or holds a control character")
    client_id, sub, sid = _who(issuer, parameters)
    after = parameters.get("post_logout_redirect_uri")
    if not client_id:
        if after is not None:
            raise invalid_request("post_logout_redirect_uri needs a client_id or an id_token_hint")
        return Logout(sub=sub, sid=sid)
    application = (await issuer.questions.known(client_id)).application
    if application is None:
        raise Refusal(Kind.INVALID, "invalid_client", "this application is not registered here")
    return Logout(
        client_id=client_id,
        display_name=application.settings.display_name,
        sub=sub,
        sid=sid,
        redirect="" if after is None else _after(application, after, state_to_return(parameters)),
    )


def _who(issuer: Issuer, parameters: Parameters) -> tuple[str, str, str]:
    """The application, the user and the session that the request names; empty where it names none."""
    client_id, hint = parameters.get("client_id") or "", parameters.get("id_token_hint")
    if hint is None:
        return client_id, "", ""
    claims = Hints(issuer.keys, issuer.policy.issuer).read(hint)
    if claims is None:
        raise invalid_request("id_token_hint is not an ID token of this server")
    if client_id and client_id != claims["aud"]:
        raise invalid_request("id_token_hint was given to another application")
    return claims["aud"], claims["sub"], str(claims.get("sid", ""))


def _after(application: Application, uri: str, state: str | None) -> str:
    """The address to go to, if it is registered; a disabled application gets nobody back."""
    if not application.enabled or not registered_for_logout(application, uri):
        raise Refusal(Kind.INVALID, "invalid_redirect_uri", "post_logout_redirect_uri is not registered here")
    return with_parameters(uri, {"state": state})
