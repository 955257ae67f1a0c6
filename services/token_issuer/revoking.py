"""Taking tokens back: by the application that has them (RFC 7009), or by an administrator."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from services.token_issuer.clients import Presented
from services.token_issuer.domain import exchange, reference_token, revocation
from services.token_issuer.domain import grant as grants
from services.token_issuer.events import (
    AccessTokenExchanged,
    AccessTokenIssued,
    CodeRedeemed,
    GrantEndReason,
    ReferenceEndReason,
    RefreshTokenRotated,
    RefreshTokenUsed,
)
from services.token_issuer.grants.refresh_token import outdated
from services.token_issuer.issuer import Issuer, append_of, on_behalf_of
from services.token_issuer.read_model import project
from services.token_issuer.references import issuing as references
from services.token_issuer.references.texts import looks_like_reference
from services.token_issuer.refreshing import grant_of_refresh_token
from services.token_issuer.settings import LONGEST_ACCESS_TOKEN
from services.token_issuer.shown import read_shown
from services.token_issuer.views import KnownGrant
from shared.errors import Kind, Refusal
from shared.handle import handle
from shared.http.forms import Params
from shared.ids import digest
from shared.log.append import Append, Context
from shared.log.event import Event
from shared.log.row import EventFilter

LEEWAY = timedelta(seconds=60)
"""More than any check lets a token outlive its `exp`: so long there is something to revoke."""

ANYBODY = ""
"""Stands for the client where an administrator asks: whichever has the grant."""


async def revoke(issuer: Issuer, who: Presented, form: Params) -> int:
    """Revoke a token of the client that asks; answers the position, 0 where there was nothing to do.

    A token that nobody knows, or that has ended, is revoked already (RFC 7009 section 2.2); one of another client is
    refused (section 2.1).
    """
    token = form.require("token")
    application = await issuer.authenticate((await issuer.questions.known(who.client_id)).application, who)
    await issuer.spend(who.assertion)
    return await revoke_token(issuer, token, application.client_id, on_behalf_of(application.client_id))


async def revoke_token(issuer: Issuer, token: str, client_id: str, context: Context) -> int:
    """Revoke a token, if it is this client's, or whoever's for `ANYBODY`."""
    if looks_like_reference(token):
        anybody = client_id == ANYBODY
        reason = ReferenceEndReason.BY_ADMINISTRATOR if anybody else ReferenceEndReason.BY_APPLICATION
        return await references.revoke_presented(issuer, token, reason, client_id, context)
    gid = grant_of_refresh_token(token)
    if gid is not None:

        def genuine(found: KnownGrant) -> bool:
            shown = digest(token)
            kept = (found.grant.refresh_digest, found.grant.previous_digest)
            return shown in kept or outdated(issuer.refresh_tokens, token, found)

        ended = GrantEndReason.REFRESH_TOKEN_REVOKED
        return await end_grant(issuer, gid, client_id, ended, context=context, genuine=genuine) or 0
    verified = await read_shown(issuer, token)
    if verified is None:
        return 0
    if client_id not in (ANYBODY, verified.client_id):
        raise _not_yours()
    ends_at = datetime.fromtimestamp(verified.exp, UTC)
    if issuer.clock() >= ends_at + LEEWAY:
        return 0
    command = revocation.Revoke(verified.jti, verified.client_id, ends_at)
    return await revoke_access_token(issuer, command, context)


async def revoke_by_id(issuer: Issuer, jti: str, context: Context) -> int:
    """Revoke the token with this id. An access token is looked for among the events of one token's lifetime.

    Raises a refusal if it was not issued, or has expired.
    """
    if (await issuer.log.load(reference_token.decider.stream(jti))).events:
        return await references.revoke(issuer, jti, ReferenceEndReason.BY_ADMINISTRATOR, ANYBODY, context)
    now = issuer.clock()
    wanted = EventFilter(
        types=tuple(issuing.stored_as for issuing in _ISSUING),
        jtis=(jti,),
        since=now - LONGEST_ACCESS_TOKEN - LEEWAY,
    )
    for row in await issuer.log.read_rows(0, limit=1, matching=wanted):
        event = issuer.log.catalogue[row.type].from_json(row.data)
        client_id, ends_at = await _client_and_end(issuer, event, row.recorded_at)
        if now < ends_at + LEEWAY:
            return await revoke_access_token(issuer, revocation.Revoke(jti, client_id, ends_at), context)
    raise Refusal(Kind.NOT_FOUND, "token_not_found", "no token with this id was issued, or it has expired")


_ISSUING = (AccessTokenIssued, CodeRedeemed, RefreshTokenRotated, RefreshTokenUsed, AccessTokenExchanged)


async def _client_and_end(issuer: Issuer, event: Event, issued_at: datetime) -> tuple[str, datetime]:
    """Whose token an event issued, and when that ends."""
    match event:
        case AccessTokenIssued():
            return event.client_id, issued_at + timedelta(seconds=event.access_token_seconds)
        case AccessTokenExchanged():
            return event.client_id, exchange.ends_at(event, issued_at)
        case CodeRedeemed() | RefreshTokenRotated() | RefreshTokenUsed():
            found = (await issuer.questions.known(ANYBODY, gid=event.gid)).grant
            client_id = ANYBODY if found is None else found.grant.client_id
            return client_id, issued_at + timedelta(seconds=event.access_token_seconds)
        case _:
            raise TypeError("this event issues no token")


async def revoke_access_token(issuer: Issuer, command: revocation.Revoke, context: Context) -> int:
    """Write that a token is revoked, once; answers the position."""
    handled = await handle(issuer.log, revocation.decider, command.jti, command, context=context, project=project)
    return handled.position


async def end_grant(  # noqa: PLR0913  (each is one independent part of the question)
    issuer: Issuer,
    gid: str,
    client_id: str,
    reason: GrantEndReason,
    *,
    context: Context,
    genuine: Callable[[KnownGrant], bool],
) -> int | None:
    """End a grant, if it is this client's and `genuine` says so.

    Answers the position; 0 where it has ended already, None where there is no such grant.
    """

    async def decide() -> tuple[bool, Append | None]:
        found = (await issuer.questions.known(client_id, gid=gid)).grant
        if found is None or not genuine(found):
            return False, None
        if client_id not in (ANYBODY, found.grant.client_id):
            raise _not_yours()
        events = grants.decider.decide(grants.End(reason, issuer.clock()), found.grant)
        append = append_of(grants.decider.stream(gid), found.version, events, context)
        return True, append if events else None

    there, appended = await issuer.write(decide)
    if not there:
        return None
    return 0 if appended is None else appended.position


def _not_yours() -> Refusal:
    return Refusal(Kind.INVALID, "unauthorized_client", "the token was issued to another client")
