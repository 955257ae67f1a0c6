"""How a process reaches NATS, and what is where on it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import nats
from nats.aio.client import Client

from shared.settings import ServiceSettings, read_secret

STREAM = "STAGEDOOR_EVENTS"
"""The JetStream stream whose sequence is the position in the log."""
EVENTS = "stagedoor.events"
"""Events are at `stagedoor.events.<source>.<EventName>`."""
DENIALS = "stagedoor.denials"
"""Denials are at `stagedoor.denials.<kind>`."""
HEARTBEAT = f"{DENIALS}.heartbeat"
PING = "stagedoor.feed.ping"
SNAPSHOT = "stagedoor.feed.snapshot"

CONNECT_SECONDS = 2
"""Bound of one attempt to connect."""
ANSWER_SECONDS = 5.0
"""Bound of one question to the server."""


def events_of(source: str) -> str:
    """The subjects of one source's events."""
    return f"{EVENTS}.{source}.>"


@dataclass(frozen=True, slots=True)
class NatsAccess:
    """Address and sign-in of one NATS user."""

    url: str
    user: str
    password: str = field(repr=False)

    @classmethod
    def read(cls, settings: ServiceSettings) -> "NatsAccess":
        """The access that the settings name; ends the process with one line if the password cannot be read."""
        password = read_secret(settings.nats_password_file, "the NATS password")
        return cls(settings.nats_url, settings.nats_user, password)

    @property
    def inbox_prefix(self) -> bytes:
        """Where this user may be answered; nobody else may listen there."""
        return f"_INBOX_{self.user}".encode()

    async def connect(self, closed: Callable[[], Awaitable[None]]) -> Client:
        """A connection that is given up when it breaks, and then calls `closed`.

        It never reconnects by itself: whoever uses it has to find out what the server really holds, so a broken
        connection ends the work on it and the next one begins anew.
        """

        async def unheard(_: Exception) -> None:
            """Failures reach the caller as exceptions, or as the end of the connection."""

        return await nats.connect(
            self.url,
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
