"""Registration by programs: RFC 7591 for who has an initial access token, RFC 7592 for the application itself."""

from collections.abc import Callable
from datetime import datetime
from random import SystemRandom
from typing import Any, Final

from services.registry import read_model, registration_rows
from services.registry.access_tokens import INITIAL, REGISTRATION, is_well_formed, new_registration_token
from services.registry.carry_out import of_application
from services.registry.client_metadata import ISSUED_BY_US, Metadata, changes_of, metadata_of
from services.registry.client_secrets import ClientSecrets
from services.registry.domain import application
from services.registry.domain.dynamic import Registrant, not_accepted
from services.registry.domain.initial_access import RANDOM_LENGTH
from services.registry.domain.trust import check_client_id, has_secrets
from services.registry.events import ApplicationSettings
from services.registry.registration_rows import InitialAccessRow
from shared.clock import Clock
from shared.denials import DenialKind, initial_access_id
from shared.errors import Kind, Refusal
from shared.handle import Guards, Handled
from shared.ids import digest, keyed_digest, new_command_id
from shared.keys import MasterKey
from shared.log.append import AsOf, Context, Fence, Name, NameTaken
from shared.log.event import Stamp
from shared.log.log import Log, Stream
from shared.telemetry import correlation, new_correlation

_NAME_CHARACTERS: Final = "abcdefghijklmnopqrstuvwxyz234567"
_random: Final = SystemRandom()


class Registering:
    """What programs ask of the registry."""

    def __init__(self, log: Log, master: MasterKey, issuer: str, clock: Clock, *, demo: bool = False) -> None:
        """`demo`: the instance is in demo mode."""
        self._log = log
        self._names = master.derive("names")
        self._secrets = ClientSecrets(master)
        self._issuer = issuer
        self._clock = clock
        self._demo = demo

    async def now(self) -> AsOf:
        """How far the log has come: whatever is read after this is not from before it."""
        head = await self._log.head()
        return AsOf(head.epoch, {"registry": head.position})

    async def allow(self, token: str) -> InitialAccessRow:
        """What an initial access token allows; raises `Refusal` (unauthenticated) if it is not accepted now."""
        row = await registration_rows.shown(self._log.pool, digest(token)) if is_well_formed(token, INITIAL) else None
        if row is None or row.expires_at <= self._clock() or (row.uses is not None and row.used >= row.uses):
            raise _not_accepted()
        return row

    async def register(self, token: str, metadata: Metadata) -> dict[str, Any]:
        """Register an application (RFC 7591 section 3.1); answers the client information response (section 3.2.1).

        A use of the token is claimed in the append of the registration: as a name that is taken for ever, since the
        token may live for longer than once-keys do. And the append is fenced: once the token is revoked, nothing more
        is registered on what was known before.
        """
        client_id = (await self.allow(token)).client_id_prefix + _random_name()
        check_client_id(client_id)
        settings = ApplicationSettings(**changes_of(metadata, client_id))
        context = _context(client_id)
        secret = self._secrets.of(context.command_id, client_id)
        registration_token = new_registration_token()
        claims = _Claims(self, token, self._names)

        async def command() -> application.Command:
            row = await claims.next()
            registrant = Registrant(
                row.token_id, row.client_id_prefix, row.scopes, row.grants, digest(registration_token)
            )
            known = await read_model.known_scopes(self._log.pool)
            return application.Register(
                client_id, settings, known, secret.new(), demo=self._demo, registrant=registrant
            )

        async def carry_out() -> Handled[application.State]:
            while True:
                try:
                    return await of_application(
                        self._log, self._names, client_id, command, context, claiming=claims.guards
                    )
                except NameTaken:
                    if not claims.lost():
                        raise

        handled = await carry_out()
        if handled.appended is None:
            raise TypeError("a new command writes")
        answer = metadata_of(client_id, settings, handled.appended.recorded_at)
        if has_secrets(settings):
            answer |= _secret(secret.text)
        return answer | self._managed(client_id, registration_token)

    async def read(self, client_id: str, token: str) -> dict[str, Any]:
        """What is registered (RFC 7592 section 2.1). The secret is not known any more, so it is not in the answer."""
        stream, state = await self._managed_by(client_id, token)
        return metadata_of(client_id, state.settings, _registered_at(stream)) | self._managed(client_id, token)

    async def change(self, client_id: str, token: str, metadata: Metadata) -> dict[str, Any]:
        """Replace all that the metadata decides (RFC 7592 section 2.2); what is missing has its default again.

        What administrators decide beside that stays. The tokens stay the same.
        """
        stream, _ = await self._managed_by(client_id, token)
        for name in ISSUED_BY_US:
            if name in metadata:
                raise Refusal(Kind.INVALID, "invalid_request", f"a change must not include {name}")
        if metadata.get("client_id") != client_id:
            raise Refusal(Kind.INVALID, "invalid_request", "client_id: it has to be that of the application")
        shown = metadata.get("client_secret")
        if shown is not None and not isinstance(shown, str):
            raise Refusal(Kind.INVALID, "invalid_request", "client_secret: it is a string")
        changes, context = changes_of(metadata, client_id), _context(client_id)
        secret = self._secrets.of(context.command_id, client_id)

        async def command() -> application.Command:
            known = await read_model.known_scopes(self._log.pool)
            return application.ByRegistrant(
                client_id=client_id,
                token_digest=digest(token),
                command=application.Change(client_id, changes, known, demo=self._demo),
                secret=secret.new(),
                now=self._clock(),
                shown_secret_digest=None if shown is None else digest(shown if shown.isascii() else ""),
            )

        handled = await of_application(self._log, self._names, client_id, command, context)
        if not isinstance(handled.state, application.Trusted):
            raise not_accepted()
        answer = metadata_of(client_id, handled.state.settings, _registered_at(stream))
        if secret.secret_id in handled.state.secrets:
            answer |= _secret(secret.text)
        return answer | self._managed(client_id, token)

    async def remove(self, client_id: str, token: str) -> None:
        """End the application for ever (RFC 7592 section 2.3)."""
        await self._managed_by(client_id, token)
        context = _context(client_id)
        command = application.ByRegistrant(
            client_id=client_id,
            token_digest=digest(token),
            command=application.Uninstall(client_id),
            secret=self._secrets.of(context.command_id, client_id).new(),
            now=self._clock(),
        )
        await of_application(self._log, self._names, client_id, command, context)

    async def _managed_by(self, client_id: str, token: str) -> tuple[Stream, application.Trusted]:
        """The application, if this is its registration access token and accepted now; raises `Refusal`."""
        try:
            check_client_id(client_id)
        except Refusal:
            raise not_accepted() from None
        if not is_well_formed(token, REGISTRATION):
            raise not_accepted()
        stream = await self._log.load(application.decider.stream(client_id))
        state = application.decider.fold(recorded.event for recorded in stream.events)
        if not isinstance(state, application.Trusted) or not state.managed_by(digest(token)):
            raise not_accepted()
        return stream, state

    def _managed(self, client_id: str, token: str) -> dict[str, Any]:
        """RFC 7592 section 3."""
        return {
            "registration_client_uri": f"{self._issuer}/connect/register/{client_id}",
            "registration_access_token": token,
        }


