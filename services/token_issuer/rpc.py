"""The issuer's gRPC edge: sign-in for the identity service, tokens and grants for administrators. No rules in here."""
# ruff: noqa: N802, ARG002  (gRPC names its methods so, and gives each a context)

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import grpc
from msgspec.structs import replace

from protos.stagedoor.tokens.v1 import tokens_pb2 as pb
from protos.stagedoor.tokens.v1.tokens_pb2_grpc import AuthorizationServicer, TokensServicer
from services.identity.events import Role
from services.token_issuer.authorization import device
from services.token_issuer.authorization.answers import Redirect
from services.token_issuer.authorization.begin import Proceed, Refused, begin
from services.token_issuer.authorization.issue import issue_code, refuse
from services.token_issuer.authorization.logout import Logout, begin_logout
from services.token_issuer.authorization.person import SignedIn
from services.token_issuer.events import GrantEndReason, KeyUse, ReferenceEndReason
from services.token_issuer.issuer import Issuer
from services.token_issuer.paging import page_size, page_start, page_token
from services.token_issuer.references import messages
from services.token_issuer.references.issuing import Maker, issue, revoke, revoke_presented
from services.token_issuer.references.texts import kind_of
from services.token_issuer.revoking import ANYBODY, end_grant, revoke_by_id, revoke_token
from services.token_issuer.signed_userinfo import sign_userinfo
from services.token_issuer.signing_key_tables import KeptKey
from services.token_issuer.views import KnownGrant
from shared.errors import Kind, Refusal
from shared.log.append import Context
from shared.rpc import caller
from shared.rpc.caller import Rule

AUTHORIZATION = "stagedoor.tokens.v1.Authorization"
TOKENS = "stagedoor.tokens.v1.Tokens"

_Call = grpc.aio.ServicerContext[Any, Any]

_IDENTITY = Rule(frozenset({"service/identity"}))
_ADMINISTRATORS = Rule(frozenset({"operator"}), frozenset({Role.ADMINISTRATOR.value}))
_CONSOLES = Rule(frozenset({"operator", "service/console"}), frozenset({Role.ADMINISTRATOR.value}))


def _methods(service: str) -> Iterable[str]:
    return (method.name for method in pb.DESCRIPTOR.services_by_name[service].methods)


RULES: Mapping[str, Rule] = {
    **{f"/{AUTHORIZATION}/{method}": _IDENTITY for method in _methods("Authorization")},
    **{f"/{TOKENS}/{method}": _CONSOLES for method in _methods("Tokens")},
    f"/{TOKENS}/IssueReference": _ADMINISTRATORS,
    # Whoever holds a token that leaked could use it; so they may as well end it.
    f"/{TOKENS}/ReportLeaked": Rule(frozenset({"*"})),
}

_LONGEST_ID = 128


