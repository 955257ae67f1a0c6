"""The denial feed: what must not be accepted, told to everybody who checks tokens.

The leader publishes denials in order of their dense numbers, and each second a heartbeat: "up to this position,
nothing is denied beyond the denial of this number". A heartbeat is sent after the denials that it vouches for, over
the same connection, with a head just read from PostgreSQL. Any replica answers pings (the same words, to the one
who asks) and hands out snapshots, in inboxes alone: whoever asks names the place, and may not publish what the ledger
may. If PostgreSQL cannot be read nobody vouches for anything, so guards refuse in the end.
"""

import asyncio
from contextlib import aclosing, suppress
from datetime import UTC, datetime

import msgspec
from nats.aio.msg import Msg
from prometheus_client import Counter, Histogram

from shared.denial_source import DenialSource
from shared.head import HeadReader, HeadReading
from shared.http.operations import Check
from shared.log.log import DenialSnapshot, Log, NumberedDenial
from shared.messaging.access import ANSWER_SECONDS, DENIALS, HEARTBEAT, PING, SNAPSHOT, NatsAccess, is_inbox
from shared.messaging.session import FAILURES, Session, keep
from shared.wake import Wake

_PUBLISHED = Counter("stagedoor_feed_denials", "Denials published.")
_DELAY = Histogram(
    "stagedoor_feed_denial_delay_seconds",
    "Time from the record of a denial to its message, by the clocks of PostgreSQL and of this machine.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0),
)
_ANSWERED = Counter("stagedoor_feed_answers", "Questions answered.", ["question"])

_GROUP = "ledger"
"""Replicas share the questions as one queue group."""
_PAGE_SHARE = 0.8
"""How much of the largest message that the server takes is filled with denials."""


class DenialMessage(msgspec.Struct, frozen=True):
    """One denial on the wire."""

    number: int
    position: int
    epoch: int
    kind: str
    id: str
    rule: str
    except_id: str | None
    until: datetime | None
    recorded_at: datetime

    @classmethod
    def of(cls, numbered: NumberedDenial) -> "DenialMessage":
        """A denial of the log."""
        denial = numbered.denial
        return cls(
            number=numbered.number,
            position=numbered.position,
            epoch=numbered.epoch,
            kind=denial.kind.value,
            id=denial.id,
            rule=denial.rule.value,
            except_id=denial.except_id,
            until=denial.until,
            recorded_at=numbered.recorded_at,
        )


class Voucher(msgspec.Struct, frozen=True):
    """A heartbeat, or the answer to a ping: nothing is denied up to `position` beyond denial `number`."""

    position: int
    number: int
    epoch: int
    read_at: datetime

    @classmethod
    def of(cls, reading: HeadReading) -> "Voucher":
        """For a head."""
        head = reading.head
        return cls(head.position, head.denial_number, head.epoch, reading.read_at)


class Page(msgspec.Struct, frozen=True):
    """One page of a snapshot; all pages of one snapshot have the same position, number and epoch."""

    position: int
    number: int
    epoch: int
    denials: list[msgspec.Raw]
    complete: bool
    page: int
    epochs: tuple[tuple[int, int], ...] = ()
    """(epoch, its first position) of all up to this one, in order; on the first page."""


class _Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    page: int = 0