class _Claims:
    """Uses of an initial access token that one registration tries to claim, one after the other."""

    def __init__(self, registering: Registering, token: str, names_key: bytes) -> None:
        self._registering = registering
        self._token = token
        self._names_key = names_key
        self._row: InitialAccessRow | None = None
        self._as_of = AsOf(0, {})
        self._use = 0
        """Which one is tried, from 1."""
        self._lost = 0
        """The last one that somebody else was faster to claim."""

    async def next(self) -> InitialAccessRow:
        """What the token allows now; raises `Refusal` if it is not accepted, or has no use left."""
        self._as_of = await self._registering.now()
        row = self._row = await self._registering.allow(self._token)
        if row.uses is not None:
            self._use = max(self._lost, row.used) + 1
            if self._use > row.uses:
                raise _not_accepted()
        return row

    def lost(self) -> bool:
        """Somebody else has the use that was tried; whether there can be another one to try."""
        self._lost = self._use
        return self._row is not None and self._row.uses is not None

    def guards(self) -> Guards:
        """What claims the use, and holds it against what was known."""
        if self._row is None:
            raise TypeError("a use is claimed for a command that was built")
        token_id = self._row.token_id
        fence = Fence(self._as_of, ((DenialKind.CLIENT, initial_access_id(token_id)),))
        if self._row.uses is None:
            return Guards(fence=fence)
        used = keyed_digest(self._names_key, "initial_access_token_use", f"{token_id} {self._use}")
        return Guards(fence=fence, names=(Name(used),))


def _not_accepted() -> Refusal:
    return Refusal(Kind.UNAUTHENTICATED, "invalid_token", "the initial access token is not accepted")


def _random_name(choose: Callable[[str], str] = _random.choice) -> str:
    return "".join(choose(_NAME_CHARACTERS) for _ in range(RANDOM_LENGTH))


def _context(client_id: str) -> Context:
    """The application acts for itself; which initial access token it had stands in the event."""
    return Context(
        actor=f"client:{client_id}",
        correlation_id=correlation.get() or new_correlation(),
        command_id=new_command_id(),
    )


def _secret(text: str) -> dict[str, Any]:
    """RFC 7591 section 3.2.1: it does not expire."""
    return {"client_secret": text, "client_secret_expires_at": 0}


def _registered_at(stream: Stream) -> datetime:
    at = stream.events[0].recorded_at
    if isinstance(at, Stamp):
        raise TypeError("a loaded event has a time")
    return at