class AuthorizationService(AuthorizationServicer):
    """`stagedoor.tokens.v1.Authorization`: the identity service shows the pages, the rules are here."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer

    async def BeginAuthorization(
        self, request: pb.BeginAuthorizationRequest, context: _Call
    ) -> pb.BeginAuthorizationResponse:
        """Apply the rules to a raw authorization request."""
        outcome = await begin(self._issuer, _pairs(request.parameters))
        if isinstance(outcome, Proceed):
            return pb.BeginAuthorizationResponse(proceed=_proceed(outcome))
        if isinstance(outcome, Redirect):
            if outcome.form:
                return pb.BeginAuthorizationResponse(form_post=_form_post(outcome))
            return pb.BeginAuthorizationResponse(redirect=outcome.uri)
        return pb.BeginAuthorizationResponse(refused=pb.Refused(error=outcome.error, description=outcome.description))

    async def IssueCode(self, request: pb.IssueCodeRequest, context: _Call) -> pb.IssueCodeResponse:
        """Open the grant."""
        person = _signed_in(request)
        origin = _on_behalf_of(person.sub)
        sent = await issue_code(self._issuer, request.sealed_request, person, request.minimum_position, origin)
        if sent.redirect.form:
            return pb.IssueCodeResponse(form_post=_form_post(sent.redirect), position=sent.position)
        return pb.IssueCodeResponse(redirect=sent.redirect.uri, position=sent.position)

    async def RefuseAuthorization(
        self, request: pb.RefuseAuthorizationRequest, context: _Call
    ) -> pb.RefuseAuthorizationResponse:
        """Send the browser back with a no."""
        sent = refuse(self._issuer, request.sealed_request, request.error)
        if sent.form:
            return pb.RefuseAuthorizationResponse(form_post=_form_post(sent))
        return pb.RefuseAuthorizationResponse(redirect=sent.uri)

    async def BeginDeviceAuthorization(
        self, request: pb.BeginDeviceAuthorizationRequest, context: _Call
    ) -> pb.BeginDeviceAuthorizationResponse:
        """Look for what a device asks for."""
        outcome = await device.begin(self._issuer, request.user_code)
        if isinstance(outcome, Refused):
            refused = pb.Refused(error=outcome.error, description=outcome.description)
            return pb.BeginDeviceAuthorizationResponse(refused=refused)
        proceed = _proceed(outcome.proceed)
        proceed.user_code = outcome.user_code
        return pb.BeginDeviceAuthorizationResponse(proceed=proceed)

    async def AllowDevice(self, request: pb.AllowDeviceRequest, context: _Call) -> pb.AllowDeviceResponse:
        """Open the grant that a device waits for."""
        person = _signed_in(request)
        origin = _on_behalf_of(person.sub)
        sealed, minimum = request.sealed_request, request.minimum_position
        return pb.AllowDeviceResponse(position=await device.allow(self._issuer, sealed, person, minimum, origin))

    async def RefuseDevice(self, request: pb.RefuseDeviceRequest, context: _Call) -> pb.RefuseDeviceResponse:
        """Let the device know that there will be none."""
        _check_ids(request.sid, request.sub)
        origin = _on_behalf_of(request.sub)
        position = await device.refuse(self._issuer, request.sealed_request, request.sid, request.sub, origin)
        return pb.RefuseDeviceResponse(position=position)

    async def SignUserinfo(self, request: pb.SignUserinfoRequest, context: _Call) -> pb.SignUserinfoResponse:
        """Sign an answer of userinfo."""
        return pb.SignUserinfoResponse(jwt=await sign_userinfo(self._issuer, request.access_token, request.claims))

    async def BeginLogout(self, request: pb.BeginLogoutRequest, context: _Call) -> pb.BeginLogoutResponse:
        """Apply the rules to a raw logout request."""
        outcome = await begin_logout(self._issuer, _pairs(request.parameters))
        if isinstance(outcome, Logout):
            return pb.BeginLogoutResponse(
                logout=pb.Logout(
                    client_id=outcome.client_id,
                    display_name=outcome.display_name,
                    sub=outcome.sub,
                    sid=outcome.sid,
                    redirect=outcome.redirect,
                )
            )
        return pb.BeginLogoutResponse(refused=pb.Refused(error=outcome.error, description=outcome.description))


class TokensService(TokensServicer):
    """`stagedoor.tokens.v1.Tokens`, for administrators."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer

    async def RevokeToken(self, request: pb.RevokeTokenRequest, context: _Call) -> pb.RevokeTokenResponse:
        """Revoke one access token, a reference token, or the grant of a refresh token."""
        match request.WhichOneof("what"):
            case "token":
                position = await revoke_token(self._issuer, request.token, ANYBODY, caller.context())
            case "jti":
                _check_ids(request.jti)
                position = await revoke_by_id(self._issuer, request.jti, caller.context())
            case _:
                raise _invalid("name a token, or its jti")
        return pb.RevokeTokenResponse(position=position)

    async def EndGrant(self, request: pb.EndGrantRequest, context: _Call) -> pb.EndGrantResponse:
        """End a grant and every token of it."""
        _check_ids(request.gid)
        reason = GrantEndReason.ENDED_BY_ADMINISTRATOR
        position = await end_grant(
            self._issuer, request.gid, ANYBODY, reason, context=caller.context(), genuine=lambda _: True
        )
        if position is None:
            raise Refusal(Kind.NOT_FOUND, "grant_not_found", "there is no such grant")
        return pb.EndGrantResponse(position=position)

    async def ListGrants(self, request: pb.ListGrantsRequest, context: _Call) -> pb.ListGrantsResponse:
        """Grants, newest first."""
        size = page_size(request.page_size)
        found = await self._issuer.questions.grants(
            sub=_filter(request.sub),
            client_id=_filter(request.client_id),
            before=page_start(request.page_token),
            limit=size + 1,
        )
        page = found[:size]
        return pb.ListGrantsResponse(
            grants=[_grant(known, self._issuer.clock()) for known in page],
            next_page_token=page_token(page[-1].born) if len(found) > size else "",
        )

    async def ListKeys(self, request: pb.ListKeysRequest, context: _Call) -> pb.ListKeysResponse:
        """All signing keys there ever were."""
        await self._issuer.keys.look()
        return pb.ListKeysResponse(keys=map(_key, self._issuer.keys.list()))

    async def RotateKey(self, request: pb.RotateKeyRequest, context: _Call) -> pb.RotateKeyResponse:
        """Announce a successor."""
        if request.use not in set(KeyUse):
            raise _invalid(f"the use of a key is one of {', '.join(KeyUse)}")
        rotated = await self._issuer.keys.rotate(KeyUse(request.use), caller.context())
        response = pb.RotateKeyResponse(kid=rotated.kid, position=rotated.position)
        if rotated.use_from is not None:
            response.use_from.FromDatetime(rotated.use_from)
        return response

    async def CompromiseKey(self, request: pb.CompromiseKeyRequest, context: _Call) -> pb.CompromiseKeyResponse:
        """Withdraw a key and all that it signed."""
        _check_ids(request.kid)
        return pb.CompromiseKeyResponse(position=await self._issuer.keys.compromise(request.kid, caller.context()))

    async def IssueReference(self, request: pb.IssueReferenceRequest, context: _Call) -> pb.IssueReferenceResponse:
        """A token that acts as the administrator who asks, or as an application's service account."""
        wanted = messages.wanted(request)
        return messages.made(await issue(self._issuer, wanted, Maker(_administrator()), caller.context()))

    async def ListReferences(self, request: pb.ListReferencesRequest, context: _Call) -> pb.ListReferencesResponse:
        """Reference tokens, newest first, those that have ended among them."""
        size = page_size(request.page_size)
        found = await self._issuer.questions.references.page(
            _filter(request.sub),
            _filter(request.client_id),
            self._issuer.clock(),
            before=page_start(request.page_token),
            limit=size + 1,
        )
        page = found[:size]
        return pb.ListReferencesResponse(
            references=[messages.listed(one) for one in page],
            next_page_token=page_token(page[-1].reference.position) if len(found) > size else "",
        )

    async def RevokeReference(self, request: pb.RevokeReferenceRequest, context: _Call) -> pb.RevokeReferenceResponse:
        """One of anybody's, taken back."""
        _check_ids(request.jti)
        reason = ReferenceEndReason.BY_ADMINISTRATOR
        position = await revoke(self._issuer, request.jti, reason, ANYBODY, caller.context())
        return pb.RevokeReferenceResponse(position=position)

    async def ReportLeaked(self, request: pb.ReportLeakedRequest, context: _Call) -> pb.ReportLeakedResponse:
        """A token that somebody found."""
        if kind_of(request.token) is None:
            raise Refusal(Kind.INVALID, "malformed", "this is not a reference token: its form or its check is wrong")
        reason = ReferenceEndReason.REPORTED_LEAKED
        position = await revoke_presented(self._issuer, request.token, reason, ANYBODY, caller.context())
        return pb.ReportLeakedResponse(position=position)


