"""Reads of the log over gRPC."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from protos.stagedoor.ledger.v1 import ledger_pb2 as pb
from protos.stagedoor.ledger.v1.ledger_pb2_grpc import LedgerStub
from services.identity import events as identity
from services.ledger import reading
from services.ledger import rpc as ledger_rpc
from services.registry import events as registry
from services.resource import events as resource
from services.token_issuer import events as token_issuer
from shared.log import pages
from shared.rpc.client import channel
from tests.integration.ledger.serving import Serving
from tests.support.facts import Facts
from tests.support.parties import Parties

TOKEN_END = datetime(2100, 1, 1, tzinfo=UTC)


async def a_story(facts: Facts) -> None:
    """Eight facts of four sources."""
    await facts.write("application-app", registry.ApplicationDisabled(client_id="app", reason="tried out"))
    await facts.write("application-app", registry.ApplicationEnabled(client_id="app"))
    await facts.write("user-freddie", identity.PasswordSet(sub="freddie"))
    ended = identity.SessionEnded(
        sub="freddie", sid="sid", reason=identity.SessionEndReason.SIGNED_OUT, tokens_end_at=TOKEN_END
    )
    await facts.write("session-sid", ended)
    revoked = token_issuer.GrantEnded(
        gid="gid", reason=token_issuer.GrantEndReason.CODE_REUSED, tokens_end_at=TOKEN_END
    )
    await facts.write("grant-gid", revoked)
    await facts.write(
        "revocation-jti", token_issuer.AccessTokenRevoked(jti="jti", client_id="app", token_ends_at=TOKEN_END)
    )
    await facts.write("tour-one", resource.TourRemoved(tour_id="one", sub="freddie", client_id="app"))
    await facts.write("application-other", registry.ApplicationEnabled(client_id="other"))


def positions(events: Iterable[pb.Event]) -> list[int]:
    return [event.position for event in events]


async def test_everything_in_order_exactly_as_it_stands(ledger: Serving) -> None:
    await a_story(ledger.facts)
    events, complete_to = await ledger.read()
    assert positions(events) == list(range(1, 9))
    assert complete_to == 8
    rows = await (await ledger.facts.log("ledger")).read_rows(0, limit=100)
    assert (rows[8].type, rows[8].actor) == ("ledger.LogQueried", "user:auditor")
    for event, row in zip(events, rows[:8], strict=True):
        assert event.data == row.data
        assert event.data_digest == sha256(event.salt + event.data.encode()).digest()
        assert (event.epoch, event.stream, event.version, event.type) == (row.epoch, row.stream, row.version, row.type)
        assert event.leaf_hash == row.leaf_hash
        assert event.command_id == str(row.command_id)
        assert (event.actor, event.correlation_id, event.causation_id) == (row.actor, row.correlation_id, 0)
        assert event.recorded_at.ToDatetime(tzinfo=UTC) == row.recorded_at


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"types": ["registry.ApplicationEnabled"]}, [2, 8]),
        ({"types": ["registry.ApplicationEnabled", "identity.PasswordSet"]}, [2, 3, 8]),
        ({"sources": ["identity"]}, [3, 4]),
        ({"streams": ["application-app"]}, [1, 2]),
        ({"client_ids": ["app"]}, [1, 2, 6, 7]),
        ({"subs": ["freddie"]}, [3, 4, 7]),
        ({"sids": ["sid"]}, [4]),
        ({"gids": ["gid"]}, [5]),
        ({"jtis": ["jti"]}, [6]),
        ({"actors": ["service:resource"]}, [7]),
        ({"subs": ["freddie"], "client_ids": ["app"]}, [7]),
        ({"subs": ["freddie"], "sources": ["token_issuer"]}, []),
        ({"subs": ["nobody"]}, []),
        ({"subs": ["' OR true --"]}, []),
    ],
)
async def test_a_filter_admits_what_it_says(ledger: Serving, wanted: dict[str, list[str]], expected: list[int]) -> None:
    await a_story(ledger.facts)
    events, complete_to = await ledger.read(filter=pb.Filter(**wanted))  # type: ignore[arg-type]  # fields of the filter
    assert positions(events) == expected
    assert complete_to == 8


async def test_a_filter_by_time_and_by_course_of_events(ledger: Serving) -> None:
    await a_story(ledger.facts)
    all_of_them, _ = await ledger.read()
    middle = all_of_them[4].recorded_at
    events, _ = await ledger.read(filter=pb.Filter(since=middle), until=8)
    assert positions(events) == [5, 6, 7, 8]
    events, _ = await ledger.read(filter=pb.Filter(before=middle))
    assert positions(events) == [1, 2, 3, 4]
    future = Timestamp()
    future.FromDatetime(datetime.now(UTC) + timedelta(days=1))
    assert (await ledger.read(filter=pb.Filter(since=future), until=8)) == ([], 8)
    events, _ = await ledger.read(filter=pb.Filter(correlation_ids=[all_of_them[2].correlation_id]))
    assert positions(events) == [3]


@pytest.mark.parametrize(
    ("asked", "expected", "complete_to"),
    [
        ({"after": 5}, [6, 7, 8], 8),
        ({"until": 3}, [1, 2, 3], 3),
        ({"after": 2, "until": 4}, [3, 4], 4),
        ({"until": 900}, list(range(1, 9)), 8),
        ({"limit": 2}, [1, 2], 2),
        ({"after": 6, "limit": 5}, [7, 8], 8),
        ({"after": 8}, [], 8),
        ({"after": 90}, [], 90),
        ({"after": 4, "until": 2}, [], 4),
    ],
)
async def test_ranges_and_limits(ledger: Serving, asked: dict[str, Any], expected: list[int], complete_to: int) -> None:
    await a_story(ledger.facts)
    events, complete = await ledger.read(**asked)
    assert positions(events) == expected
    assert complete == complete_to


@pytest.mark.parametrize(("number", "size"), [(2, pages.PAGE_BYTES), (2000, 1), (3, 150)])
async def test_small_pages_and_stretches_give_the_same(
    ledger: Serving, monkeypatch: pytest.MonkeyPatch, number: int, size: int
) -> None:
    monkeypatch.setattr(ledger_rpc, "_PAGE", number)
    monkeypatch.setattr(pages, "PAGE_BYTES", size)
    monkeypatch.setattr(ledger_rpc, "_STRETCH", 3)
    await a_story(ledger.facts)
    events, complete_to = await ledger.read()
    assert (positions(events), complete_to) == (list(range(1, 9)), 8)
    events, complete_to = await ledger.read(filter=pb.Filter(client_ids=["app"]), limit=3)
    assert (positions(events), complete_to) == ([1, 2, 6], 6)


async def test_a_message_has_no_more_than_a_reader_takes(ledger: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    await a_story(ledger.facts)
    (whole,) = [message.events for message in [one async for one in ledger.follow()] if message.events.events]
    monkeypatch.setattr(reading, "_LARGEST", 2 * max(len(event.data) for event in whole.events))
    parts = [message.events for message in [one async for one in ledger.follow()] if message.events.events]
    assert positions(event for part in parts for event in part.events)[:8] == list(range(1, 9))
    assert len(parts) > 2
    assert all(sum(len(event.data) for event in part.events) <= reading._LARGEST for part in parts)
    monkeypatch.setattr(reading, "_LARGEST", 1)
    parts = [message.events for message in [one async for one in ledger.follow()] if message.events.events]
    assert all(len(part.events) == 1 for part in parts)


@pytest.mark.parametrize(
    "asked",
    [
        {"after": -1},
        {"until": -1},
        {"limit": -1},
        {"filter": pb.Filter(subs=["x"] * 101)},
        {"filter": pb.Filter(subs=["x" * 600])},
        {"filter": pb.Filter(subs=["x\0"])},
        {"filter": pb.Filter(since=Timestamp(seconds=-(10**15)))},
    ],
)
async def test_a_request_that_makes_no_sense_is_refused(ledger: Serving, asked: dict[str, Any]) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ledger.read(**asked)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def next_events(messages: AsyncIterator[pb.ReadResponse], number: int) -> list[int]:
    found = []
    async with asyncio.timeout(10):
        async for message in messages:
            found += positions(message.events.events)
            if len(found) >= number:
                return found
    raise AssertionError("the stream ended")


async def test_following_goes_on_with_what_is_appended(ledger: Serving) -> None:
    await a_story(ledger.facts)
    messages = aiter(ledger.follow(follow=True, after=6, filter=pb.Filter(client_ids=["app", "new"])))
    assert await next_events(messages, 1) == [7]
    await ledger.facts.write("application-new", registry.ApplicationEnabled(client_id="new"))
    assert await next_events(messages, 1) == [10]
    await ledger.facts.write("application-another", registry.ApplicationEnabled(client_id="another"))
    async with asyncio.timeout(10):
        async for message in messages:
            assert message.WhichOneof("message") == "complete_to"
            if message.complete_to == 11:
                break


async def test_following_ends_at_its_end_and_at_its_limit(ledger: Serving) -> None:
    await a_story(ledger.facts)

    async def append_three() -> None:
        for number in range(3):
            await ledger.facts.write(f"application-{number}", registry.ApplicationEnabled(client_id=str(number)))

    reading = asyncio.gather(ledger.read(follow=True, until=10), ledger.read(follow=True, limit=9), append_three())
    (until, complete_until), (limited, complete_limited), _ = await reading
    assert (positions(until), complete_until) == (list(range(1, 11)), 10)
    assert (positions(limited), complete_limited) == (list(range(1, 10)), 9)


async def test_whoever_follows_is_cut_off_when_the_token_stops_being_accepted(ledger: Serving) -> None:
    await a_story(ledger.facts)
    messages = aiter(ledger.follow(follow=True, after=7))
    assert await next_events(messages, 2) == [8, 9]
    del ledger.people.roles["auditor"]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await next_events(messages, 1)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_whoever_follows_is_cut_off_when_the_role_is_removed(ledger: Serving) -> None:
    await a_story(ledger.facts)
    messages = aiter(ledger.follow(follow=True, after=7))
    assert await next_events(messages, 2) == [8, 9]
    ledger.people.roles["auditor"].clear()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await next_events(messages, 1)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_every_question_is_one_fact(ledger: Serving) -> None:
    """However many events answer it; also if none does. What is no identifier is not written down."""
    await a_story(ledger.facts)
    await ledger.read(after=2, until=6, filter=pb.Filter(subs=["freddie", "freddie@example.com"], types=["a b"]))
    await ledger.read(token="brian")
    asked, _ = await ledger.read(filter=pb.Filter(sources=["ledger"]))
    first, second = (json.loads(event.data) for event in asked)
    assert [event.actor for event in asked] == ["user:auditor", "user:brian"]
    assert first == {
        "question": "events",
        "after": 2,
        "until": 6,
        "matching": ["types=(no identifier)", "subs=freddie", "subs=(no identifier)"],
    }
    assert second == {"question": "events", "after": 0, "until": None, "matching": []}


async def test_what_cannot_be_written_down_is_not_answered(ledger: Serving) -> None:
    await a_story(ledger.facts)
    ledger.facts.database.spoiled = True
    await ledger.facts.execute("DELETE FROM log.types WHERE type = 'ledger.LogQueried'")
    with pytest.raises(grpc.aio.AioRpcError):
        await ledger.read()


async def test_only_administrators_and_auditors_read(ledger: Serving) -> None:
    await a_story(ledger.facts)
    events, _ = await ledger.read(token="brian")
    assert len(events) == 8
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ledger.read(token="freddie")
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ledger.read(token="somebody")
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_only_the_operators_certificate_reads(ledger: Serving, parties: Parties) -> None:
    connection = channel(ledger.address, parties.service("resource"), "ledger")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await LedgerStub(connection).GetHead(pb.GetHeadRequest(), metadata=(("authorization", "Bearer auditor"),))
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    await connection.close(None)


async def test_the_head(ledger: Serving) -> None:
    said = (("authorization", "Bearer auditor"),)
    empty = await ledger.stub.GetHead(pb.GetHeadRequest(), metadata=said)
    assert (empty.position, empty.HasField("recorded_at")) == (0, False)
    appended = await ledger.facts.write("application-app", registry.ApplicationEnabled(client_id="app"))
    head = await ledger.stub.GetHead(pb.GetHeadRequest(), metadata=said)
    assert (head.position, head.epoch) == (1, 1)
    assert head.recorded_at.ToDatetime(tzinfo=UTC) == appended.recorded_at
