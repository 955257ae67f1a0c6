"""Client authentication (RFC 6749 section 2.3): who asks, proved in exactly one way, and in the way registered.

Every failure is the same `invalid_client`, so that nobody learns which applications exist, are disabled, or use what.
"""

from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import unquote_plus

from msgspec import Struct

from services.registry.events import AuthMethod
from services.token_issuer.assertions import assertion as assertions
from services.token_issuer.assertions.assertion import Assertion
from services.token_issuer.assertions.keys import ClientKeys, VerificationKey, verified
from services.token_issuer.client_certificates import ClientCertificate, MutualTls
from services.token_issuer.key_proof import KeyProof
from services.token_issuer.views import Application, Secret
from shared.denials import DenialKind, secrets_id
from shared.errors import Kind, Refusal
from shared.http.forms import Params
from shared.ids import digest, same

_LONGEST = 512
"""Characters of a client_id or secret that are looked at."""
_BASIC = "basic "
"""RFC 7617 section 2; how it is written does not matter (RFC 9110 section 11.1)."""
_NONE = (Secret(digest(""), datetime.min.replace(tzinfo=UTC)),)
"""Compared where there is no secret; it expired before anybody could have had it."""


class Presented(Struct, frozen=True):
    """Who says what to be whom."""

    client_id: str
    method: AuthMethod
    secret: str = ""
    assertion: Assertion | None = None
    key: KeyProof | None = None
    """That they hold a key, whoever they are (RFC 9449)."""
    certificate: ClientCertificate | None = None
    """The certificate of their connection. It proves who they are if that is the method which is registered."""

    def __repr__(self) -> str:
        return f"Presented({self.client_id!r}, {self.method.value})"

    @property
    def anonymous(self) -> bool:
        """They show nothing at all that could prove who they are."""
        return self.method is AuthMethod.NONE and self.certificate is None


def presented(authorization: Sequence[str], form: Params) -> Presented:
    """The credentials of a request: from its `Authorization` headers, or from its body, never from both.

    Raises `invalid_request` where they are given twice, `invalid_client` where there are none.
    """
    client_id, secret = form.get("client_id"), form.get("client_secret")
    if "client_assertion" in form or "client_assertion_type" in form:
        if authorization or secret is not None:
            raise Refusal(Kind.INVALID, "invalid_request", "the client authenticates in more than one way")
        return _asserted(form, client_id)
    if authorization:
        if len(authorization) > 1 or secret is not None:
            raise Refusal(Kind.INVALID, "invalid_request", "the client authenticates in more than one way")
        found = _basic(authorization[0])
        if client_id is not None and client_id != found.client_id:
            raise Refusal(Kind.INVALID, "invalid_request", "the client is named twice, and not alike")
        return found
    if client_id is None:
        raise invalid_client()
    if secret is not None:
        return _bounded(Presented(client_id, AuthMethod.CLIENT_SECRET_POST, secret))
    return _bounded(Presented(client_id, AuthMethod.NONE))


def _asserted(form: Params, client_id: str | None) -> Presented:
    """A client assertion (RFC 7521 section 4.2); the client need not be named beside it, and not otherwise."""
    if form.get("client_assertion_type") != assertions.TYPE:
        raise invalid_client()
    assertion = assertions.read(form.get("client_assertion") or "")
    if assertion is None:
        raise invalid_client()
    if client_id not in (None, assertion.client_id):
        raise Refusal(Kind.INVALID, "invalid_request", "the client is named twice, and not alike")
    return _bounded(Presented(assertion.client_id, AuthMethod.PRIVATE_KEY_JWT, assertion=assertion))


def authenticate(application: Application | None, who: Presented, now: datetime) -> Application:
    """The application, if it proved to be itself and is not disabled; else `invalid_client`. Not for assertions.

    Every secret is compared, known client or not, so that the time tells nothing.
    """
    shown = digest(who.secret)
    valid = False
    for secret in (application.secrets if application is not None else ()) or _NONE:
        alive = secret.expires_at is None or now < secret.expires_at
        valid |= same(shown, secret.digest) and alive
    if application is None or not application.enabled or application.settings.auth_method is not who.method:
        raise invalid_client()
    # A client that authenticates with nothing is one that can keep no secret, whatever its settings say.
    if application.confidential if who.method is AuthMethod.NONE else not valid:
        raise invalid_client()
    return application


async def authenticate_by_assertion(
    application: Application | None, assertion: Assertion, keys: ClientKeys, audiences: Collection[str], now: datetime
) -> Application:
    """The same for an application that signs; `audiences` are what it may call this issuer.

    That the assertion was not used before is for the log to say, when something is appended because of it.
    """
    candidates: Sequence[VerificationKey] = ()
    if application is not None and application.enabled and assertion.timely(audiences, now):
        signs = application.settings.auth_method is AuthMethod.PRIVATE_KEY_JWT and application.confidential
        candidates = await keys.of(application.settings, lambda key: key.fits(assertion.jws)) if signs else ()
    if not verified(assertion.jws, candidates) or application is None:
        raise invalid_client()
    assertion.proved = True
    return application


async def authenticate_by_certificate(
    application: Application, who: Presented, mutual_tls: MutualTls | None, keys: ClientKeys, now: datetime
) -> Application:
    """The same for an application that opens its connection with a certificate (RFC 8705 section 2)."""
    shown = who.certificate
    if shown is None or mutual_tls is None or not (application.enabled and application.confidential):
        raise invalid_client()
    if not await mutual_tls.proves(application.settings, shown, keys, now):
        raise invalid_client()
    shown.proved = True
    return application


def proof(who: Presented) -> tuple[tuple[DenialKind, str], ...]:
    """What belongs to the fence around anything that is given to a client because of what it showed.

    One secret that is revoked, or other keys, stop it for all of them: then what was shown is looked at anew.
    """
    return () if who.anonymous else ((DenialKind.CLIENT, secrets_id(who.client_id)),)


def invalid_client() -> Refusal:
    """RFC 6749 section 5.2."""
    return Refusal(Kind.UNAUTHENTICATED, "invalid_client", "client authentication failed")


def _basic(header: str) -> Presented:
    """HTTP Basic (RFC 7617), both parts form-encoded before (RFC 6749 section 2.3.1)."""
    start = len(_BASIC)
    if header[:start].lower() != _BASIC:
        raise invalid_client()
    try:
        name, colon, secret = a2b_base64(header[start:].lstrip(" "), strict_mode=True).decode().partition(":")
        client_id = _name_decoded(name) if len(name) <= _LONGEST else _form_decoded(name)
        plain = _form_decoded(secret)
    except (Base64Error, ValueError):
        raise invalid_client() from None
    if not colon:
        raise invalid_client()
    return _bounded(Presented(client_id, AuthMethod.CLIENT_SECRET_BASIC, plain))


def _form_decoded(text: str) -> str:
    """Most secrets have nothing to decode."""
    return unquote_plus(text, errors="strict") if "%" in text or "+" in text else text


_name_decoded = lru_cache(maxsize=1024)(_form_decoded)
"""A client's name is no secret, and comes with each of its requests."""


def _bounded(who: Presented) -> Presented:
    too_long = len(who.client_id) > _LONGEST or len(who.secret) > _LONGEST
    # A lone NUL would not even be a question to the database.
    if not who.client_id or too_long or "\0" in who.client_id:
        raise invalid_client()
    return who
