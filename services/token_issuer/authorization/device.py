"""The device authorization grant (RFC 8628): a device asks, and a person allows it with a browser somewhere else.

    request     the device asks, and is told a device code to keep and a user code to show
    begin       the person brings the user code, and is shown what it stands for
    allow       the grant is opened; its code is the device code, which the device has had all the time
    refuse      the device is told so

What was asked is checked when it is asked and, as things then stand, once more when a person begins with it. Of allow
and refuse one happens, once: the log says so.
"""

import dataclasses
from dataclasses import dataclass

from msgspec.structs import replace

from services.registry.events import GrantType
from services.token_issuer.authorization.begin import Proceed, Refused
from services.token_issuer.authorization.checking import surroundings, targets
from services.token_issuer.authorization.device_codes import (
    new_device_code,
    new_user_code,
    read_user_code,
    shown,
)
from services.token_issuer.authorization.device_requests import (
    DEVICES,
    INTERVAL_SECONDS,
    WaitingRequest,
    find,
    may_be_allowed,
)
from services.token_issuer.authorization.parameters import Parameters
from services.token_issuer.authorization.person import SignedIn, check_not_stopped, check_said, given, user_of
from services.token_issuer.authorization.rules import Surroundings, invalid_request
from services.token_issuer.clients import Presented, proof
from services.token_issuer.domain import device_request, grant
from services.token_issuer.domain.refusals import unknown_user_code
from services.token_issuer.issuer import Issuer, append_of, on_behalf_of
from services.token_issuer.scopes import OFFLINE_ACCESS, asked, description, parse, roles
from services.token_issuer.sealing import AskedByDevice, AuthorizationRequest
from services.token_issuer.views import Application, parties
from shared.denials import DenialKind
from shared.errors import Kind, Refusal, Unavailable
from shared.http.forms import Params
from shared.ids import digest, new_ordered_id
from shared.log.append import Append, Context, Fence, VersionConflict
from shared.log.event import Delete, Patch, Put, RowChange, RowValue, Stamp

_ASKED = ("scope", "resource")


@dataclass(frozen=True, slots=True)
class DeviceAuthorization:
    """What the device is told (section 3.2)."""

    device_code: str
    user_code: str
    expires_in: int
    interval: int = INTERVAL_SECONDS

    def __repr__(self) -> str:
        return f"DeviceAuthorization(expires_in={self.expires_in})"


@dataclass(frozen=True, slots=True)
class Waiting:
    """What the pages have to know to ask the person."""

    proceed: Proceed
    user_code: str
    """As it is shown."""


async def request(issuer: Issuer, who: Presented, form: Params) -> DeviceAuthorization:
    """Keep what a device asks for, once every rule has been applied (section 3.1)."""
    pairs = [(name, value) for name in _ASKED for value in form.all(name)]
    parameters = Parameters.of(pairs)
    if parameters.oversized:
        raise invalid_request("the request is too large")
    gid, user_code = new_ordered_id(), new_user_code()
    device_code = new_device_code(gid)
    stream, context = device_request.decider.stream(gid), on_behalf_of(who.client_id)

    async def decide() -> tuple[None, Append]:
        known = await issuer.questions.known(who.client_id, identifiers=targets(parameters))
        application = await issuer.authenticate(known.application, who)
        check(application, parameters, surroundings(issuer, known))
        expires_at = issuer.clock() + issuer.policy.device_code
        command = device_request.Request(gid, application.client_id, digest(device_code), expires_at)
        fence = Fence(known.as_of, ((DenialKind.CLIENT, application.client_id), *proof(who)))
        append = append_of(stream, None, device_request.decider.decide(command, None), context, fence)
        row: dict[str, RowValue] = {
            "gid": gid,
            "digest": command.device_code_digest,
            "user_code": issuer.user_codes.digest(user_code),
            "client_id": command.client_id,
            "sealed": issuer.sealing.seal_pairs(pairs),
            "born": Stamp.POSITION,
            "expires_at": expires_at,
            "refused": False,
            "interval_seconds": INTERVAL_SECONDS,
            "polled_at": None,
            "hasty": False,
        }
        return None, replace(append, rows=(*append.rows, Put(DEVICES, row)))

    await issuer.write(decide, who)
    return DeviceAuthorization(device_code, shown(user_code), int(issuer.policy.device_code.total_seconds()))


def check(application: Application, parameters: Parameters, around: Surroundings) -> AuthorizationRequest:
    """What a device asks for, every rule applied."""
    if (name := parameters.faulty()) is not None:
        raise invalid_request(f"{name} is too long, or holds a control character")
    check_uses(application)
    scopes = parameters.get("scope")
    access = asked(application, around.resources, scopes, parameters.all("resource"), around.places, with_user=True)
    return AuthorizationRequest(
        client_id=application.client_id,
        redirect_uri="",
        redirect_uri_given=False,
        scopes=access.scopes,
        audiences=access.audiences,
        scopes_given=bool(parse(scopes)),
        state=None,
        nonce=None,
        code_challenge=None,
        response_mode="",
        # The person is asked each time, whatever they have allowed this application before (section 5.4).
        prompt=("consent",),
        max_age=None,
        expected_sub=None,
        begun_at=around.now,
        position=around.position,
    )


def check_uses(application: Application) -> None:
    """Refuse an application that may not use this grant."""
    if not application.uses(GrantType.DEVICE_CODE):
        raise Refusal(Kind.INVALID, "unauthorized_client", "the application may not use device codes")


