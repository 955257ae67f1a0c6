"""The feed over a real NATS server, with the permissions that services have; the ledger is played by the test."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from stagedoor.clock import since_boot
from stagedoor.denials import DenialKind, DenialView
from stagedoor.nats import NatsFeed
from tests.support.nats import NatsServer
from tests.support.nats import nats_server as nats_server  # noqa: PLC0414  (a fixture)


async def until(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until it holds."""
    deadline = since_boot() + seconds
    while not holds():
        assert since_boot() < deadline, "it did not come to hold"
        await asyncio.sleep(0.005)


class Ledger:
    """Answers pings and snapshots from a list of denials."""

    def __init__(self) -> None:
        self.position = 10
        self.epoch = 1
        self.denials: list[dict[str, Any]] = []
        self.answers = True
        self.page_size = 1000
        self.snapshots = 0
        self.client: Client | None = None

    async def open(self, server: NatsServer) -> None:
        self.client = await server.connect("ledger")
        await self.client.subscribe("stagedoor.feed.ping", cb=self._ping)
        await self.client.subscribe("stagedoor.feed.snapshot", cb=self._snapshot)
        await self.client.flush()

    async def deny(self, kind: str, name: str, *, published: bool = True) -> None:
        self.position += 1
        denial = {
            "number": len(self.denials) + 1,
            "position": self.position,
            "epoch": self.epoch,
            "kind": kind,
            "id": name,
            "rule": "standing",
            "except_id": None,
            "until": "2100-01-01T00:00:00Z",
        }
        self.denials.append(denial)
        if published:
            await self.say(f"stagedoor.denials.{kind}", denial)

    async def say(self, subject: str, message: dict[str, Any]) -> None:
        assert self.client is not None
        await self.client.publish(subject, json.dumps(message).encode())
        await self.client.flush()

    @property
    def head(self) -> dict[str, Any]:
        return {
            "position": self.position,
            "number": len(self.denials),
            "epoch": self.epoch,
            "read_at": "2026-01-01T00:00:00Z",
        }

    async def _ping(self, message: Msg) -> None:
        if self.answers:
            await message.respond(json.dumps(self.head).encode())

    async def _snapshot(self, message: Msg) -> None:
        if not self.answers:
            return
        self.snapshots += 1
        page = json.loads(message.data)["page"]
        begin = page * self.page_size
        part = self.denials[begin : begin + self.page_size]
        answer = {
            **self.head,
            "denials": part,
            "page": page,
            "complete": begin + self.page_size >= len(self.denials),
        }
        await message.respond(json.dumps(answer).encode())


@pytest.fixture
async def ledger(nats_server: NatsServer) -> AsyncIterator[Ledger]:
    made = Ledger()
    await made.open(nats_server)
    yield made
    if made.client is not None and not made.client.is_closed:
        await made.client.close()


def feed_of(server: NatsServer, user: str = "resource", **options: Any) -> NatsFeed:
    access = server.access(user)
    return NatsFeed(
        access.url,
        user=access.user,
        inbox_prefix=access.inbox_prefix,
        **{"password": access.password, "heartbeat_seconds": 0.05, "answer_seconds": 5.0, **options},
    )


@pytest.fixture
async def running(nats_server: NatsServer, ledger: Ledger) -> AsyncIterator[tuple[DenialView, NatsFeed]]:
    assert ledger.client is not None  # it has to be there first
    view, feed = DenialView(), feed_of(nats_server)
    task = asyncio.create_task(feed.run(view))
    await until(lambda: view.loaded)
    yield view, feed
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_snapshot_then_denials_as_they_come(ledger: Ledger, running: tuple[DenialView, NatsFeed]) -> None:
    view, _ = running
    assert (view.position, view.epoch, view.number) == (10, 1, 0)
    await ledger.deny("client", "com.backstagehub/app")
    await until(lambda: view.number == 1)
    assert "com.backstagehub/app" in view._tables.marks[DenialKind.CLIENT]
    assert ledger.snapshots == 1


async def test_a_lost_denial_is_noticed_and_made_up_for(ledger: Ledger, running: tuple[DenialView, NatsFeed]) -> None:
    view, _ = running
    await ledger.deny("grant", "gid-1", published=False)
    await until(lambda: view.number == 1)
    assert "gid-1" in view._tables.marks[DenialKind.GRANT]


async def test_a_gap_is_made_up_for(ledger: Ledger, running: tuple[DenialView, NatsFeed]) -> None:
    view, _ = running
    await ledger.deny("token", "jti-1", published=False)
    await ledger.deny("token", "jti-2")
    await until(lambda: view.number == 2)
    assert not view.incomplete


async def test_a_ping_brings_the_position(ledger: Ledger, running: tuple[DenialView, NatsFeed]) -> None:
    view, feed = running
    ledger.position = 77
    await feed.ping()
    assert view.position == 77


