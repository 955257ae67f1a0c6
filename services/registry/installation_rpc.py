"""The edge for install links: translate, call, translate the answer."""
# ruff: noqa: N802, ARG002  (gRPC names its methods so, and gives each a context)

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import grpc

from protos.stagedoor.registry.v1 import installation_pb2 as pb
from protos.stagedoor.registry.v1.installation_pb2_grpc import InstallationServicer
from services.identity.events import Role
from services.registry import messages, read_model
from services.registry.answering import answering
from services.registry.carry_out import of_application
from services.registry.domain import application
from services.registry.domain.trust import check_client_id
from services.registry.events import ApplicationUninstalled
from services.registry.installing import Installing
from services.registry.system import INSTALLER
from shared.clock import Clock
from shared.errors import Kind, Refusal
from shared.keys import MasterKey
from shared.log.event import Event
from shared.log.log import Log
from shared.rpc import caller
from shared.rpc.caller import Rule

SERVICE = "stagedoor.registry.v1.Installation"

_PAGES: Final = "service/identity"
_ADMINISTRATOR: Final = frozenset({Role.ADMINISTRATOR.value})
_OF_BOTH: Final = ("ReadDocument", "Install")
RULES: Mapping[str, Rule] = {
    f"/{SERVICE}/{method.name}": Rule(
        callers=frozenset({_PAGES, "operator"} if method.name in _OF_BOTH else {_PAGES}), role=_ADMINISTRATOR
    )
    for method in pb.DESCRIPTOR.services_by_name["Installation"].methods
}
"""Every method is management: the token of an administrator is needed, whoever calls."""
FRESH: Final = timedelta(minutes=10, seconds=5)
"""How long after a person has proved who they are the pages may do this in their name; clocks differ a little."""

_Call = grpc.aio.ServicerContext[Any, Any]


class InstallationService(InstallationServicer):
    """`stagedoor.registry.v1.Installation`."""

    def __init__(self, log: Log, master: MasterKey, installing: Installing, clock: Clock) -> None:
        self._log = log
        self._names = master.derive("names")
        self._installing = installing
        self._clock = clock

    async def ReadDocument(self, request: pb.ReadDocumentRequest, context: _Call) -> pb.ReadDocumentResponse:
        """What a document describes."""
        self._check_pages()
        offer = await self._installing.read(request.document)
        return pb.ReadDocumentResponse(
            client_id=offer.client_id,
            settings=messages.settings_message(offer.settings),
            scopes=messages.scope_messages(offer.scopes),
            host=offer.host,
            digest=offer.installation.document_digest,
            initiate_login_uri=offer.initiate_login_uri,
        )

    async def Install(self, request: pb.InstallRequest, context: _Call) -> pb.InstallResponse:
        """Trust it, as it was read."""
        self._check_pages()
        offer, handled = await self._installing.install(request.document, request.digest, caller.context())
        row = await read_model.application(self._log.pool, offer.client_id)
        if row is None:
            raise application.not_found()
        return pb.InstallResponse(
            application=messages.application_message(row),
            initiate_login_uri=offer.initiate_login_uri,
            position=handled.position,
        )

    async def ReadInstalled(self, request: pb.ReadInstalledRequest, context: _Call) -> pb.ReadInstalledResponse:
        """One application, with its scopes in plain words."""
        self._check_pages()
        check_client_id(request.client_id)
        row = await read_model.application(self._log.pool, request.client_id)
        if row is None:
            raise application.not_found()
        scopes = await read_model.scopes_in_words(self._log.pool, row.settings.scopes)
        return pb.ReadInstalledResponse(
            application=messages.application_message(row), scopes=messages.scope_messages(scopes)
        )

    async def Uninstall(self, request: pb.UninstallRequest, context: _Call) -> pb.UninstallResponse:
        """End it for ever."""
        self._check_pages()
        client_id = request.client_id

        def is_it(event: Event) -> bool:
            return isinstance(event, ApplicationUninstalled)

        command = application.Uninstall(client_id)
        handled = answering(await of_application(self._log, self._names, client_id, command, caller.context()), is_it)
        return pb.UninstallResponse(position=handled.position)

    def _check_pages(self) -> None:
        """Refuse to the pages any token but their own, of somebody who signed in a moment ago.

        A person's other tokens pass through the identity service as well (userinfo): what is asked here with one of
        those was not asked for by that person.
        """
        call = caller.current.get()
        if call.caller.name != _PAGES:
            return
        person = call.person
        if person is None or person.client_id != INSTALLER or person.auth_time is None:
            raise Refusal(Kind.FORBIDDEN, "token_not_of_the_pages", "the pages act with tokens of their own alone")
        if self._clock().timestamp() - person.auth_time > FRESH.total_seconds():
            raise Refusal(Kind.FORBIDDEN, "sign_in_too_old", "the person has to sign in once more")