def _administrator() -> str:
    person = caller.current.get().person
    if person is None:
        raise LookupError("the rules of these methods ask for a person")
    return person.sub


def _key(kept: KeptKey) -> pb.SigningKey:
    message = pb.SigningKey(kid=kept.kid, use=kept.use.value, algorithm=kept.algorithm, state=kept.state.value)
    message.announced_at.FromDatetime(kept.announced_at)
    if kept.use_from is not None:
        message.use_from.FromDatetime(kept.use_from)
    if kept.activated_at is not None:
        message.activated_at.FromDatetime(kept.activated_at)
    if kept.retire_from is not None:
        message.retire_from.FromDatetime(kept.retire_from)
    return message


def _proceed(outcome: Proceed) -> pb.Proceed:
    settings, request = outcome.application.settings, outcome.request
    return pb.Proceed(
        sealed_request=outcome.sealed,
        client_id=request.client_id,
        display_name=settings.display_name,
        logo_uri=settings.logo_uri or "",
        contact=settings.contact or "",
        redirect_origin=outcome.redirect_origin,
        scopes=[pb.RequestedScope(name=name, description=description) for name, description in outcome.scopes],
        prompt=request.prompt,
        max_age=request.max_age,
        login_hint=outcome.login_hint,
        skip_consent=outcome.skip_consent,
        second_factor_wished=outcome.second_factor_wished,
        second_factor_demanded=outcome.second_factor_demanded,
        expected_sub=request.expected_sub or "",
        ui_locales=outcome.ui_locales,
    )