async def begin(issuer: Issuer, typed: str) -> Waiting | Refused:
    """What a user code stands for; raises `user_code_unknown`, in the same words for all that nothing waits under."""
    issuer.check_switch()
    user_code = read_user_code(typed)
    # Looked for in any case, so that no time tells what a code looks like.
    found = await find(issuer.log.pool, issuer.user_codes.digest(user_code or ""), issuer.clock())
    if user_code is None or found is None:
        raise unknown_user_code()
    try:
        return Waiting(await issuer.patiently(lambda: _proceed(issuer, found)), shown(user_code))
    except Unavailable:
        raise
    except Refusal as refusal:
        return Refused(refusal.code, refusal.message)


async def _proceed(issuer: Issuer, found: WaitingRequest) -> Proceed:
    parameters = Parameters.of(issuer.sealing.open_pairs(found.sealed))
    known = await issuer.questions.known(found.client_id, identifiers=targets(parameters))
    application = known.application
    if application is None or not application.enabled:
        raise Refusal(Kind.INVALID, "invalid_client", "this application is not registered here, or it is disabled")
    wanted = check(application, parameters, surroundings(issuer, known))
    device = AskedByDevice(found.gid, found.digest, found.expires_at)
    wanted = dataclasses.replace(wanted, device=device, head=known.head)
    return Proceed(
        sealed=issuer.sealing.seal(wanted),
        request=wanted,
        application=application,
        redirect_origin="",
        scopes=tuple((scope, description(scope, known.resources)) for scope in wanted.scopes),
        login_hint="",
        ui_locales=(),
        skip_consent=False,
        second_factor_wished=False,
        second_factor_demanded=False,
    )


async def allow(issuer: Issuer, sealed: str, person: SignedIn, minimum: int, context: Context) -> int:
    """Open the grant; answers where in the log it began. Raises a refusal that the person is shown.

    `minimum` is the position up to which identity knew of the session and of what the person agreed to. What a device
    asked for before its client was cut off is not given after that.
    """
    issuer.check_switch()
    wanted, device = _opened(issuer, sealed)
    check_said(wanted, person)
    await issuer.following.reach(max(minimum, wanted.position))
    stream = grant.decider.stream(device.gid)

    async def decide() -> tuple[None, Append]:
        known = await issuer.questions.known(
            wanted.client_id, gid=device.gid, sub=person.sub, sid=person.sid, identifiers=wanted.audiences
        )
        now = issuer.clock()
        # After what the fence is about: what is denied later, the fence refuses. The row itself is looked at since what
        # the pages carry may be of a tail of the log that was lost.
        waits = await may_be_allowed(issuer.log.pool, device.gid, device.code_digest, now)
        application = known.application
        if application is None or not application.enabled:
            raise Refusal(Kind.PRECONDITION, "invalid_client", "the application was disabled meanwhile")
        check_uses(application)
        if not waits or known.grant is not None:
            raise unknown_user_code()
        user = user_of(known, wanted, person, now)
        check_not_stopped(known, max(minimum, wanted.head))
        access = given(application, user, known, issuer.policy.places, request=wanted, person=person)
        command = grant.Open(
            gid=device.gid,
            client_id=wanted.client_id,
            sub=user.sub,
            sid=person.sid,
            scopes=access.scopes,
            audiences=access.audiences,
            redirect_uri="",
            redirect_uri_given=False,
            code_digest=device.code_digest,
            code_challenge=None,
            nonce=None,
            auth_time=person.auth_time,
            amr=person.amr,
            roles=roles(access.audiences, user, issuer.policy.places),
            now=now,
            code_lifetime=device.expires_at - now,
            refresh_lifetime=issuer.policy.refresh_life(application) if OFFLINE_ACCESS in access.scopes else None,
        )
        fence = Fence(known.as_of, parties(wanted.client_id, user.sub, person.sid))
        append = append_of(stream, 0, grant.decider.decide(command, None), context, fence)
        return None, _answered(append, Delete(DEVICES, {"gid": device.gid}))

    _, appended = await issuer.write(decide)
    if appended is None:
        raise TypeError("a grant is never opened without an event")
    return appended.position


async def refuse(issuer: Issuer, sealed: str, sid: str, sub: str, context: Context) -> int:
    """Tell the device that it gets nothing; answers where that stands in the log."""
    issuer.check_switch()
    wanted, device = _opened(issuer, sealed)
    command = grant.Refuse(gid=device.gid, client_id=wanted.client_id, sub=sub, sid=sid)
    append = append_of(grant.decider.stream(device.gid), 0, grant.decider.decide(command, None), context)
    try:
        # It gives nothing, so there is no fence; and whoever comes second is not asked again.
        return (
            await issuer.log.append(_answered(append, Patch(DEVICES, {"gid": device.gid}, {"refused": True})))
        ).position
    except VersionConflict:
        raise unknown_user_code() from None


def _opened(issuer: Issuer, sealed: str) -> tuple[AuthorizationRequest, AskedByDevice]:
    wanted = issuer.sealing.open(sealed, issuer.clock())
    if wanted.device is None:
        raise invalid_request("no device asked for this")
    return wanted, wanted.device


def _answered(append: Append, row: RowChange) -> Append:
    """The append of a person's answer, the first of its stream: after it there is no other."""
    return replace(append, rows=(*append.rows, row))
