"""The registry's part in an install link, for tests of the pages: it keeps documents, and checks nothing."""

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from protos.stagedoor.registry.v1 import installation_pb2 as pb
from protos.stagedoor.registry.v1 import registry_pb2
from protos.stagedoor.registry.v1.installation_pb2_grpc import InstallationServicer
from shared.errors import Kind, Refusal
from tests.support.fake_own_access import abort

DOCUMENT = "https://setlist.example/stagedoor.json"
SETLIST = "example.setlist/app"


def described(**changes: Any) -> registry_pb2.ApplicationSettings:
    """An application that signs people in, and has a key."""
    return registry_pb2.ApplicationSettings(
        **{
            "display_name": "Setlist",
            "contact": "help@setlist.example",
            "type": "confidential",
            "redirect_uris": ["https://setlist.example/callback"],
            "scopes": ["read"],
            "grants": ["authorization_code", "refresh_token"],
            "auth_method": "private_key_jwt",
            "jwks_uri": "https://setlist.example/keys",
            **changes,
        }
    )


@dataclass
class FakeInstallation(InstallationServicer):
    """Answers like the registry, and remembers what it was asked."""

    documents: dict[str, registry_pb2.ApplicationSettings] = field(default_factory=lambda: {DOCUMENT: described()})
    start: str = "https://setlist.example/begin"
    tokens: list[str] = field(default_factory=list)
    """With which it was asked, in order."""
    keys: list[str] = field(default_factory=list)
    """Idempotency keys of what was installed."""
    installed: list[str] = field(default_factory=list)
    uninstalled: list[str] = field(default_factory=list)
    refusal: Refusal | None = None
    """What it answers to everything, if set."""

    async def ReadDocument(self, request: pb.ReadDocumentRequest, context: Any) -> Any:  # noqa: N802
        settings = await self._document(request.document, context)
        return pb.ReadDocumentResponse(
            client_id=SETLIST,
            settings=settings,
            scopes=[registry_pb2.Scope(name=name, description="see your tours") for name in settings.scopes],
            host="setlist.example",
            digest=_digest(settings),
            initiate_login_uri=self.start,
        )

    async def Install(self, request: pb.InstallRequest, context: Any) -> Any:  # noqa: N802
        settings = await self._document(request.document, context)
        if request.digest != _digest(settings):
            await abort(context, Refusal(Kind.PRECONDITION, "document_changed", "look at it again"))
        key = dict(context.invocation_metadata())["idempotency-key"]
        if key not in self.keys:
            self.keys.append(key)
            self.installed.append(SETLIST)
        application = registry_pb2.Application(client_id=SETLIST, settings=settings)
        return pb.InstallResponse(application=application, initiate_login_uri=self.start, position=7)

    async def ReadInstalled(self, request: pb.ReadInstalledRequest, context: Any) -> Any:  # noqa: N802
        await self._refuse(context)
        application = registry_pb2.Application(
            client_id=request.client_id, settings=described(), enabled=True, document=DOCUMENT
        )
        return pb.ReadInstalledResponse(
            application=application, scopes=[registry_pb2.Scope(name="read", description="see your tours")]
        )

    async def Uninstall(self, request: pb.UninstallRequest, context: Any) -> Any:  # noqa: N802
        await self._refuse(context)
        self.uninstalled.append(request.client_id)
        return pb.UninstallResponse(position=8)

    async def _document(self, address: str, context: Any) -> registry_pb2.ApplicationSettings:
        await self._refuse(context)
        if address not in self.documents:
            await abort(context, Refusal(Kind.PRECONDITION, "document_unreachable", "it could not be fetched"))
        return self.documents[address]

    async def _refuse(self, context: Any) -> None:
        self.tokens.append(dict(context.invocation_metadata()).get("authorization", ""))
        if self.refusal is not None:
            await abort(context, self.refusal)


def _digest(settings: registry_pb2.ApplicationSettings) -> str:
    return sha256(settings.SerializeToString(deterministic=True)).hexdigest()
