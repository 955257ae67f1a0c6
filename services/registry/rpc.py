"""The registry's edge: translate the message, call, translate the answer. The rules are in `domain`."""
# ruff: noqa: N802, ARG002  (gRPC names its methods so, and gives each a context)

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc

from protos.stagedoor.registry.v1 import registry_pb2 as pb
from protos.stagedoor.registry.v1.registry_pb2_grpc import RegistryServicer
from services.identity.events import Role
from services.registry import messages, read_model
from services.registry.answering import answering, reached
from services.registry.carry_out import of_application, of_resources
from services.registry.client_secrets import ClientSecret, ClientSecrets, shown_again
from services.registry.domain import application, resource
from services.registry.domain.trust import check_client_id
from services.registry.domain.uris import identifier_fault
from services.registry.events import (
    ApplicationChanged,
    ApplicationDisabled,
    ApplicationEnabled,
    ApplicationRegistered,
    ApplicationSettings,
    ApplicationUninstalled,
    ResourceChanged,
    ResourceRegistered,
    ResourceRemoved,
    ResourceSettings,
    SecretAdded,
    SecretReportedCompromised,
    SecretRevoked,
)
from services.registry.read_model import ApplicationRow, ResourceRow
from shared.clock import Clock
from shared.handle import Handled
from shared.keys import MasterKey
from shared.log.append import Context
from shared.log.event import Event
from shared.log.log import Log
from shared.rpc import caller
from shared.rpc.caller import Rule

SERVICE = "stagedoor.registry.v1.Registry"

RULES: Mapping[str, Rule] = {
    f"/{SERVICE}/{method.name}": Rule(
        callers=frozenset({"operator", "service/console"}), role=frozenset({Role.ADMINISTRATOR.value})
    )
    for method in pb.DESCRIPTOR.services_by_name["Registry"].methods
}
"""Every method is management: an operator's client or the console calls, with the token of an administrator."""

_Call = grpc.aio.ServicerContext[Any, Any]
_Is = Callable[[Event], bool]


