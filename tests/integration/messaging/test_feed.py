"""The denial feed: dense, in order, and nobody vouches for more than was said."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.registry import events as registry
from shared.denials import Denial, DenialKind, DenialRule
from shared.feed import DenialFeed, DenialMessage, Page, Voucher, pages_of
from shared.log.append import Head, LogUnavailable
from shared.log.log import DenialSnapshot, Log, NumberedDenial
from shared.log_feed import LogFeed
from shared.wake import Wake
from stagedoor.denials import DenialView
from stagedoor.nats import NatsFeed
from tests.support.facts import Facts
from tests.support.nats import NatsServer
from tests.support.work import Work, eventually


async def deny(facts: Facts, name: str) -> int:
    """One fact that denies an application."""
    return (await facts.write(f"application-{name}", registry.ApplicationUninstalled(client_id=name))).position


async def permit(facts: Facts, name: str) -> int:
    """One fact that denies nothing."""
    return (
        await facts.write(f"application-{name}", registry.SecretAdded(client_id=name, secret_id="s", secret_digest="d"))
    ).position


async def feed(facts: Facts, server: NatsServer, work: Work, *, lead: bool = True, every: float = 0.1) -> DenialFeed:
    log = await facts.log("ledger")
    wake = Wake(log)
    work.start(wake.run())
    started = DenialFeed(log, wake, server.access("ledger"), every)
    work.start(started.answer())
    if lead:
        work.start(started.publish())
    await eventually(lambda: started.readiness().ok)
    return started


@dataclass
class Heard:
    """What a subscriber heard, in order; it fails at once if a heartbeat vouches for more than was said before it."""

    numbers: list[int] = field(default_factory=list)
    vouchers: list[Voucher] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    async def take(self, message: Msg) -> None:
        if message.subject == "stagedoor.denials.heartbeat":
            voucher = msgspec.json.decode(message.data, type=Voucher)
            if voucher.number > max(self.numbers, default=0):
                self.wrong.append(f"{voucher} after {self.numbers[-1:]}")
            self.vouchers.append(voucher)
            return
        denial = msgspec.json.decode(message.data, type=DenialMessage)
        if message.subject != f"stagedoor.denials.{denial.kind}":
            self.wrong.append(message.subject)
        self.numbers.append(denial.number)


async def listen(server: NatsServer) -> tuple[Client, Heard]:
    client, heard = await server.connect("resource_server"), Heard()
    await client.subscribe("stagedoor.denials.>", cb=heard.take)
    await client.flush()
    return client, heard


async def test_denials_come_in_order_and_heartbeats_vouch_only_for_what_was_said(
    facts: Facts, nats_server: NatsServer, work: Work
) -> None:
    client, heard = await listen(nats_server)
    await feed(facts, nats_server, work, every=0.005)
    for number in range(60):
        await deny(facts, f"a{number}")
        await permit(facts, f"b{number}")
    log = await facts.log("ledger")
    head = await log.head()
    await eventually(lambda: bool(heard.vouchers) and heard.vouchers[-1].position == head.position)
    assert heard.numbers == list(range(1, 61))
    assert heard.wrong == []
    assert [voucher.position for voucher in heard.vouchers] == sorted(voucher.position for voucher in heard.vouchers)
    await client.close()


async def test_denials_wait_for_no_heartbeat(facts: Facts, nats_server: NatsServer, work: Work) -> None:
    client, heard = await listen(nats_server)
    await deny(facts, "a")
    await feed(facts, nats_server, work, every=3600)
    await eventually(lambda: len(heard.vouchers) == 1)
    for number in range(20):
        await permit(facts, f"b{number}")
        await deny(facts, f"c{number}")
    await eventually(lambda: len(heard.numbers) == 21)
    assert heard.numbers == list(range(1, 22))
    assert len(heard.vouchers) == 1
    await client.close()


async def test_a_heartbeat_says_when_its_head_was_read(facts: Facts, nats_server: NatsServer, work: Work) -> None:
    client, heard = await listen(nats_server)
    position = await deny(facts, "a")
    before = datetime.now(UTC)
    await feed(facts, nats_server, work)
    await eventually(lambda: len(heard.vouchers) > 1)
    assert before <= heard.vouchers[0].read_at < heard.vouchers[1].read_at <= datetime.now(UTC)
    assert heard.vouchers[0].position == position
    await client.close()


async def test_nobody_vouches_while_the_log_is_out_of_reach(
    facts: Facts, nats_server: NatsServer, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, heard = await listen(nats_server)
    await feed(facts, nats_server, work, every=0.02)
    await eventually(lambda: len(heard.vouchers) > 2)

    async def gone(_: Log) -> Head:
        raise LogUnavailable

    with monkeypatch.context() as broken:
        broken.setattr(Log, "head", gone)
        asker = await nats_server.connect("resource")
        with pytest.raises(TimeoutError):
            await asker.request("stagedoor.feed.ping", b"", timeout=0.5)
        await client.flush()
        count = len(heard.vouchers)
        with pytest.raises(TimeoutError):
            await asker.request("stagedoor.feed.ping", b"", timeout=0.5)
        assert len(heard.vouchers) == count
    await eventually(lambda: len(heard.vouchers) > count)
    await asker.close()
    await client.close()


async def test_a_ping_is_answered_with_a_head_read_after_it(facts: Facts, nats_server: NatsServer, work: Work) -> None:
    await feed(facts, nats_server, work, lead=False)
    asker = await nats_server.connect("resource")
    for number in range(20):
        position = await (deny if number % 2 else permit)(facts, f"a{number}")
        asked_at = datetime.now(UTC)
        answers = await asyncio.gather(*(asker.request("stagedoor.feed.ping", b"", timeout=5) for _ in range(5)))
        for answer in answers:
            voucher = msgspec.json.decode(answer.data, type=Voucher)
            assert (voucher.position, voucher.number) == (position, (number + 1) // 2)
            assert voucher.read_at >= asked_at
    await asker.close()


async def test_replicas_answer_a_ping_once(facts: Facts, nats_server: NatsServer, work: Work) -> None:
    await feed(facts, nats_server, work, lead=False)
    await feed(facts, nats_server, work, lead=False)
    asker = await nats_server.connect("resource")
    inbox = asker.new_inbox()
    answers = await asker.subscribe(inbox)
    await asker.publish("stagedoor.feed.ping", b"", reply=inbox)
    await answers.next_msg(timeout=5)
    with pytest.raises(TimeoutError):
        await answers.next_msg(timeout=0.3)
    await asker.close()


async def test_a_snapshot_has_what_still_matters(facts: Facts, nats_server: NatsServer, work: Work) -> None:
    await deny(facts, "gone")
    await facts.write("application-off", registry.ApplicationDisabled(client_id="off", reason="it misbehaves"))
    await facts.write("application-on", registry.ApplicationDisabled(client_id="on", reason="it misbehaves"))
    await facts.write("application-on", registry.ApplicationEnabled(client_id="on"))
    await feed(facts, nats_server, work, lead=False)
    asker = await nats_server.connect("resource")
    answer = await asker.request("stagedoor.feed.snapshot", b'{"page":0}', timeout=5)
    page = msgspec.json.decode(answer.data, type=Page)
    denials = [msgspec.json.decode(denial, type=DenialMessage) for denial in page.denials]
    assert [(denial.number, denial.id, denial.rule) for denial in denials] == [
        (1, "gone", "standing"),
        (2, "off", "standing"),
    ]
    assert (page.position, page.number, page.epoch, page.complete, page.page) == (4, 4, 1, True, 0)
    await asker.close()


@pytest.mark.parametrize(
    "question", [b"", b"{", b'{"page":-1}', b'{"page":7}', b'{"page":"0"}', b'{"page":0,"all":true}']
)
async def test_a_question_that_is_none_gets_no_answer_and_harms_nobody(
    facts: Facts, nats_server: NatsServer, work: Work, question: bytes
) -> None:
    await feed(facts, nats_server, work, lead=False)
    asker = await nats_server.connect("resource")
    with pytest.raises(TimeoutError):
        await asker.request("stagedoor.feed.snapshot", question, timeout=0.3)
    await asker.request("stagedoor.feed.snapshot", b'{"page":0}', timeout=5)
    await asker.close()


def test_pages_hold_everything_once_and_say_which_is_the_last() -> None:
    now = datetime.now(UTC)
    denials = [
        NumberedDenial(n, n, 1, "registry", Denial(DenialKind.CLIENT, f"client-{n}", DenialRule.STANDING), now)
        for n in range(1, 101)
    ]
    pages = pages_of(DenialSnapshot(Head(1, 500, 120), denials), 1000)
    assert len(pages) > 10
    assert all(len(msgspec.json.encode(page)) < 1200 for page in pages)
    assert {(page.position, page.number, page.epoch) for page in pages} == {(500, 120, 1)}
    assert [page.complete for page in pages] == [False] * (len(pages) - 1) + [True]
    assert [page.page for page in pages] == list(range(len(pages)))
    read = [msgspec.json.decode(denial, type=DenialMessage).number for page in pages for denial in page.denials]
    assert read == list(range(1, 101))


def test_a_snapshot_without_denials_is_one_page() -> None:
    (page,) = pages_of(DenialSnapshot(Head(1, 3, 0), []), 1000)
    assert (page.complete, page.denials) == (True, [])


async def view_over_nats(server: NatsServer, work: Work) -> tuple[DenialView, NatsFeed]:
    access = server.access("resource")
    view = DenialView()
    following = NatsFeed(
        access.url,
        user=access.user,
        password=access.password,
        inbox_prefix=access.inbox_prefix.decode(),
        heartbeat_seconds=0.1,
    )
    work.start(following.run(view))
    return view, following


async def test_the_sdk_follows_it_over_a_change_of_leaders(facts: Facts, nats_server: NatsServer, work: Work) -> None:
    log = await facts.log("ledger")
    wake = Wake(log)
    work.start(wake.run())
    one, two = (DenialFeed(log, wake, nats_server.access("ledger"), 0.1) for _ in range(2))
    work.start(one.answer())
    leading = work.start(one.publish())
    view, _ = await view_over_nats(nats_server, work)
    await deny(facts, "a")
    await eventually(lambda: view.number == 1)
    await work.stop(leading)
    await deny(facts, "b")
    work.start(two.publish())
    position = await deny(facts, "c")
    await eventually(lambda: (view.number, view.position) == (3, position))
    assert len(view) == 3


async def test_the_sdk_is_whole_again_after_nats_was_gone(facts: Facts, nats_server: NatsServer, work: Work) -> None:
    await feed(facts, nats_server, work)
    view, _ = await view_over_nats(nats_server, work)
    await deny(facts, "a")
    await eventually(lambda: view.number == 1)
    await nats_server.kill()
    await deny(facts, "b")
    position = await deny(facts, "c")
    await nats_server.start()
    await eventually(lambda: (view.number, view.position) == (3, position), 30)


async def test_a_view_over_the_log_itself_needs_nobody_else(facts: Facts, work: Work) -> None:
    log = await facts.log("token_issuer")
    wake = Wake(log)
    work.start(wake.run())
    view, following = DenialView(), LogFeed(log, wake)
    await deny(facts, "a")
    work.start(following.run(view))
    await eventually(lambda: view.number == 1)
    position = await deny(facts, "b")
    await following.ping()
    assert (view.number, view.position) == (2, position)
    position = await permit(facts, "c")
    await following.ping()
    assert (view.number, view.position) == (2, position)
    await facts.write("application-d", registry.ApplicationDisabled(client_id="d", reason="no"))
    await facts.write("application-d", registry.ApplicationEnabled(client_id="d"))
    await eventually(lambda: view.number == 4)
