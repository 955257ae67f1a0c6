"""Introspection (RFC 7662): a resource asks whether a token is active, and learns only of tokens that are its own."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from services.token_issuer.clients import Presented, invalid_client, proof
from services.token_issuer.domain.binding import cnf
from services.token_issuer.grants.parts import allowed_now
from services.token_issuer.issuer import Issuer, use_of
from services.token_issuer.references.checks import Reference, ReferenceChecks
from services.token_issuer.references.texts import looks_like_reference
from services.token_issuer.refreshing import grant_of_refresh_token
from services.token_issuer.shown import read_shown
from services.token_issuer.views import Known
from shared.denials import DenialKind
from shared.errors import Refusal, Unavailable
from shared.http.forms import Params
from shared.ids import digest, same
from shared.log.append import Append, Fence
from stagedoor import Denied, Guard
from stagedoor.dpop import NOT_PRESENTED
from stagedoor.token import AccessToken

INACTIVE = {"active": False}

_TOLD = (
    *("iss", "sub", "aud", "client_id", "scope", "iat", "nbf", "exp", "jti"),
    *("auth_time", "acr", "amr", "roles", "act", "cnf"),
)


async def introspect(
    issuer: Issuer, guard: Guard, references: ReferenceChecks, who: Presented, form: Params
) -> dict[str, Any]:
    """What the caller may know of a token: that it is active, and what it says; or that it is not.

    A token that is none of the caller's business is not told apart from one that never was. `guard` has to be running.
    """
    if who.anonymous:
        raise invalid_client()
    token = form.require("token")
    gid = grant_of_refresh_token(token)
    access_token: AccessToken | Reference | None = None
    if looks_like_reference(token):
        access_token = await references.find(token)
    elif gid is None:
        access_token = await read_shown(issuer, token)
    complete_to, epoch = issuer.following.complete_to, issuer.following.epoch
    known, head = await _asked(issuer, who, gid, access_token)
    if access_token is not None:
        if not _concerns(access_token, who.client_id, known):
            return INACTIVE
        if isinstance(access_token, Reference):
            return await _reference(references, token, head)
        return await _access_token(guard, token, access_token, head)
    behind = complete_to < known.head or epoch != known.as_of.epoch
    if known.grant is not None and known.grant.grant.client_id == who.client_id and behind:
        # As of the head of the log here too: nothing is active because its end has not been heard of yet.
        await issuer.following.reach(known.head, known.as_of.epoch)
        known = await issuer.questions.known(who.client_id, gid=gid)
    return _refresh_token(issuer, token, known)


async def _asked(
    issuer: Issuer, who: Presented, gid: str | None, token: AccessToken | Reference | None
) -> tuple[Known, int]:
    """What is known, once the caller has proved to be itself; and a head of the log that is not older than the request.

    An assertion is used up in an append of its own. That has a fence, so what was known a moment ago may be acted on,
    and it tells the head: then nothing else is asked. It is no reason to refuse anything, for which it is asked anew.
    """
    identifiers = () if token is None else tuple(token.audiences)
    signs = who.assertion is not None and token is not None
    lately = issuer.questions.lately(who.client_id, identifiers) if signs else None

    async def decide() -> tuple[Known, Append | None]:
        nonlocal lately
        known, lately = lately, None
        if known is not None and token is not None and _concerns(token, who.client_id, known):
            with suppress(Refusal):
                return await decided(known)
        return await decided(await issuer.questions.known(who.client_id, gid=gid, identifiers=identifiers))

    async def decided(known: Known) -> tuple[Known, Append | None]:
        application = await issuer.authenticate(known.application, who)
        if not application.confidential:  # with a certificate, which anybody may have
            raise invalid_client()
        if who.assertion is None:
            return known, None
        return known, use_of(who.assertion, Fence(known.as_of, ((DenialKind.CLIENT, who.client_id), *proof(who))))

    known, appended = await issuer.write(decide, who)
    # The last position before that of the use itself, which ends nothing.
    return known, known.head if appended is None else appended.position - 1


def _concerns(token: AccessToken | Reference, client_id: str, known: Known) -> bool:
    """Whether the token is the caller's own, or for a resource that names the caller."""
    return token.client_id == client_id or any(
        resource.identifier in token.audiences and f"client:{client_id}" in resource.settings.callers
        for resource in known.resources
    )


async def _access_token(guard: Guard, token: str, verified: AccessToken, head: int) -> dict[str, Any]:
    """The answer as of the head of the log, so that what was revoked before the question is never active."""
    audience = next(iter(verified.audiences), None)
    # Its key is told of: whoever was shown the token checks the proof (RFC 9449 section 6.2).
    verdict = await guard.validate(token, audience=audience, min_position=head, proof=NOT_PRESENTED)
    if isinstance(verdict, Denied):
        if verdict.temporary:
            raise Unavailable(verdict.reason.value, verdict.description)
        return INACTIVE
    return _active(verdict.claims)


async def _reference(references: ReferenceChecks, token: str, head: int) -> dict[str, Any]:
    """The same for a reference token."""
    judgement = await references.judge(token, audience=None, min_position=head)
    if judgement.temporary:
        raise Unavailable(judgement.reason, "what has been revoked is not known recently enough")
    return _active(judgement.claims) if judgement.allowed else INACTIVE


def _active(claims: Mapping[str, Any]) -> dict[str, Any]:
    kind = "DPoP" if "jkt" in claims.get("cnf", ()) else "Bearer"
    return {"active": True, "token_type": kind, **{name: claims[name] for name in _TOLD if name in claims}}


def _refresh_token(issuer: Issuer, token: str, known: Known) -> dict[str, Any]:
    """Refresh tokens concern nobody but the client that has them."""
    found, application = known.grant, known.application
    if found is None or application is None or found.grant.client_id != application.client_id:
        return INACTIVE
    grant, now = found.grant, issuer.clock()
    current = grant.refresh_digest is not None and same(digest(token), grant.refresh_digest)
    left = allowed_now(application, known, found, issuer.policy.places)
    bound = cnf(grant.refresh_jkt, grant.refresh_x5t_s256)
    if not (current and grant.refreshable(now) and left.audiences) or grant.refresh_expires_at is None:
        return INACTIVE
    return {
        "active": True,
        "iss": issuer.policy.issuer,
        "sub": grant.sub,
        "client_id": grant.client_id,
        "scope": " ".join(left.scopes),
        "exp": int(grant.refresh_expires_at.timestamp()),
        **({} if bound is None else {"cnf": bound}),
    }
