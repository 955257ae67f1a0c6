"""The stream, where events have left the log: it begins after them, whether it is new or was there before."""

import asyncio

import pytest

from shared.messaging.access import STREAM
from tests.support.archiving import issued, make_partitions
from tests.support.facts import Facts
from tests.support.nats import NatsServer, stream_info
from tests.support.relaying import caught_up, check_message, rows, start, write
from tests.support.work import Work, eventually

PRUNED = 29


@pytest.fixture
async def pruned(facts: Facts) -> Facts:
    """Fifty events, most of which expire; the first full partition of those is going to leave."""
    await make_partitions(facts, (0, PRUNED + 1, 2**24, 2**25))
    for count in range(25):
        await facts.write(f"token-{count}", issued(str(count)))
        await write(facts, 1)
    return facts


async def prune(facts: Facts) -> None:
    """As `log.prune` does, whose conditions are tested elsewhere."""
    await facts.execute("DROP TABLE log.events_expiring_0")
    await facts.execute(f"INSERT INTO log.pruned VALUES ({PRUNED}, 1, 15, 1, now())")  # noqa: S608


async def first_and_last(server: NatsServer) -> tuple[int, int]:
    client = await server.connect()
    state = (await stream_info(client)).state
    await client.close()
    assert state.messages == state.last_seq - state.first_seq + 1
    return state.first_seq, state.last_seq


async def check_rest(facts: Facts, server: NatsServer, last: int) -> None:
    """Every event after the gaps is there once, at the sequence that is its position."""
    assert await first_and_last(server) == (PRUNED + 1, last)
    client = await server.connect()
    written = [row for row in await rows(facts) if row.position > PRUNED]
    for row in written:
        message = await client.jetstream().get_msg(STREAM, row.position)
        check_message(message, row, int((message.headers or {})["stagedoor-previous"]))
    await client.close()
    assert [row.position for row in written] == list(range(PRUNED + 1, last + 1))


async def test_a_stream_that_is_made_anew_begins_after_the_gaps(
    pruned: Facts, nats_server: NatsServer, work: Work
) -> None:
    await prune(pruned)
    relay, task = await start(pruned, nats_server, work)
    await caught_up(relay, await pruned.log("ledger"))
    await check_rest(pruned, nats_server, 50)
    await write(pruned, 3)
    await caught_up(relay, await pruned.log("ledger"))
    await check_rest(pruned, nats_server, 53)
    # It is known again, and not made anew, by whoever leads next.
    await work.stop(task)
    client = await nats_server.connect()
    made = (await stream_info(client)).created
    await nats_server.kill()
    await nats_server.start()
    relay, _ = await start(pruned, nats_server, work)
    await write(pruned, 2)
    await caught_up(relay, await pruned.log("ledger"))
    await check_rest(pruned, nats_server, 55)
    client = await nats_server.connect()
    assert (await stream_info(client)).created == made
    await client.close()


async def test_a_stream_that_is_there_lets_go_of_what_left_the_log(
    pruned: Facts, nats_server: NatsServer, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.relay._VERIFY_SECONDS", 0.1)
    relay, _ = await start(pruned, nats_server, work)
    await caught_up(relay, await pruned.log("ledger"))
    assert await first_and_last(nats_server) == (1, 50)
    await prune(pruned)

    async def purged() -> bool:
        return await first_and_last(nats_server) == (PRUNED + 1, 50)

    await eventually(purged, 30)
    await write(pruned, 3)
    await caught_up(relay, await pruned.log("ledger"))
    await check_rest(pruned, nats_server, 53)


async def test_a_stream_that_lags_behind_goes_on_after_the_gaps(
    pruned: Facts, nats_server: NatsServer, work: Work
) -> None:
    """The relay was stopped for longer than the log keeps events."""
    head = (await (await pruned.log("ledger")).head()).position
    await pruned.execute("UPDATE log.head SET position = 10")
    relay, task = await start(pruned, nats_server, work)
    await asyncio.sleep(0)

    async def reached() -> bool:
        return relay.position is not None and (await first_and_last(nats_server))[1] >= 10

    await eventually(reached, 30)
    await work.stop(task)
    await pruned.execute(f"UPDATE log.head SET position = {head}")  # noqa: S608
    await prune(pruned)
    relay, _ = await start(pruned, nats_server, work)
    await caught_up(relay, await pruned.log("ledger"))
    await check_rest(pruned, nats_server, 50)


async def test_a_stream_that_lacks_what_the_log_has_is_made_anew(
    pruned: Facts, nats_server: NatsServer, work: Work
) -> None:
    await prune(pruned)
    relay, task = await start(pruned, nats_server, work)
    await caught_up(relay, await pruned.log("ledger"))
    await work.stop(task)
    client = await nats_server.connect()
    await client.jetstream().purge_stream(STREAM, seq=PRUNED + 5)
    await client.close()
    relay, _ = await start(pruned, nats_server, work)
    await caught_up(relay, await pruned.log("ledger"))
    await check_rest(pruned, nats_server, 50)
