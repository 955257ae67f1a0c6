"""A small token issuer for tests of the pages: it keeps applications in a dictionary and seals nothing.

It speaks the real gRPC service, so what the pages send and understand is what goes over the wire.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

import grpc

from protos.stagedoor.registry.v1.installation_pb2_grpc import add_InstallationServicer_to_server
from protos.stagedoor.tokens.v1 import tokens_pb2 as pb
from protos.stagedoor.tokens.v1.tokens_pb2_grpc import (
    AuthorizationServicer,
    add_AuthorizationServicer_to_server,
    add_OwnAccessServicer_to_server,
)
from shared.errors import Kind, Refusal
from tests.support.fake_installation import FakeInstallation
from tests.support.fake_own_access import FakeOwnAccess, abort

CLIENT = "com.backstagehub/app"
CALLBACK = "http://localhost:8480/callback"
INSTALLER = "com.stagedoor/install"
AFTERWARDS = "http://localhost:8480/signed-out"
WORDS = {"openid": "know that it is you", "read": "see your tours", "update": "change your tours"}


@dataclass(frozen=True)
class KnownApplication:
    """What the fake knows of an application."""

    client_id: str = CLIENT
    display_name: str = "BackstageHub"
    redirect_uri: str = CALLBACK
    logo_uri: str = ""
    contact: str = ""
    first_party: bool = False


_INSTALLER = KnownApplication(INSTALLER, "The install page", "http://127.0.0.1:8400/id/install", first_party=True)


@dataclass(frozen=True)
class _Request:
    """What it would have sealed."""

    redirect_uri: str
    state: str
    response_mode: str

    def answer(self, **parameters: str) -> dict[str, Any]:
        """The fields of an answer to the pages."""
        given = {**parameters, "state": self.state}
        if self.response_mode != "form_post":
            return {"redirect": f"{self.redirect_uri}?{urlencode(given)}"}
        fields = [pb.Parameter(name=name, value=value) for name, value in given.items()]
        return {"form_post": pb.FormPost(action=self.redirect_uri, fields=fields)}


@dataclass
class FakeIssuer(AuthorizationServicer):
    """Answers like the issuer, and remembers what it was asked."""

    applications: dict[str, KnownApplication] = field(
        default_factory=lambda: {CLIENT: KnownApplication(), INSTALLER: _INSTALLER}
    )
    begun: list[list[tuple[str, str]]] = field(default_factory=list)
    issued: list[pb.IssueCodeRequest] = field(default_factory=list)
    refused: list[pb.RefuseAuthorizationRequest] = field(default_factory=list)
    devices: dict[str, str] = field(default_factory=dict)
    """What devices wait for: the scopes asked for, by their user codes."""
    allowed: list[pb.AllowDeviceRequest] = field(default_factory=list)
    denied: list[pb.RefuseDeviceRequest] = field(default_factory=list)
    signed: list[pb.SignUserinfoRequest] = field(default_factory=list)
    own: FakeOwnAccess = field(default_factory=FakeOwnAccess)
    installation: FakeInstallation = field(default_factory=FakeInstallation)
    """The registry, in the same place."""
    stale: bool = False
    """Every sign-in is too old for it."""
    address: str = ""

    def __post_init__(self) -> None:
        self._sealed: dict[str, _Request] = {}
        self._server: grpc.aio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = grpc.aio.server()
        add_AuthorizationServicer_to_server(self, self._server)
        add_OwnAccessServicer_to_server(self.own, self._server)
        add_InstallationServicer_to_server(self.installation, self._server)
        port = self._server.add_insecure_port(self.address or "127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Go away, as a process that was killed."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    def change(self, **changes: Any) -> None:
        """Let the application be another one."""
        self.applications[CLIENT] = replace(self.applications[CLIENT], **changes)

    async def redeem(self, form: Mapping[str, str]) -> str:
        """In the place of the token endpoint: a token is the name of its code."""
        assert (form["grant_type"], form["client_id"]) == ("authorization_code", INSTALLER)
        return f"token-of-{form['code']}"

    async def BeginAuthorization(self, request: pb.BeginAuthorizationRequest, context: Any) -> Any:  # noqa: N802, ARG002
        pairs = [(parameter.name, parameter.value) for parameter in request.parameters]
        self.begun.append(pairs)
        given = dict(pairs)
        known = self.applications.get(given.get("client_id", ""))
        if known is None:
            return _refused("invalid_client", "this application is not registered here")
        if given.get("redirect_uri") != known.redirect_uri:
            return _refused("invalid_redirect_uri", "redirect_uri is not registered here")
        if given.get("response_type") != "code":
            wrong = _Request(known.redirect_uri, given.get("state", ""), given.get("response_mode", "query"))
            return pb.BeginAuthorizationResponse(**wrong.answer(error="unsupported_response_type"))
        sealed = secrets.token_urlsafe(48)
        self._sealed[sealed] = _Request(known.redirect_uri, given.get("state", ""), given.get("response_mode", "query"))
        parts = urlsplit(known.redirect_uri)
        proceed = pb.Proceed(
            sealed_request=sealed,
            client_id=known.client_id,
            display_name=known.display_name,
            logo_uri=known.logo_uri,
            contact=known.contact,
            redirect_origin=f"{parts.scheme}://{parts.netloc}",
            scopes=_scopes(given.get("scope", "openid").split()),
            prompt=given.get("prompt", "").split(),
            login_hint=given.get("login_hint", ""),
            skip_consent=known.first_party,
            expected_sub=given.get("id_token_hint", ""),
            second_factor_wished="acr:mfa" in given.get("acr_values", ""),
            second_factor_demanded="acr:mfa" in given.get("claims", ""),
        )
        if "max_age" in given:
            proceed.max_age = int(given["max_age"])
        return pb.BeginAuthorizationResponse(proceed=proceed)

    async def IssueCode(self, request: pb.IssueCodeRequest, context: Any) -> Any:  # noqa: N802, ARG002
        self.issued.append(request)
        if self.stale:
            answer = self._sealed[request.sealed_request].answer(error="login_required")
            return pb.IssueCodeResponse(**answer)
        answer = self._sealed[request.sealed_request].answer(code=f"code-{len(self.issued)}")
        return pb.IssueCodeResponse(position=1, **answer)

    async def RefuseAuthorization(self, request: pb.RefuseAuthorizationRequest, context: Any) -> Any:  # noqa: N802, ARG002
        self.refused.append(request)
        return pb.RefuseAuthorizationResponse(**self._sealed[request.sealed_request].answer(error=request.error))

    async def BeginDeviceAuthorization(self, request: pb.BeginDeviceAuthorizationRequest, context: Any) -> Any:  # noqa: N802
        typed = request.user_code.upper().replace("-", "").replace(" ", "")
        code = f"{typed[:4]}-{typed[4:]}"
        if code not in self.devices:
            await abort(context, Refusal(Kind.NOT_FOUND, "user_code_unknown", "This code is not known."))
        known = self.applications[CLIENT]
        proceed = pb.Proceed(
            sealed_request=code,
            client_id=known.client_id,
            display_name=known.display_name,
            scopes=_scopes(self.devices[code].split()),
            prompt=["consent"],
            user_code=code,
        )
        return pb.BeginDeviceAuthorizationResponse(proceed=proceed)

    async def AllowDevice(self, request: pb.AllowDeviceRequest, context: Any) -> Any:  # noqa: N802
        if self.devices.pop(request.sealed_request, None) is None:
            await abort(context, Refusal(Kind.NOT_FOUND, "user_code_unknown", "This code is not known."))
        self.allowed.append(request)
        return pb.AllowDeviceResponse(position=1)

    async def RefuseDevice(self, request: pb.RefuseDeviceRequest, context: Any) -> Any:  # noqa: N802
        if self.devices.pop(request.sealed_request, None) is None:
            await abort(context, Refusal(Kind.NOT_FOUND, "user_code_unknown", "This code is not known."))
        self.denied.append(request)
        return pb.RefuseDeviceResponse(position=1)

    async def SignUserinfo(self, request: pb.SignUserinfoRequest, context: Any) -> Any:  # noqa: N802, ARG002
        self.signed.append(request)
        return pb.SignUserinfoResponse(jwt="header.claims.signature")

    async def BeginLogout(self, request: pb.BeginLogoutRequest, context: Any) -> Any:  # noqa: N802, ARG002
        given = {parameter.name: parameter.value for parameter in request.parameters}
        after = given.get("post_logout_redirect_uri", "")
        if after not in ("", AFTERWARDS):
            return pb.BeginLogoutResponse(
                refused=pb.Refused(error="invalid_redirect_uri", description="this address is not registered here")
            )
        sub, _, sid = given.get("id_token_hint", "").partition(" ")
        state = f"?{urlencode({'state': given['state']})}" if "state" in given else ""
        logout = pb.Logout(sub=sub, sid=sid, redirect=f"{after}{state}" if after else "")
        if "client_id" in given or sub:
            logout.client_id = CLIENT
            logout.display_name = self.applications[CLIENT].display_name
        return pb.BeginLogoutResponse(logout=logout)


def _scopes(names: Sequence[str]) -> list[pb.RequestedScope]:
    return [pb.RequestedScope(name=name, description=WORDS.get(name, "")) for name in names]


def _refused(error: str, description: str) -> pb.BeginAuthorizationResponse:
    return pb.BeginAuthorizationResponse(refused=pb.Refused(error=error, description=description))
