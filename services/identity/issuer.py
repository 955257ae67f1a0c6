"""The token issuer, as this service asks it: it owns every rule of the protocol, and this side shows pages."""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from protos.stagedoor.tokens.v1.tokens_pb2 import (
    AllowDeviceRequest,
    BeginAuthorizationRequest,
    BeginDeviceAuthorizationRequest,
    BeginLogoutRequest,
    FormPost,
    IssueCodeRequest,
    Logout,
    Parameter,
    Proceed,
    RefuseAuthorizationRequest,
    RefuseDeviceRequest,
    SignUserinfoRequest,
)
from protos.stagedoor.tokens.v1.tokens_pb2_grpc import AuthorizationStub
from services.identity.read_model import SessionRow
from shared.errors import Kind, Refusal
from shared.rpc.client import translate

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Redirect:
    """Send the browser there."""

    to: str


Answer = Redirect | FormPost
"""To the application: in the address, or in a form that the browser posts."""


class NotTrusted(Refusal):
    """Who asks, or where it wants the answer, cannot be trusted: tell the person, and redirect nowhere."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(Kind.INVALID, error, description)


class Issuer:
    """The calls of sign-in and sign-out. All raise `Unavailable` if the issuer cannot be reached."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = AuthorizationStub(channel)

    async def begin(self, parameters: Sequence[tuple[str, str]]) -> Proceed | Answer:
        """Apply the rules to a raw authorization request. Raises `NotTrusted`."""
        request = BeginAuthorizationRequest(parameters=_parameters(parameters))
        answer = await translated(self._stub.BeginAuthorization(request))
        match answer.WhichOneof("outcome"):
            case "proceed":
                return answer.proceed
            case "redirect":
                return Redirect(answer.redirect)
            case "form_post":
                return answer.form_post
            case _:
                raise NotTrusted(answer.refused.error or "invalid_request", answer.refused.description)

    async def issue_code(self, proceed: Proceed, session: SessionRow, consent_position: int) -> Answer:
        """Open the grant; the answer leads the browser back to the application."""
        request = IssueCodeRequest(**_agreed(proceed, session, consent_position))
        answer = await translated(self._stub.IssueCode(request))
        return answer.form_post if answer.HasField("form_post") else Redirect(answer.redirect)

    async def refuse(self, proceed: Proceed, error: str) -> Answer:
        """Tell the application that it gets nothing (RFC 6749 section 4.1.2.1)."""
        request = RefuseAuthorizationRequest(sealed_request=proceed.sealed_request, error=error)
        answer = await translated(self._stub.RefuseAuthorization(request))
        return answer.form_post if answer.HasField("form_post") else Redirect(answer.redirect)

    async def begin_device(self, typed: str) -> Proceed:
        """What a device asks for that shows this code. Raises `NotTrusted`, and `user_code_unknown`."""
        request = BeginDeviceAuthorizationRequest(user_code=typed)
        answer = await translated(self._stub.BeginDeviceAuthorization(request))
        if answer.WhichOneof("outcome") == "proceed":
            return answer.proceed
        raise NotTrusted(answer.refused.error or "invalid_request", answer.refused.description)

    async def allow_device(self, proceed: Proceed, session: SessionRow, consent_position: int) -> None:
        """Open the grant that a device waits for; raises what the person is to be told."""
        request = AllowDeviceRequest(**_agreed(proceed, session, consent_position))
        await translated(self._stub.AllowDevice(request))

    async def refuse_device(self, proceed: Proceed, session: SessionRow) -> None:
        """Let the device know that it gets nothing."""
        request = RefuseDeviceRequest(sealed_request=proceed.sealed_request, sid=session.sid, sub=session.user.sub)
        await translated(self._stub.RefuseDevice(request))

    async def sign_userinfo(self, access_token: str, claims: bytes) -> str:
        """These claims (JSON) as a JWT for the application that brought the token."""
        request = SignUserinfoRequest(access_token=access_token, claims=claims.decode())
        return (await translated(self._stub.SignUserinfo(request))).jwt

    async def begin_logout(self, parameters: Sequence[tuple[str, str]]) -> Logout:
        """Apply the rules of RP-initiated logout to a raw request. Raises `NotTrusted`."""
        answer = await translated(self._stub.BeginLogout(BeginLogoutRequest(parameters=_parameters(parameters))))
        if answer.WhichOneof("outcome") == "logout":
            return answer.logout
        raise NotTrusted(answer.refused.error or "invalid_request", answer.refused.description)


def _agreed(proceed: Proceed, session: SessionRow, consent_position: int) -> dict[str, Any]:
    """What the issuer is told of a person who agreed."""
    auth_time = Timestamp()
    auth_time.FromDatetime(session.auth_time)
    return {
        "sealed_request": proceed.sealed_request,
        "sid": session.sid,
        "sub": session.user.sub,
        "auth_time": auth_time,
        "amr": session.amr,
        "consented_scopes": [scope.name for scope in proceed.scopes],
        "minimum_position": max(session.position, session.consent_position, consent_position),
    }


def _parameters(pairs: Sequence[tuple[str, str]]) -> list[Parameter]:
    return [Parameter(name=name, value=value) for name, value in pairs]


async def translated(call: Awaitable[T]) -> T:
    """The answer to a call, or the `Refusal` that it was answered with."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise translate(error) from error
