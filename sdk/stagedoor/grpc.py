"""Online validation, and denials watched, over gRPC.

The channel is the caller's: mutual TLS with the certificate of a registered resource. One channel, and one `GrpcOnline`
over it, serve a whole process.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import UTC

import grpc
from grpc import aio

from stagedoor.clock import since_boot
from stagedoor.denials import Denial, DenialKind, DenialRule, DenialView, Snapshot, snapshot_of
from stagedoor.online import GrpcOnline
from stagedoor.validation.v1 import validation_pb2 as messages
from stagedoor.validation.v1.validation_pb2_grpc import ValidationStub

__all__ = ["GrpcFeed", "GrpcOnline", "credentials"]

_log = logging.getLogger("stagedoor.grpc")

_SLOWEST_RETRY = 2.0


class GrpcFeed:
    """A `Feed` over `WatchDenials`.

    A stream that is pushed to cannot prove that it is recent, as its messages may have lain in a buffer. So the
    watch is begun anew every `renew_seconds`, where the last one ended, and counts as fresh as of its beginning
    once a heartbeat has come that was read after it: the second one at the latest.
    """

    def __init__(
        self, channel: aio.Channel, *, renew_seconds: float = 5.0, boot: Callable[[], float] = since_boot
    ) -> None:
        self._stub = ValidationStub(channel)
        self._renew = renew_seconds
        self._boot = boot
        self._view: DenialView | None = None

    async def run(self, view: DenialView) -> None:
        """Fill the view until cancelled."""
        self._view = view
        pause = 0.1
        begin_again = False
        while True:
            begun_at = self._boot()
            try:
                begin_again = not await self._watch(view, begun_at, from_snapshot=begin_again)
                pause = 0.1
            except (aio.AioRpcError, ValueError) as failure:
                reason = failure.code().name if isinstance(failure, aio.AioRpcError) else failure
                _log.warning("denials cannot be watched: %s", reason)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _SLOWEST_RETRY)

    async def ping(self) -> None:
        """Ask for the head now: a watch of its own that ends with its first heartbeat."""
        view = self._view
        if view is None or not view.loaded:
            return
        try:
            pages: list[messages.Snapshot] = []
            async with aclosing(self._messages(view, from_snapshot=False)) as watch:
                async for message in watch:
                    if not _take_in(view, message, pages) or message.WhichOneof("message") == "heartbeat":
                        return
        except (aio.AioRpcError, ValueError) as failure:
            _log.debug("no answer to a ping: %s", failure)

    async def _watch(self, view: DenialView, begun_at: float, *, from_snapshot: bool) -> bool:
        """One watch, of about `renew_seconds`. False: something was missing, so begin again with a snapshot."""
        pages: list[messages.Snapshot] = []
        heartbeats, known = 0, view.position
        async with aclosing(self._messages(view, from_snapshot=from_snapshot)) as watch:
            async for message in watch:
                heartbeats += message.WhichOneof("message") == "heartbeat"
                recent = heartbeats > 1
                if not _take_in(view, message, pages, begun_at if recent else None, known):
                    return False
                if recent and self._boot() - begun_at >= self._renew:
                    return True
        return True

    async def _messages(
        self, view: DenialView, *, from_snapshot: bool
    ) -> AsyncGenerator[messages.WatchDenialsResponse]:
        after = 0 if from_snapshot else view.number
        call = self._stub.WatchDenials(messages.WatchDenialsRequest(after_number=after, epoch=view.epoch))
        try:
            async for message in call:
                yield message
        finally:
            call.cancel()


def _take_in(
    view: DenialView,
    message: messages.WatchDenialsResponse,
    pages: list[messages.Snapshot],
    sent_at: float | None = None,
    known: int = 0,
) -> bool:
    """False: something is missing. `pages` are those of the snapshot that is being received."""
    if message.WhichOneof("message") == "snapshot":
        pages.append(message.snapshot)
        if not message.snapshot.complete:
            return True
        snapshot = snapshot_of(map(_snapshot, pages))
        pages.clear()
        if snapshot is not None:
            view.replace(snapshot)
        return snapshot is not None
    if message.WhichOneof("message") == "denial":
        return view.apply(_denial(message.denial))
    if message.WhichOneof("message") == "heartbeat":
        beat = message.heartbeat
        return view.vouch(beat.position, beat.number, beat.epoch, sent_at, known)
    return False


def _denial(message: messages.Denial) -> Denial:
    """Raises `ValueError` for a kind or a rule that this version does not know: it must not be skipped."""
    return Denial(
        number=message.number,
        position=message.position,
        epoch=message.epoch,
        kind=DenialKind(message.kind),
        id=message.id,
        rule=DenialRule(message.rule),
        except_id=message.except_id or None,
        until=message.until.ToDatetime(tzinfo=UTC) if message.HasField("until") else None,
        recorded_at=message.recorded_at.ToDatetime(tzinfo=UTC) if message.HasField("recorded_at") else None,
    )


def _snapshot(message: messages.Snapshot) -> Snapshot:
    return Snapshot(
        position=message.position,
        number=message.number,
        epoch=message.epoch,
        denials=tuple(map(_denial, message.denials)),
        epochs=tuple((known.epoch, known.first_position) for known in message.epochs),
    )


def credentials(ca: bytes, certificate: bytes, key: bytes) -> grpc.ChannelCredentials:
    """Mutual TLS with the certificate of a registered resource; all in PEM."""
    return grpc.ssl_channel_credentials(ca, key, certificate)
