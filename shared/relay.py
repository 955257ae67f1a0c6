"""Copies the log into the JetStream stream, so that a message's sequence is its event's position.

The relay keeps no checkpoint: it asks the stream how far it has come. Each message is published under the condition
that the one before it is the last of the stream, by its sequence and by its id, so nothing can be lost, doubled or
moved, however many relays there are and wherever they are stopped. (The sequence alone would let a message on its way
settle behind a stranger's that has taken the place of the one before it.) Whenever anything goes wrong it stops, and
resumes from what the stream really holds. A stream that cannot be a copy of the log is made anew from it.

Where expiring events have left the log, nothing up to the last of them can be copied any more, so the stream begins
after it: a new one does, and an old one lets go of what it has of before.
"""

import asyncio
import time
from collections import deque
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
from nats import errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig, StreamInfo
from nats.js.errors import NotFoundError
from prometheus_client import Counter, Gauge

from shared.log.log import Log
from shared.log.row import EventRow
from shared.messaging.access import ANSWER_SECONDS, EVENTS, STREAM, NatsAccess, events_of
from shared.messaging.message import Outgoing, encode, is_message_of, message_id, source_of
from shared.messaging.session import Session, keep
from shared.questions import ask
from shared.telemetry import logger
from shared.tracing import spans
from shared.wake import Wake
from stagedoor.cancellation import obey_cancellation

if TYPE_CHECKING:
    from opentelemetry.trace import Span

_log = logger(__name__)
_PUBLISHED = Counter("stagedoor_relay_events", "Events acknowledged by the stream.")
_REBUILT = Counter("stagedoor_relay_rebuilds", "Times that the stream was made anew.", ["why"])
_POSITION = Gauge("stagedoor_relay_position", "Position up to which the stream is a copy of the log.")

_WINDOW = 1000
"""Messages on their way at a time."""
_READ = 500
"""Rows of one read, at the most."""
_POLL_SECONDS = 1.0
_VERIFY_SECONDS = 5.0
"""How often an idle relay looks whether the stream still is what it left."""


class Interrupted(errors.Error):
    """A message was not taken as it should have been: nothing further on its way may count."""


class _Answer(msgspec.Struct):
    """What JetStream says to a published message."""

    seq: int = 0
    error: dict[str, object] | None = None


class _Window:
    """Messages on their way into the stream, in order, each with its own place in a private inbox.

    After the first answer that is not the expected one it takes and acknowledges nothing more.
    """

    def __init__(self, connection: Client, position: int) -> None:
        self.acknowledged = position
        self._connection = connection
        self._inbox = connection.new_inbox()
        self._under_way: deque[int] = deque()
        self._failure: str | None = None
        self._moved = asyncio.Event()
        self._spans: dict[int, Span] = {}
        """Of messages on their way. What is not acknowledged is sent again, with a span of its own."""

    async def open(self) -> None:
        """Begin to listen for answers."""
        await self._connection.subscribe(f"{self._inbox}.*", cb=self._answered)

    async def publish(self, message: Outgoing, position: int, span: "Span | None" = None) -> None:
        """Send the next message, when there is room; `span` ends when the stream has it."""
        while len(self._under_way) >= _WINDOW:
            await self._progress()
        self._check()
        self._under_way.append(position)
        if span is not None:
            self._spans[position] = span
        await self._connection.publish(
            message.subject, message.body, reply=f"{self._inbox}.{position}", headers=message.headers
        )

    async def settle(self) -> None:
        """Wait until everything sent is acknowledged."""
        while self._under_way:
            await self._progress()
        self._check()

    async def _progress(self) -> None:
        self._check()
        self._moved.clear()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._moved.wait()
        except TimeoutError:
            raise Interrupted("no answer from the stream") from None

    def _check(self) -> None:
        obey_cancellation()
        if self._failure is not None:
            raise Interrupted(self._failure)
        if self._connection.is_closed:
            raise errors.ConnectionClosedError

    async def _answered(self, message: Msg) -> None:
        if self._failure is not None:
            return
        position = message.subject.rpartition(".")[2]
        try:
            answer = msgspec.json.decode(message.data, type=_Answer)
        except msgspec.MsgspecError:
            answer = _Answer(error={"description": "no stream answers"})
        if not self._under_way or position != str(self._under_way[0]) or answer.seq != self._under_way[0]:
            error = answer.error or {}
            self._failure = str(error.get("description", f"position {position} became sequence {answer.seq}"))
        else:
            self.acknowledged = self._under_way.popleft()
            _PUBLISHED.inc()
            _POSITION.set(self.acknowledged)
            if self._spans and (span := self._spans.pop(self.acknowledged, None)) is not None:
                spans.relayed(span)
        self._moved.set()