class DenialFeed:
    """The ledger's side of the feed."""

    def __init__(self, log: Log, wake: Wake, nats: NatsAccess, heartbeat_seconds: float = 1.0) -> None:
        self._log = log
        self._heads = HeadReader(log)
        self._source = DenialSource(log, wake, self._heads, heartbeat_seconds)
        self._nats = nats
        self._pages: list[Page] = []
        self._answering = False

    def readiness(self) -> Check:
        """Whether questions are being answered."""
        return Check(ok=True) if self._answering else Check(ok=False, detail="NATS cannot be reached")

    async def publish(self) -> None:
        """The leader's work: denials in order, and heartbeats; for ever."""
        await keep(self._nats, "denials", self._publish)

    async def answer(self) -> None:
        """Every replica's work: answers to pings and snapshots; for ever."""
        await keep(self._nats, "feed answers", self._answer)

    async def _publish(self, session: Session) -> None:
        session.check()
        began = datetime.now(UTC)
        async with aclosing(self._source.follow(0, 0, snapshots=False)) as source:
            async for told in source:
                session.check()
                if isinstance(told, HeadReading):
                    await session.client.publish(HEARTBEAT, msgspec.json.encode(Voucher.of(told)))
                    # Only here is the server waited for: a denial that is lost with its connection shows as a gap to
                    # whoever follows, and the next session tells the last ones again.
                    await session.client.flush(int(ANSWER_SECONDS))
                    session.check()
                    session.goes_on()
                elif isinstance(told, list):
                    for numbered in told:
                        subject = f"{DENIALS}.{numbered.denial.kind.value}"
                        await session.client.publish(subject, msgspec.json.encode(DenialMessage.of(numbered)))
                    _PUBLISHED.inc(len(told))
                    now = datetime.now(UTC)
                    for numbered in told:
                        # Of those before it is not known who told them first: they are told once more.
                        if numbered.recorded_at >= began:
                            _DELAY.observe(max(0.0, (now - numbered.recorded_at).total_seconds()))
                    session.check()

    async def _answer(self, session: Session) -> None:
        client = session.client
        async with asyncio.TaskGroup() as tasks:

            async def ping(message: Msg) -> None:
                if is_inbox(message.reply):
                    tasks.create_task(self._answer_ping(message))

            async def snapshot(message: Msg) -> None:
                if is_inbox(message.reply):
                    await self._answer_snapshot(message, client.max_payload)

            await client.subscribe(PING, queue=_GROUP, cb=ping)
            await client.subscribe(SNAPSHOT, queue=_GROUP, cb=snapshot)
            await client.flush(int(ANSWER_SECONDS))
            session.check()
            session.goes_on()
            self._answering = True
            try:
                await session.closed.wait()
            finally:
                self._answering = False
        session.check()

    async def _answer_ping(self, message: Msg) -> None:
        """With a head that was read after the question came; not at all if it cannot be read."""
        with suppress(*FAILURES):
            reading = await self._heads.read()
            await message.respond(msgspec.json.encode(Voucher.of(reading)))
            _ANSWERED.labels("ping").inc()

    async def _answer_snapshot(self, message: Msg, largest: int) -> None:
        """The first page is read for this question; the others are of the snapshot read last.

        Whoever gets pages of different moments, because others asked meanwhile, sees it and asks again.
        """
        try:
            page = msgspec.json.decode(message.data, type=_Question).page
        except msgspec.MsgspecError:
            return
        with suppress(*FAILURES):
            if page == 0:
                self._pages = pages_of(await self._log.active_denials(), int(largest * _PAGE_SHARE))
            if 0 <= page < len(self._pages):
                await message.respond(msgspec.json.encode(self._pages[page]))
                _ANSWERED.labels("snapshot").inc()


def pages_of(snapshot: DenialSnapshot, largest: int) -> list[Page]:
    """A snapshot cut into pages of at most about `largest` bytes."""
    pages: list[list[msgspec.Raw]] = [[]]
    size = 0
    for numbered in snapshot.denials:
        denial = msgspec.json.encode(DenialMessage.of(numbered))
        if size + len(denial) > largest and pages[-1]:
            pages.append([])
            size = 0
        pages[-1].append(msgspec.Raw(denial))
        size += len(denial) + 1
    head = snapshot.head
    return [
        Page(
            head.position,
            head.denial_number,
            head.epoch,
            denials,
            number == len(pages) - 1,
            number,
            snapshot.epochs if number == 0 else (),
        )
        for number, denials in enumerate(pages)
    ]
