"""Hearing events: FastStream subscribers on ephemeral pull consumers, one for each source.

A subscription lives as long as its connection and its consumers. When either is gone (the server restarted, the
stream was rebuilt) it ends, and a new one begins at what has been applied by then.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub
from faststream.nats.security import NatsUserPassword
from faststream.nats.subscriber.usecases import PullStreamSubscriber
from nats import errors
from nats.aio.msg import Msg
from nats.js.api import AckPolicy as JetStreamAck
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.errors import ServiceUnavailableError

from shared.messaging.access import CONNECT_SECONDS, STREAM, NatsAccess, events_of
from shared.messaging.message import Incoming
from shared.messaging.session import obey_cancellation

Take = Callable[[str, Incoming], Awaitable[bool]]
"""Applies a message of a source; answers whether it is done with, so that it can be acknowledged."""

BATCH = 100
FETCH_SECONDS = 5.0
_CHECK_SECONDS = 0.5
_UNUSED_SECONDS = 30.0
"""The server forgets a consumer that nobody has asked for messages this long."""

FAILURES = (errors.Error, OSError, TimeoutError)
"""What ends a subscription."""


async def listen(access: NatsAccess, starts: Mapping[str, int], take: Take, heard: Callable[[], None]) -> None:
    """Hand every event of each source after its position to `take`, until the connection or a consumer is gone.

    `heard` is called when all consumers are there. Ends by raising one of `FAILURES`.
    """
    gone = asyncio.Event()

    async def closed() -> None:
        gone.set()

    async def unheard(_: Exception) -> None:
        """A failure ends the connection, and with it the subscription."""

    broker = NatsBroker(
        access.url,
        security=NatsUserPassword(access.user, access.password),
        inbox_prefix=access.inbox_prefix,
        allow_reconnect=False,
        connect_timeout=CONNECT_SECONDS,
        ping_interval=5,
        max_outstanding_pings=2,
        error_cb=unheard,
        closed_cb=closed,
        decoder=_as_it_is,
        logger=None,
        apply_types=False,
    )
    subscribers = [_subscribe(broker, access, source, start, take) for source, start in starts.items()]
    try:
        await broker.start()
        for subscriber in subscribers:
            _slow_down(subscriber)
        heard()
        while not gone.is_set():
            obey_cancellation()
            with suppress(TimeoutError):
                await asyncio.wait_for(gone.wait(), _CHECK_SECONDS)
                break
            for subscriber in subscribers:
                if subscriber.subscription is not None:
                    await subscriber.subscription.consumer_info()
        raise errors.ConnectionClosedError
    finally:
        with suppress(*FAILURES):
            await broker.stop()


async def _as_it_is(message: NatsMessage) -> NatsMessage:
    """The handler gets the message itself, because it acknowledges it."""
    return message


def _subscribe(broker: NatsBroker, access: NatsAccess, source: str, start: int, take: Take) -> PullStreamSubscriber:
    subscriber = broker.subscriber(
        events_of(source),
        stream=JStream(STREAM, declare=False),
        pull_sub=PullSub(batch_size=BATCH, timeout=FETCH_SECONDS, batch=False),
        inbox_prefix=access.inbox_prefix + b".",
        ack_policy=AckPolicy.MANUAL,
        config=ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=start + 1,
            ack_policy=JetStreamAck.EXPLICIT,
            inactive_threshold=_UNUSED_SECONDS,
            mem_storage=True,
        ),
    )

    async def handle(message: NatsMessage) -> None:
        raw = message.raw_message
        if await take(source, Incoming(raw.headers or {}, raw.data)):
            await message.ack()

    subscriber(handle)
    return subscriber


def _slow_down(subscriber: PullStreamSubscriber) -> None:
    """Let a fetch that fails at once take a moment.

    FastStream repeats it without a pause, and when the connection is closed it never gives up its turn: nothing else
    in the process would run any more.
    """
    subscription = subscriber.subscription
    if subscription is None:
        return
    fetch = subscription.fetch

    async def fetch_patiently(*args: Any, **named: Any) -> list[Msg]:
        try:
            return await fetch(*args, **named)
        except (errors.ConnectionClosedError, ServiceUnavailableError):
            await asyncio.sleep(_CHECK_SECONDS)
            raise

    subscription.fetch = fetch_patiently  # type: ignore[method-assign]  # there is no other place to step in