class RegistryService(RegistryServicer):
    """`stagedoor.registry.v1.Registry`."""

    def __init__(self, log: Log, master: MasterKey, issuer: str, clock: Clock, *, demo: bool = False) -> None:
        """`demo`: the instance is in demo mode."""
        self._log = log
        self._secrets = ClientSecrets(master)
        self._names = master.derive("names")
        self._issuer = issuer
        self._clock = clock
        self._demo = demo

    # Applications

    async def RegisterApplication(
        self, request: pb.RegisterApplicationRequest, context: _Call
    ) -> pb.RegisterApplicationResponse:
        """Trust an application; its secret is in this answer and nowhere else."""
        origin, client_id = caller.context(), request.client_id
        settings = messages.application_settings(request.settings)
        secret = self._secrets.of(origin.command_id, client_id)

        async def command() -> application.Command:
            return application.Register(client_id, settings, await self._known_scopes(), secret.new(), demo=self._demo)

        def is_it(event: Event) -> bool:
            return isinstance(event, ApplicationRegistered) and event.settings == settings

        handled = await self._application(client_id, command, is_it, origin)
        row = await self._application_row(client_id)
        return pb.RegisterApplicationResponse(
            application=messages.application_message(row),
            client_secret=self._shown(secret, row, handled),
            position=handled.position,
        )

    async def GetApplication(self, request: pb.GetApplicationRequest, context: _Call) -> pb.GetApplicationResponse:
        """One application."""
        check_client_id(request.client_id)
        await reached(self._log, request.minimum_position)
        row = await self._application_row(request.client_id)
        return pb.GetApplicationResponse(application=messages.application_message(row))

    async def ListApplications(
        self, request: pb.ListApplicationsRequest, context: _Call
    ) -> pb.ListApplicationsResponse:
        """A page of applications, by name."""
        size, after = messages.page_size(request.page_size), messages.page_start(request.page_token)
        await reached(self._log, request.minimum_position)
        rows = await read_model.applications(self._log.pool, after, size + 1)
        page = rows[:size]
        return pb.ListApplicationsResponse(
            applications=[messages.application_message(row) for row in page],
            next_page_token=messages.page_token(page[-1].client_id) if len(rows) > size else "",
        )

    async def ChangeApplication(
        self, request: pb.ChangeApplicationRequest, context: _Call
    ) -> pb.ChangeApplicationResponse:
        """Replace the settings that the mask names."""
        client_id = request.client_id
        changes = messages.application_changes(request.settings, request.mask)

        async def command() -> application.Command:
            return application.Change(client_id, changes, await self._known_scopes(), demo=self._demo)

        def is_it(event: Event) -> bool:
            return isinstance(event, ApplicationChanged) and _has(event.settings, changes)

        handled = await self._application(client_id, command, is_it)
        row = await self._application_row(client_id)
        return pb.ChangeApplicationResponse(application=messages.application_message(row), position=handled.position)

    async def DisableApplication(
        self, request: pb.DisableApplicationRequest, context: _Call
    ) -> pb.DisableApplicationResponse:
        """The kill switch."""
        command = application.Disable(request.client_id, request.reason)
        handled = await self._application(
            request.client_id, command, lambda event: isinstance(event, ApplicationDisabled)
        )
        return pb.DisableApplicationResponse(position=handled.position)

    async def EnableApplication(
        self, request: pb.EnableApplicationRequest, context: _Call
    ) -> pb.EnableApplicationResponse:
        """Release the kill switch."""
        command = application.Enable(request.client_id)
        handled = await self._application(
            request.client_id, command, lambda event: isinstance(event, ApplicationEnabled)
        )
        return pb.EnableApplicationResponse(position=handled.position)

    async def UninstallApplication(
        self, request: pb.UninstallApplicationRequest, context: _Call
    ) -> pb.UninstallApplicationResponse:
        """End an application for ever."""
        command = application.Uninstall(request.client_id)
        handled = await self._application(
            request.client_id, command, lambda event: isinstance(event, ApplicationUninstalled)
        )
        return pb.UninstallApplicationResponse(position=handled.position)

    async def AddSecret(self, request: pb.AddSecretRequest, context: _Call) -> pb.AddSecretResponse:
        """One more secret; it is in this answer and nowhere else."""
        origin, client_id = caller.context(), request.client_id
        expires_at = messages.moment(request.expires_at) if request.HasField("expires_at") else None
        secret = self._secrets.of(origin.command_id, client_id)
        command = application.AddSecret(client_id, secret.new(expires_at), self._clock())

        def is_it(event: Event) -> bool:
            return isinstance(event, SecretAdded) and event.expires_at == expires_at

        handled = await self._application(client_id, command, is_it, origin)
        row = await self._application_row(client_id)
        return pb.AddSecretResponse(
            secret_id=secret.secret_id,
            client_secret=self._shown(secret, row, handled),
            position=handled.position,
        )

    async def RevokeSecret(self, request: pb.RevokeSecretRequest, context: _Call) -> pb.RevokeSecretResponse:
        """Accept a secret no longer."""
        command = application.RevokeSecret(request.client_id, request.secret_id)

        def is_it(event: Event) -> bool:
            return isinstance(event, SecretRevoked) and event.secret_id == request.secret_id

        handled = await self._application(request.client_id, command, is_it)
        return pb.RevokeSecretResponse(position=handled.position)

    async def ReportSecretCompromised(
        self, request: pb.ReportSecretCompromisedRequest, context: _Call
    ) -> pb.ReportSecretCompromisedResponse:
        """Accept a secret no longer, nor what the application was given until now."""
        command = application.ReportSecretCompromised(request.client_id, request.secret_id)

        def is_it(event: Event) -> bool:
            return isinstance(event, SecretReportedCompromised) and event.secret_id == request.secret_id

        handled = await self._application(request.client_id, command, is_it)
        return pb.ReportSecretCompromisedResponse(position=handled.position)

    # Resources

    async def RegisterResource(
        self, request: pb.RegisterResourceRequest, context: _Call
    ) -> pb.RegisterResourceResponse:
        """Let tokens be issued for an API."""
        settings = messages.resource_settings(request.settings)
        command = resource.Register(request.identifier, settings, self._issuer)

        def is_it(event: Event) -> bool:
            return (
                isinstance(event, ResourceRegistered)
                and event.identifier == request.identifier
                and event.settings == settings
            )

        handled = await self._resource(command, is_it)
        row = await self._resource_row(request.identifier)
        return pb.RegisterResourceResponse(resource=messages.resource_message(row), position=handled.position)

    async def GetResource(self, request: pb.GetResourceRequest, context: _Call) -> pb.GetResourceResponse:
        """One resource."""
        await reached(self._log, request.minimum_position)
        row = await self._resource_row(request.identifier)
        return pb.GetResourceResponse(resource=messages.resource_message(row))

    async def ListResources(self, request: pb.ListResourcesRequest, context: _Call) -> pb.ListResourcesResponse:
        """All resources."""
        await reached(self._log, request.minimum_position)
        rows = await read_model.resources(self._log.pool)
        return pb.ListResourcesResponse(resources=[messages.resource_message(row) for row in rows])

    async def ChangeResource(self, request: pb.ChangeResourceRequest, context: _Call) -> pb.ChangeResourceResponse:
        """Replace the settings that the mask names."""
        changes = messages.resource_changes(request.settings, request.mask)
        of_it = resource.resource_id(request.identifier)

        def is_it(event: Event) -> bool:
            return isinstance(event, ResourceChanged) and event.resource_id == of_it and _has(event.settings, changes)

        handled = await self._resource(resource.Change(request.identifier, changes), is_it)
        row = await self._resource_row(request.identifier)
        return pb.ChangeResourceResponse(resource=messages.resource_message(row), position=handled.position)

    async def RemoveResource(self, request: pb.RemoveResourceRequest, context: _Call) -> pb.RemoveResourceResponse:
        """Let no token be issued for an API any more."""
        of_it = resource.resource_id(request.identifier)

        def is_it(event: Event) -> bool:
            return isinstance(event, ResourceRemoved) and event.resource_id == of_it

        handled = await self._resource(resource.Remove(request.identifier), is_it)
        return pb.RemoveResourceResponse(position=handled.position)

    # What they share

    async def _application(
        self,
        client_id: str,
        command: application.Command | Callable[[], Awaitable[application.Command]],
        is_it: _Is,
        origin: Context | None = None,
    ) -> Handled[application.State]:
        handled = await of_application(self._log, self._names, client_id, command, origin or caller.context())
        return answering(handled, is_it)

    async def _resource(self, command: resource.Command, is_it: _Is) -> Handled[resource.Catalogue]:
        return answering(await of_resources(self._log, command, caller.context()), is_it)

    async def _known_scopes(self) -> frozenset[str]:
        return await read_model.known_scopes(self._log.pool)

    async def _application_row(self, client_id: str) -> ApplicationRow:
        row = await read_model.application(self._log.pool, client_id)
        if row is None:
            raise application.not_found()
        return row

    async def _resource_row(self, identifier: str) -> ResourceRow:
        row = None if identifier_fault(identifier) else await read_model.resource(self._log.pool, identifier)
        if row is None:
            raise resource.not_found()
        return row

    def _shown(self, secret: ClientSecret, row: ApplicationRow, handled: Handled[application.State]) -> str:
        """The secret, if it was just added, or so lately that its answer may have been lost on its way."""
        for added in row.secrets:
            if added.secret_id == secret.secret_id and (
                handled.appended is not None or shown_again(added.added_at, self._clock())
            ):
                return secret.text
        return ""


def _has(settings: ApplicationSettings | ResourceSettings, changes: Mapping[str, Any]) -> bool:
    """Whether these are the settings after the changes; a method of authentication left open can be any."""
    return all(
        getattr(settings, name) == value for name, value in changes.items() if (name, value) != ("auth_method", None)
    )
