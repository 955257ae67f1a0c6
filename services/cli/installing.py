"""`stagedoor apps install`: an application as its vendor describes it."""

from typing import Annotated

import typer

from protos.stagedoor.registry.v1 import installation_pb2 as pb
from services.cli import output
from services.cli.connection import Connection
from services.cli.output import Json
from services.cli.profile import default_path


def install(
    document: Annotated[str, typer.Argument(help="Address of the vendor's document.", show_default=False)],
    *,
    digest: Annotated[
        str | None, typer.Option(help="Do not ask, if the document has this SHA-256; else install nothing.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Trust an application as its vendor's document describes it, once you have looked at that."""

    async def work() -> None:
        async with Connection(default_path()) as services:
            approved = digest
            if approved is None:
                request = pb.ReadDocumentRequest(document=document)
                approved = _ask(await services.ask(services.installation.ReadDocument, request))
            wanted = pb.InstallRequest(document=document, digest=approved)
            answer = await services.ask(services.installation.Install, wanted)
        client_id = answer.application.client_id
        if as_json:
            output.document({"client_id": client_id, "document_digest": approved, "position": answer.position})
        else:
            print(f"{client_id} is installed (position {answer.position})")

    output.run(work())


def _ask(found: pb.ReadDocumentResponse) -> str:
    """Show the application; the digest of what was shown, if it is to be installed."""
    settings = found.settings
    shown = {
        "client_id": found.client_id,
        "described by": found.host,
        "name": settings.display_name,
        "type": settings.type,
        "grants": list(settings.grants),
        "scopes": [f"{scope.name}: {scope.description}" for scope in found.scopes],
        "redirect URIs": list(settings.redirect_uris),
        "after sign-out": list(settings.post_logout_redirect_uris),
        "told of sign-outs": settings.backchannel_logout_uri,
        "keys at": settings.jwks_uri,
        "contact": settings.contact,
        "SHA-256": found.digest,
    }
    output.facts(shown, aside=True)
    output.confirm(f"Install {found.client_id}?")
    return found.digest
