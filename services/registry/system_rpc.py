"""The edge for the parts of the system that are applications themselves: so far the administrators' console."""
# ruff: noqa: N802, ARG002  (gRPC names its methods so, and gives each a context)

from collections.abc import Mapping
from typing import Any, Final

import grpc

from protos.stagedoor.registry.v1 import system_pb2 as pb
from protos.stagedoor.registry.v1.system_pb2_grpc import SystemApplicationsServicer
from services.identity.events import UserKind
from services.registry.carry_out import of_application
from services.registry.client_secrets import ClientSecrets
from services.registry.domain import application, resource
from services.registry.domain.public_keys import public_keys
from services.registry.events import ApplicationSettings, ApplicationType, AuthMethod, GrantType, ResponseAlgorithm
from shared.errors import Kind, Refusal
from shared.keys import MasterKey
from shared.log.log import Log
from shared.rpc import caller
from shared.rpc.caller import Rule

SERVICE = "stagedoor.registry.v1.SystemApplications"
CONSOLE: Final = f"{application.SYSTEM}console"

RULES: Mapping[str, Rule] = {f"/{SERVICE}/RegisterConsole": Rule(frozenset({"service/console"}))}
"""The console alone says which keys are its own."""

_Call = grpc.aio.ServicerContext[Any, Any]


class SystemApplicationsService(SystemApplicationsServicer):
    """`stagedoor.registry.v1.SystemApplications`."""

    def __init__(self, log: Log, master: MasterKey, origin: str, *, demo: bool = False) -> None:
        """`demo`: the instance is in demo mode."""
        self._log = log
        self._names = master.derive("names")
        self._secrets = ClientSecrets(master)
        self._console = f"{origin}/console"
        self._demo = demo

    async def RegisterConsole(self, request: pb.RegisterConsoleRequest, context: _Call) -> pb.RegisterConsoleResponse:
        """Trust the console with these keys: from now on, or in the place of those of before."""
        known = frozenset({resource.MANAGEMENT_SCOPE})
        its_own: dict[str, Any] = {
            "jwks": public_keys(request.jwks),
            "redirect_uris": (f"{self._console}/callback",),
            "post_logout_redirect_uris": (f"{self._console}/signed-out",),
        }
        origin = caller.context()
        settings = ApplicationSettings(
            display_name="The administrators' console",
            type=ApplicationType.CONFIDENTIAL,
            user_kinds=(UserKind.INTERNAL,),
            scopes=(resource.MANAGEMENT_SCOPE,),
            grants=(GrantType.AUTHORIZATION_CODE,),
            auth_method=AuthMethod.PRIVATE_KEY_JWT,
            id_token_signed_response_alg=ResponseAlgorithm.ES256,
            first_party=True,
            **its_own,
        )
        nothing = self._secrets.of(origin.command_id, CONSOLE).new()
        register = application.Register(CONSOLE, settings, known, nothing, by_system=True, demo=self._demo)
        try:
            handled = await of_application(self._log, self._names, CONSOLE, register, origin)
        except Refusal as refusal:
            if refusal.kind is not Kind.ALREADY_EXISTS:
                raise
            change = application.Change(CONSOLE, its_own, known, demo=self._demo)
            handled = await of_application(self._log, self._names, CONSOLE, change, origin)
        return pb.RegisterConsoleResponse(client_id=CONSOLE, position=handled.position)