def _signed_in(request: pb.IssueCodeRequest | pb.AllowDeviceRequest) -> SignedIn:
    _check_ids(request.sid, request.sub)
    if not request.HasField("auth_time") or request.minimum_position < 0:
        raise _invalid("auth_time is missing, or the position negative")
    return SignedIn(
        sid=request.sid,
        sub=request.sub,
        auth_time=request.auth_time.ToDatetime(UTC),
        amr=tuple(request.amr),
        consented=tuple(dict.fromkeys(request.consented_scopes)),
    )


def _on_behalf_of(sub: str) -> Context:
    """It is the person who does this, though the identity service brings the message."""
    return replace(caller.context(), actor=f"user:{sub}")


def _form_post(sent: Redirect) -> pb.FormPost:
    return pb.FormPost(action=sent.uri, fields=[pb.Parameter(name=name, value=value) for name, value in sent.form])


def _grant(known: KnownGrant, now: datetime) -> pb.Grant:
    grant = known.grant
    last = max(grant.tokens_end_at, grant.refresh_expires_at or grant.tokens_end_at)
    message = pb.Grant(
        gid=grant.gid,
        client_id=grant.client_id,
        sub=grant.sub,
        sid=grant.sid,
        scopes=grant.scopes,
        state="ended" if grant.ended is not None or now >= last else "open",
        position=known.born,
    )
    message.opened_at.FromDatetime(grant.opened_at)
    if grant.refresh_expires_at is not None:
        message.refresh_expires_at.FromDatetime(grant.refresh_expires_at)
    return message


def _pairs(parameters: Iterable[pb.Parameter]) -> list[tuple[str, str]]:
    return [(parameter.name, parameter.value) for parameter in parameters]


def _check_ids(*ids: str) -> None:
    for one in ids:
        if not 1 <= len(one) <= _LONGEST_ID or not one.isprintable() or " " in one:
            raise _invalid("an id is missing or malformed")


def _filter(value: str) -> str | None:
    if value:
        _check_ids(value)
    return value or None


def _invalid(message: str) -> Refusal:
    return Refusal(Kind.INVALID, "invalid_request", message)
