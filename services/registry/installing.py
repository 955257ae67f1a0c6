"""Installing by a link: a description of an application is fetched and shown, and fetched again when it is approved.

Nothing of it is kept in between: what is registered is what the document says then, and only if that is, byte for byte,
what it said when it was shown.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from services.registry import read_model
from services.registry.answering import answering
from services.registry.carry_out import of_application
from services.registry.client_metadata import changes_of
from services.registry.domain import application
from services.registry.domain.installation import (
    Installation,
    check_document,
    check_named_after,
    check_start,
    host_of,
)
from services.registry.domain.refusals import invalid
from services.registry.events import ApplicationRegistered, ApplicationSettings, Scope
from shared.encoding import strict_json
from shared.errors import Kind, Refusal
from shared.handle import Handled
from shared.http.outgoing import NotSent, Outgoing
from shared.ids import same
from shared.keys import MasterKey
from shared.log.append import Context
from shared.log.event import Event
from shared.log.log import Log

LONGEST: Final = 32 * 1024
"""Bytes of a document."""
SECONDS: Final = 4.0
"""From the look-up of its host's name to its end."""
_JSON: Final = ("application/json",)
_IN_WORDS: Final = {
    "address_refused": "its host leads to no public address",
    "unreachable": "its host cannot be reached",
    "timeout": "its host did not answer in time",
    "no_answer": "its host gave no proper answer",
    "status": "its host did not answer with 200; redirects are not followed",
    "too_long": f"it is longer than {LONGEST // 1024} KiB",
    "media_type": "it is not application/json",
}


@dataclass(frozen=True, slots=True)
class Offer:
    """An application as a document describes it."""

    client_id: str
    settings: ApplicationSettings
    scopes: tuple[Scope, ...]
    installation: Installation
    initiate_login_uri: str
    """Where to go on from (OpenID Connect Core section 4); empty: nowhere."""

    @property
    def host(self) -> str:
        """Whose document it is."""
        return host_of(self.installation.document)


class Installing:
    """What is asked of the registry about install links."""

    def __init__(self, log: Log, master: MasterKey, outgoing: Outgoing, *, demo: bool = False) -> None:
        """`demo`: the instance is in demo mode."""
        self._log = log
        self._names = master.derive("names")
        self._outgoing = outgoing
        self._demo = demo

    async def read(self, document: str) -> Offer:
        """What would be registered. Raises `Refusal`, also for what could not be."""
        offer = await self._fetch(document)
        stream = await self._log.load(application.decider.stream(offer.client_id))
        state = application.decider.fold(recorded.event for recorded in stream.events)
        application.decide(await self._command(offer), state)
        return offer

    async def install(self, document: str, digest: str, context: Context) -> tuple[Offer, Handled[application.State]]:
        """Register what the document describes, if it is the one with this digest; else `document_changed`."""
        offer = await self._fetch(document)
        if not same(offer.installation.document_digest, digest if digest.isascii() else ""):
            raise Refusal(
                Kind.PRECONDITION, "document_changed", "the document is not the one that was read; look at it again"
            )

        async def command() -> application.Command:
            return await self._command(offer)

        def is_it(event: Event) -> bool:
            return isinstance(event, ApplicationRegistered) and event.settings == offer.settings

        handled = await of_application(self._log, self._names, offer.client_id, command, context)
        return offer, answering(handled, is_it)

    async def _command(self, offer: Offer) -> application.Register:
        known = await read_model.known_scopes(self._log.pool)
        # None that is installed has a secret.
        unused = application.NewSecret("", "")
        return application.Register(
            offer.client_id, offer.settings, known, unused, demo=self._demo, installation=offer.installation
        )

    async def _fetch(self, document: str) -> Offer:
        check_document(document, demo=self._demo)
        try:
            raw = await self._outgoing.get(document, LONGEST, media_types=_JSON)
        except NotSent as failure:
            raise Refusal(
                Kind.PRECONDITION,
                "document_unreachable",
                f"the document could not be fetched: {_IN_WORDS[failure.code]}",
            ) from None
        metadata = _members(raw)
        client_id = metadata.get("client_id")
        if not isinstance(client_id, str):
            raise invalid("client_id: the document does not say what the application is called")
        check_named_after(client_id, document, demo=self._demo)
        settings = ApplicationSettings(**changes_of(metadata, client_id))
        start = metadata.get("initiate_login_uri") or ""
        if not isinstance(start, str):
            raise invalid("initiate_login_uri: it is a string")
        if start:
            check_start(start, document)
        return Offer(
            client_id=client_id,
            settings=settings,
            scopes=await read_model.scopes_in_words(self._log.pool, settings.scopes),
            installation=Installation(document, sha256(raw).hexdigest()),
            initiate_login_uri=start,
        )


def _members(raw: bytes) -> dict[str, Any]:
    try:
        metadata = strict_json(raw.decode("utf-8"))
    except ValueError:
        raise invalid("the document is not JSON") from None
    if not isinstance(metadata, dict):
        raise invalid("the document is not a JSON object")
    return metadata
