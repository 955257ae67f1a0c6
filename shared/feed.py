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
from nats.aio.client import Client
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
_TOGETHER = 256
"""Questions for a snapshot that are answered with the same one; more wait with the client."""
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
        snapshots = _Snapshots(self._log, client)
        async with asyncio.TaskGroup() as tasks:

            async def ping(message: Msg) -> None:
                if is_inbox(message.reply):
                    tasks.create_task(self._answer_ping(message))

            async def snapshot(message: Msg) -> None:
                if is_inbox(message.reply):
                    await snapshots.ask(message)

            await client.subscribe(PING, queue=_GROUP, cb=ping)
            await client.subscribe(SNAPSHOT, queue=_GROUP, cb=snapshot)
            await client.flush(int(ANSWER_SECONDS))
            session.check()
            session.goes_on()
            self._answering = True
            answering = tasks.create_task(snapshots.answer())
            try:
                await session.closed.wait()
            finally:
                self._answering = False
                answering.cancel()
        session.check()

    async def _answer_ping(self, message: Msg) -> None:
        """With a head that was read after the question came; not at all if it cannot be read."""
        with suppress(*FAILURES):
            reading = await self._heads.read()
            await message.respond(msgspec.json.encode(Voucher.of(reading)))
            _ANSWERED.labels("ping").inc()


class _Snapshots:
    """Hands out snapshots over one connection: whoever asks while one is read or handed out shares the next one.

    Who asks is not known, so nobody can be held to a share of their own; many questions must not be much work.
    """

    def __init__(self, log: Log, client: Client) -> None:
        self._log = log
        self._client = client
        self._pages: list[bytes] = []
        self._asking: list[str] = []
        """Where the first page is waited for."""
        self._asked = asyncio.Event()
        self._taken = asyncio.Event()

    async def ask(self, message: Msg) -> None:
        """The first page is read after this question; the others are of the snapshot read last.

        Whoever gets pages of different moments, because others asked meanwhile, sees it and asks again.
        """
        try:
            page = msgspec.json.decode(message.data, type=_Question).page
        except msgspec.MsgspecError:
            return
        if page == 0:
            self._asking.append(message.reply)
            self._asked.set()
            if len(self._asking) >= _TOGETHER:
                self._taken.clear()
                await self._taken.wait()
        elif 0 < page < len(self._pages):
            await self._hand_out(message.reply, page)

    async def answer(self) -> None:
        """For ever."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            asking, self._asking = self._asking, []
            self._taken.set()
            with suppress(*FAILURES):
                pages = pages_of(await self._log.active_denials(), int(self._client.max_payload * _PAGE_SHARE))
                self._pages = [msgspec.json.encode(page) for page in pages]
                for place in asking:
                    await self._hand_out(place, 0)

    async def _hand_out(self, place: str, page: int) -> None:
        # One that cannot be answered keeps nobody else from being answered.
        with suppress(*FAILURES):
            await self._client.publish(place, self._pages[page])
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
