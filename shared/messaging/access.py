"""How a process reaches NATS, and what is where on it."""

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import nats
from nats.aio.client import Client

from shared.settings import ServiceSettings, read_secret
from stagedoor.nats import NatsFeed

STREAM = "STAGEDOOR_EVENTS"
"""The JetStream stream whose sequence is the position in the log."""
EVENTS = "stagedoor.events"
"""Events are at `stagedoor.events.<source>.<EventName>`."""
DENIALS = "stagedoor.denials"
"""Denials are at `stagedoor.denials.<kind>`."""
HEARTBEAT = f"{DENIALS}.heartbeat"
PING = "stagedoor.feed.ping"
SNAPSHOT = "stagedoor.feed.snapshot"
_INBOX = "_INBOX"
"""How every place for answers begins (infra/nats.conf): `_INBOX_<user>.…`, or `_INBOX.…` of clients that have none."""

CONNECT_SECONDS = 2
"""Bound of one attempt to connect."""
ANSWER_SECONDS = 5.0
"""Bound of one question to the server."""


def events_of(source: str) -> str:
    """The subjects of one source's events."""
    return f"{EVENTS}.{source}.>"


def is_inbox(subject: str) -> bool:
    """Whether somebody waits for answers there, and it is no place where facts, denials or orders are said.

    Whoever asks names the place, and who answers there does it with rights that whoever asks need not have.
    """
    return subject.startswith((f"{_INBOX}.", f"{_INBOX}_"))


@dataclass(frozen=True, slots=True)
class NatsAccess:
    """Address and sign-in of one NATS user."""

    url: str
    """Addresses of the servers, separated by commas."""
    user: str
    password: str = field(repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    """Whom to believe there, and what to show; None: the servers speak in the clear."""

    @classmethod
    def read(cls, settings: ServiceSettings) -> "NatsAccess":
        """The access that the settings name; ends the process with one line if it is not whole."""
        if not settings.nats_user:
            raise SystemExit("stagedoor: setting STAGEDOOR_NATS_USER: there is none")
        password = read_secret(settings.nats_password_file, "the NATS password")
        return cls(settings.nats_url, settings.nats_user, password, _tls(settings))

    @property
    def inbox_prefix(self) -> bytes:
        """Where this user may be answered; nobody else may listen there."""
        return f"{_INBOX}_{self.user}".encode()

    def feed(self, heartbeat_seconds: float) -> NatsFeed:
        """The denials, for a guard; a question every `heartbeat_seconds` keeps them fresh."""
        return NatsFeed(
            self.url,
            user=self.user,
            password=self.password,
            inbox_prefix=self.inbox_prefix,
            tls=self.tls,
            tls_handshake_first=self.tls is not None,
            heartbeat_seconds=heartbeat_seconds,
        )

    async def connect(self, closed: Callable[[], Awaitable[None]]) -> Client:
        """A connection that is given up when it breaks, and then calls `closed`.

        It never reconnects by itself: whoever uses it has to find out what the server really holds, so a broken
        connection ends the work on it and the next one begins anew.
        """

        async def unheard(_: Exception) -> None:
            """Failures reach the caller as exceptions, or as the end of the connection."""

        return await nats.connect(
            self.url.split(","),
            tls=self.tls,
            # Else the server would say first whether it wants TLS, and whoever is in between could deny it.
            tls_handshake_first=self.tls is not None,
            user=self.user,
            password=self.password,
            inbox_prefix=self.inbox_prefix,
            allow_reconnect=False,
            connect_timeout=CONNECT_SECONDS,
            ping_interval=5,
            max_outstanding_pings=2,
            error_cb=unheard,
            closed_cb=closed,
        )


def _tls(settings: ServiceSettings) -> ssl.SSLContext | None:
    """For servers that are named with `tls://`: the instance's authority, and this service's certificate."""
    secured = [url.startswith("tls://") for url in settings.nats_url.split(",")]
    if not any(secured):
        return None
    if not all(secured):
        raise SystemExit("stagedoor: setting STAGEDOOR_NATS_URL: with tls:// for all of the servers, or for none")
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca_file)
        context.load_cert_chain(settings.tls_certificate_file, settings.tls_key_file)
    except (OSError, ssl.SSLError) as failure:
        raise SystemExit(f"stagedoor: a certificate or key cannot be used for NATS: {failure}") from None
    return context