async def test_only_answers_make_it_fresh(ledger: Ledger, running: tuple[DenialView, NatsFeed]) -> None:
    view, _ = running
    await until(lambda: view.age(since_boot()) < 1)
    ledger.answers = False
    await until(lambda: view.age(since_boot()) > 0.6)
    ledger.position = 99
    await ledger.say("stagedoor.denials.heartbeat", ledger.head)
    await until(lambda: view.position == 99)
    assert view.age(since_boot()) > 0.6
    ledger.answers = True
    await until(lambda: view.age(since_boot()) < 0.3)


async def test_what_cannot_be_read_is_not_skipped(ledger: Ledger, running: tuple[DenialView, NatsFeed]) -> None:
    view, _ = running
    await ledger.deny("of_next_year", "x")
    await ledger.deny("token", "jti-1")
    await until(lambda: "jti-1" in view._tables.marks[DenialKind.TOKEN])  # it denies at once
    vouched_at = since_boot() - view.age(since_boot())
    await until(lambda: ledger.snapshots > 2)
    assert view.number == 0
    assert since_boot() - view.age(since_boot()) == pytest.approx(vouched_at, abs=0.06)


async def test_it_ends_though_a_cancellation_gets_lost(
    nats_server: NatsServer, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    view, feed = DenialView(), feed_of(nats_server)
    task = asyncio.create_task(feed.run(view))
    await until(lambda: view.loaded)
    assert feed._nats is not None
    ask, waiting = feed._nats.request, asyncio.Event()

    async def losing(*arguments: Any, **named: Any) -> Msg:
        answer: Msg = await ask(*arguments, **named)
        if arguments[0] == "stagedoor.feed.snapshot":
            waiting.set()
            with suppress(asyncio.CancelledError):  # as `wait_for` does when both come at once
                await asyncio.sleep(0.05)
        return answer

    await ledger.deny("of_next_year", "x")
    snapshots = ledger.snapshots
    await until(lambda: ledger.snapshots > snapshots)
    monkeypatch.setattr(feed._nats, "request", losing)
    waiting.clear()
    await waiting.wait()
    task.cancel()
    async with asyncio.timeout(5):
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


async def test_a_snapshot_in_pages(nats_server: NatsServer, ledger: Ledger) -> None:
    ledger.page_size = 3
    for number in range(10):
        await ledger.deny("token", f"jti-{number}")
    view, feed = DenialView(), feed_of(nats_server)
    task = asyncio.create_task(feed.run(view))
    await until(lambda: view.loaded)
    assert (view.number, len(view)) == (10, 10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_it_waits_for_a_server_that_is_not_there_yet(nats_server: NatsServer, ledger: Ledger) -> None:
    assert ledger.client is not None
    await ledger.client.close()
    await nats_server.stop()
    view, feed = DenialView(), feed_of(nats_server)
    task = asyncio.create_task(feed.run(view))
    await feed.ping()
    assert not view.loaded
    await nats_server.start()
    await ledger.open(nats_server)
    await until(lambda: view.loaded, 10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_after_a_restart_of_the_server_it_is_whole_again(
    nats_server: NatsServer, ledger: Ledger, running: tuple[DenialView, NatsFeed]
) -> None:
    view, _ = running
    await nats_server.kill()
    assert ledger.client is not None
    await ledger.client.close()
    await ledger.deny("session", "sid-1", published=False)
    await nats_server.start()
    await ledger.open(nats_server)
    await until(lambda: view.number == 1 and view.age(since_boot()) < 0.5, 10)
    assert "sid-1" in view._tables.marks[DenialKind.SESSION]


async def test_where_its_sign_in_is_refused_for_a_while(nats_server: NatsServer, ledger: Ledger) -> None:
    right = nats_server.access("resource").password
    asked: list[str] = []

    def password() -> str:
        asked.append("wrong" if len(asked) < 4 else right)
        return asked[-1]

    view, feed = DenialView(), feed_of(nats_server, password=password)
    task = asyncio.create_task(feed.run(view))
    await until(lambda: view.loaded, 20)
    assert asked[:4] == ["wrong"] * 4
    assert ledger.snapshots >= 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_connection_that_is_given_up_is_made_anew(ledger: Ledger, running: tuple[DenialView, NatsFeed]) -> None:
    view, feed = running
    assert feed._nats is not None
    await feed._nats.close()
    await ledger.deny("grant", "gid-1")
    await until(lambda: view.number == 1, 10)


async def test_a_new_epoch_begins_anew(ledger: Ledger, running: tuple[DenialView, NatsFeed]) -> None:
    view, _ = running
    await ledger.deny("token", "jti-1")
    await until(lambda: view.number == 1)
    ledger.epoch, ledger.denials, ledger.position = 2, [], 8
    await until(lambda: view.epoch == 2)
    assert (view.number, view.position, len(view)) == (0, 8, 0)
