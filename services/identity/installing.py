"""Installing and uninstalling applications, asked of the registry in the name of the administrator at the page."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar
from uuid import UUID

import grpc

from protos.stagedoor.registry.v1 import installation_pb2 as pb
from protos.stagedoor.registry.v1.installation_pb2_grpc import InstallationStub
from services.identity.issuer import translated
from services.identity.management_tokens import ManagementTokens
from services.identity.read_model import SessionRow

T = TypeVar("T")

_SECONDS: Final = 8.0
"""The registry fetches a document meanwhile."""


class Installing:
    """The calls. All raise what `ManagementTokens.of` raises, and what the registry refuses."""

    def __init__(self, registry: grpc.aio.Channel, tokens: ManagementTokens) -> None:
        self._stub = InstallationStub(registry)
        self._tokens = tokens

    async def read(self, session: SessionRow, document: str) -> pb.ReadDocumentResponse:
        """What the application is that a document describes."""
        return await self._ask(session, self._stub.ReadDocument, pb.ReadDocumentRequest(document=document))

    async def install(self, session: SessionRow, document: str, digest: str, once: UUID) -> pb.InstallResponse:
        """Trust the application, if the document still has this digest; else `document_changed`.

        `once` names the form, so that one which is sent twice is answered twice and done once.
        """
        request = pb.InstallRequest(document=document, digest=digest)
        return await self._ask(session, self._stub.Install, request, once)

    async def read_installed(self, session: SessionRow, client_id: str) -> pb.ReadInstalledResponse:
        """An application that is trusted."""
        return await self._ask(session, self._stub.ReadInstalled, pb.ReadInstalledRequest(client_id=client_id))

    async def uninstall(self, session: SessionRow, client_id: str, once: UUID) -> None:
        """End it for ever."""
        await self._ask(session, self._stub.Uninstall, pb.UninstallRequest(client_id=client_id), once)

    async def _ask(
        self, session: SessionRow, method: Callable[..., Awaitable[T]], request: Any, once: UUID | None = None
    ) -> T:
        metadata = [("authorization", f"Bearer {await self._tokens.of(session)}")]
        if once is not None:
            metadata.append(("idempotency-key", str(once)))
        return await translated(method(request, metadata=tuple(metadata), timeout=_SECONDS))