class Relay:
    """Keeps the stream a copy of the log."""

    def __init__(self, log: Log, wake: Wake, nats: NatsAccess, *, replicas: int = 1) -> None:
        self._log = log
        self._wake = wake
        self._nats = nats
        self._config = StreamConfig(
            name=STREAM,
            subjects=[f"{EVENTS}.>"],
            retention=RetentionPolicy.LIMITS,
            discard=DiscardPolicy.NEW,
            storage=StorageType.FILE,
            num_replicas=replicas,
        )
        self.position: int | None = None
        """Up to here the stream is known to be a copy of the log; None: not known now."""
        self._epoch = 0
        self._floor = 0
        """Up to this position the log has gaps."""
        self._previous: dict[str, int] = {}
        self._follows: str | None = None

    async def run(self) -> None:
        """Relay for ever; ends only by being cancelled."""
        await keep(self._nats, "relay", self._session)

    async def _session(self, session: Session) -> None:
        """Relay over one connection, until something goes wrong."""
        stream = session.client.jetstream(timeout=ANSWER_SECONDS)
        try:
            self.position = await self._resume(stream)
            window = _Window(session.client, self.position)
            await window.open()
            await self._relay(session, stream, window)
        finally:
            self.position = None

    async def _relay(self, session: Session, stream: JetStreamContext, window: _Window) -> None:
        sent = window.acknowledged
        verified = time.monotonic()
        while True:
            mark = self._wake.mark
            session.check()
            while rows := await self._log.read_rows(sent, limit=_READ):
                for row in rows:
                    await self._send(row, sent, stream, window)
                    sent = row.position
                self.position = window.acknowledged
            await window.settle()
            self.position = window.acknowledged
            session.goes_on()
            if time.monotonic() - verified >= _VERIFY_SECONDS:
                await self._verify(stream)
                verified = time.monotonic()
            session.check()
            await self._wake.after(mark, _POLL_SECONDS)

    async def _send(self, row: EventRow, sent: int, stream: JetStreamContext, window: _Window) -> None:
        if row.position != sent + 1:
            raise Interrupted(f"the log continues at {row.position} after {sent}")
        if row.epoch > self._epoch and sent:
            raise Interrupted("a new epoch has begun")
        source = source_of(row.type)
        if source not in self._previous:
            self._previous[source] = await _last_of(stream, source)
        span = spans.relaying(row, row.type) if spans.active else None
        traceparent = None if span is None else spans.traceparent(span)
        message = encode(row, self._previous[source], self._follows, traceparent)
        await window.publish(message, row.position, span)
        self._previous[source] = row.position
        self._follows = message_id(row)

    async def _resume(self, stream: JetStreamContext) -> int:
        """The position up to which the stream is a copy of the log, after making it one if it is not."""
        self._previous.clear()
        self._follows = None  # the last message has been looked at; and the server may have forgotten its id
        position, wrong = await self._compare(stream)
        if wrong is None:
            return position
        _log.warning("stream_rebuilt", why=wrong)
        _REBUILT.labels(wrong).inc()
        with suppress(NotFoundError):
            await stream.delete_stream(STREAM)
        await self._make(stream)
        return self._floor

    async def _make(self, stream: JetStreamContext) -> StreamInfo:
        """An empty stream, whose first message has the sequence that is the first position after the gaps."""
        first = self._floor + 1 if self._floor else None
        return await stream.add_stream(replace(self._config, first_seq=first))

    async def _verify(self, stream: JetStreamContext) -> None:
        """Nobody but a relay publishes here; if somebody did, or the log went back, resume."""
        position, wrong = await self._compare(stream)
        if wrong is not None or position != self.position:
            raise Interrupted(f"the stream was changed: {wrong or 'by another relay'}")

    async def _compare(self, stream: JetStreamContext) -> tuple[int, str | None]:
        """How far the stream has come, and why it is no copy of the log, if it is none.

        The stream is asked before the log, so that what another relay adds meanwhile does not seem too much.
        """
        info: StreamInfo | None = None
        with suppress(NotFoundError):
            info = await stream.stream_info(STREAM)
        self._floor = (await ask(self._log.pool.fetchval("SELECT log.pruned_to()"))) or 0
        if info is None:
            info = await self._make(stream)
        if self._floor and info.state.first_seq <= self._floor and self._configured(info.config):
            await stream.purge_stream(STREAM, seq=self._floor + 1)
            info = await stream.stream_info(STREAM)
        head = await self._log.head()
        self._epoch = head.epoch
        last = info.state.last_seq
        if not self._configured(info.config):
            return last, "configuration"
        if info.config.num_replicas != self._config.num_replicas:
            await stream.update_stream(info.config.evolve(num_replicas=self._config.num_replicas))
            _log.info("stream_replicas", before=info.config.num_replicas, now=self._config.num_replicas)
        if info.state.messages != last - self._floor:
            return last, "gap"
        if last > head.position:
            return last, "beyond_the_log"
        if last > self._floor and not await self._same_at(stream, last):
            return last, "other_message"
        return last, None

    def _configured(self, config: StreamConfig) -> bool:
        unlimited = config.max_msgs in (None, -1) and not config.max_age
        return unlimited and (config.subjects, config.retention, config.discard, config.storage) == (
            self._config.subjects,
            self._config.retention,
            self._config.discard,
            self._config.storage,
        )

    async def _same_at(self, stream: JetStreamContext, position: int) -> bool:
        """Whether the message at this sequence is the event at this position.

        The one before it was the last when it was published, so if this one is right all of them are.
        """
        rows = await self._log.read_rows(position - 1, limit=1)
        try:
            message = await stream.get_msg(STREAM, position)
        except NotFoundError:
            return False
        return bool(rows) and is_message_of(rows[0], message.subject or "", message.headers or {}, message.data or b"")


async def _last_of(stream: JetStreamContext, source: str) -> int:
    """Position of the last event of a source that is in the stream; 0 if there is none."""
    try:
        return (await stream.get_last_msg(STREAM, events_of(source))).seq or 0
    except NotFoundError:
        return 0
