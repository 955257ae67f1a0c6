"""Denials pushed over NATS.

Denials come on `stagedoor.denials.<kind>`, the ledger's heartbeat on `stagedoor.denials.heartbeat`. What makes the
view fresh is neither: it is the answer to a question of this process's own (`stagedoor.feed.ping`), since messages
may have lain in a buffer while the process was paused.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from stagedoor.cancellation import obey_cancellation
from stagedoor.clock import since_boot
from stagedoor.denials import Denial, DenialView, Snapshot, snapshot_of

_log = logging.getLogger("stagedoor.nats")

_DENIALS = "stagedoor.denials.>"
_HEARTBEAT = "stagedoor.denials.heartbeat"
_PING = "stagedoor.feed.ping"
_SNAPSHOT = "stagedoor.feed.snapshot"
_PENDING = 65_536
"""Messages that may wait to be applied before the client drops some, which then shows as a gap."""
_PAGES = 10_000
_SLOWEST_RETRY = 2.0
_ON_ITS_WAY = 0.05
"""Seconds that a missing denial has to come by itself: an answer may overtake it on its way through the client."""

T = TypeVar("T")


class _Head(msgspec.Struct, frozen=True):
    """A heartbeat, or the answer to a ping."""

    position: int
    number: int
    epoch: int


class _Page(Snapshot, frozen=True, kw_only=True):
    """One page of a snapshot."""

    complete: bool
    page: int = 0


class NatsFeed:
    """A `Feed` over NATS; the connection mends itself."""

    def __init__(  # noqa: PLR0913  (the ways of connecting)
        self,
        url: str,
        *,
        user: str | None = None,
        password: str | Callable[[], str] | None = None,
        credentials: Path | None = None,
        inbox_prefix: str | bytes = "_INBOX",
        tls: ssl.SSLContext | None = None,
        tls_handshake_first: bool = False,
        heartbeat_seconds: float = 1.0,
        answer_seconds: float = 1.0,
        boot: Callable[[], float] = since_boot,
    ) -> None:
        """`url`: of one server, or of several, separated by commas.

        `password` may be a function that reads it anew for each connection; `credentials` is a NATS .creds file.

        `tls_handshake_first`: with `tls`, where the servers have `handshake_first`; otherwise they say in the clear
        that they want TLS, and whoever is in between could say that they do not.
        `inbox_prefix`: under which the user may receive answers. `heartbeat_seconds`: between two pings.
        `answer_seconds`: how long an answer is waited for.
        """
        self._servers = url.split(",")
        self._options: dict[str, object] = {
            "user": user,
            "password": password,
            "user_credentials": str(credentials) if credentials else None,
            "tls": tls,
            "tls_handshake_first": tls_handshake_first,
        }
        self._inbox_prefix = inbox_prefix
        self._every = heartbeat_seconds
        self._patience = answer_seconds
        self._boot = boot
        self._nats: Client | None = None
        self._view: DenialView | None = None
        self._incomplete = asyncio.Event()

    async def run(self, view: DenialView) -> None:
        """Fill the view until cancelled."""
        self._view = view
        while True:
            # The client mends its connection by itself, but it gives up for good where its sign-in is refused.
            given_up = asyncio.Event()
            client = await self._connect(given_up)
            work = asyncio.create_task(self._work(client, view))
            end = asyncio.create_task(given_up.wait())
            try:
                obey_cancellation()
                await asyncio.wait((work, end), return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._nats = None
                work.cancel()
                end.cancel()
                await asyncio.gather(work, end, return_exceptions=True)
                await client.close()
            if not work.cancelled() and (failure := work.exception()) is not None:
                if not isinstance(failure, nats.errors.Error):
                    raise failure
                _log.warning("the denial feed begins anew: %s", _words(failure))

    async def _work(self, client: Client, view: DenialView) -> None:
        await client.subscribe(
            _DENIALS, cb=self._receive, pending_msgs_limit=_PENDING, pending_bytes_limit=_PENDING * 1024
        )
        self._nats = client
        self._incomplete.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._complete(client, view))
            group.create_task(self._keep_fresh())

    async def ping(self) -> None:
        """Ask for the head now."""
        client, view = self._nats, self._view
        if client is None or view is None:
            return
        sent_at, known = self._boot(), view.position
        head = await self._request(client, _PING, b"", _Head)
        if head is not None and not view.vouch(head.position, head.number, head.epoch, sent_at, known):
            self._incomplete.set()

    async def _connect(self, given_up: asyncio.Event) -> Client:
        """Connect for the first time, however long that takes; afterwards the client reconnects by itself."""
        pause = 0.1

        async def on_closed() -> None:
            given_up.set()

        while True:
            client = Client()
            try:
                await client.connect(
                    self._servers,
                    name="stagedoor denials",
                    inbox_prefix=self._inbox_prefix,
                    allow_reconnect=True,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=1,
                    connect_timeout=2,
                    ping_interval=10,
                    max_outstanding_pings=2,
                    error_cb=_on_error,
                    disconnected_cb=_on_disconnected,
                    reconnected_cb=_on_reconnected,
                    closed_cb=on_closed,
                    **self._options,  # type: ignore[arg-type]  # they are of the parameters' types, each
                )
            except (OSError, nats.errors.Error, TimeoutError) as failure:
                _log.warning("the denial feed cannot be reached: %s", _words(failure))
                await client.close()
                obey_cancellation()
                given_up.clear()
                await asyncio.sleep(pause)
                pause = min(2 * pause, _SLOWEST_RETRY)
            else:
                return client

    async def _receive(self, message: Msg) -> None:
        view = self._view
        if view is None:
            return
        try:
            if message.subject == _HEARTBEAT:
                head = msgspec.json.decode(message.data, type=_Head)
                whole = view.vouch(head.position, head.number, head.epoch)
            else:
                whole = view.apply(msgspec.json.decode(message.data, type=Denial))
        except msgspec.DecodeError as wrong:
            # It is not skipped: its number stays missing, so the view ages until it can be read.
            _log.error("a message of the denial feed cannot be read: %s", wrong)
            whole = False
        if not whole:
            self._incomplete.set()

    async def _complete(self, client: Client, view: DenialView) -> None:
        """Whenever the view misses something that does not come by itself, ask for snapshots until it is whole."""
        while True:
            await self._incomplete.wait()
            self._incomplete.clear()
            if view.loaded:
                await asyncio.sleep(_ON_ITS_WAY)
            pause = 0.1
            while view.incomplete and not await self._take_snapshot(client, view):
                obey_cancellation()
                await asyncio.sleep(pause)
                pause = min(2 * pause, _SLOWEST_RETRY)

    async def _take_snapshot(self, client: Client, view: DenialView) -> bool:
        sent_at, pages = self._boot(), []
        for number in range(_PAGES):
            page = await self._request(client, _SNAPSHOT, b'{"page":%d}' % number, _Page)
            obey_cancellation()
            if page is None:
                return False
            pages.append(page)
            if page.complete:
                break
        else:
            return False
        snapshot = snapshot_of(pages)
        if snapshot is None:
            return False
        view.replace(snapshot, sent_at)
        return not view.incomplete

    async def _keep_fresh(self) -> None:
        """Ping at a steady rate; one question that gets no answer does not hold up the next one."""
        while True:
            await asyncio.gather(self.ping(), asyncio.sleep(self._every))

    async def _request(self, client: Client, subject: str, payload: bytes, answer: type[T]) -> T | None:
        try:
            message = await client.request(subject, payload, timeout=self._patience)
            return msgspec.json.decode(message.data, type=answer)
        except (nats.errors.Error, TimeoutError, OSError) as failure:
            _log.debug("no answer on %s: %s", subject, failure)
        except msgspec.DecodeError as wrong:
            _log.error("the answer on %s cannot be read: %s", subject, wrong)
        return None


async def _on_reconnected() -> None:
    _log.info("the denial feed is back")  # what it missed shows at the next ping


async def _on_disconnected() -> None:
    _log.warning("the denial feed is disconnected")


async def _on_error(failure: Exception) -> None:
    _log.warning("the denial feed: %s", _words(failure))


def _words(failure: Exception) -> str:
    return str(failure) or type(failure).__name__
