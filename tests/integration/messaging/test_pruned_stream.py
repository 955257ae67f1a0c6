"""The stream, where events have left the log: it begins after them, whether it is new or was there before."""

import pytest

from shared.messaging.access import STREAM
from tests.support.archiving import issued, make_partitions
from tests.support.facts import Facts
from tests.support.nats import NatsServer, stream_info
from tests.support.relaying import caught_up, check_message, rows, start, write
from tests.support.work import Work, eventually

PRUNED = 29


async def fill(facts: Facts, numbers: range) -> None:
    """Events of which each second one expires."""
    for number in numbers:
        await facts.write(f"token-{number}", issued(str(number)))
        await write(facts, 1)


@pytest.fixture
async def parted(facts: Facts) -> Facts:
    """The first full partition of events that expire is going to leave."""
    await make_partitions(facts, (0, PRUNED + 1, 2**24, 2**25))
    return facts


@pytest.fixture
async def pruned(parted: Facts) -> Facts:
    """Fifty events are there."""
    await fill(parted, range(25))
    return parted


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
    parted: Facts, nats_server: NatsServer, work: Work
) -> None:
    """The relay was stopped for longer than the log keeps events."""
    await fill(parted, range(5))
    relay, task = await start(parted, nats_server, work)
    await caught_up(relay, await parted.log("ledger"))
    await work.stop(task)
    assert await first_and_last(nats_server) == (1, 10)
    await fill(parted, range(5, 25))
    await prune(parted)
    relay, _ = await start(parted, nats_server, work)
    await caught_up(relay, await parted.log("ledger"))
    await check_rest(parted, nats_server, 50)


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
