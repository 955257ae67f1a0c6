"""A relay that is ended, or held, at any of its steps: the next one makes the stream a copy of the log."""

import signal

import psutil
import pytest

from shared.messaging.access import STREAM
from tests.support.facts import Facts
from tests.support.nats import NatsServer, stream_info
from tests.support.relay_steps import STEPS
from tests.support.relaying import caught_up, check_copy, relay_process, start, write
from tests.support.work import Work, eventually

EVENTS = 160
COPYING = [(step, False) for step in STEPS if step != "deleted"]
REBUILDING = [(step, True) for step in ("deleted", "created", "published", "window answered")]


async def spoil(facts: Facts, server: NatsServer, work: Work) -> None:
    """Leave a stream that has to be made anew."""
    relay, task = await start(facts, server, work)
    await caught_up(relay, await facts.log("ledger"))
    await work.stop(task)
    client = await server.connect()
    await client.jetstream().purge_stream(STREAM, seq=4)
    await client.close()


@pytest.mark.parametrize(("step", "rebuilding"), [*COPYING, *REBUILDING])
async def test_killed_at_a_step_it_loses_doubles_and_moves_nothing(
    facts: Facts, nats_server: NatsServer, work: Work, step: str, *, rebuilding: bool
) -> None:
    await write(facts, EVENTS)
    if rebuilding:
        await spoil(facts, nats_server, work)
    process = await relay_process(facts, nats_server, step, str(int(signal.SIGKILL)))
    assert await process.wait() == -signal.SIGKILL
    await write(facts, 10, "two")
    relay, _ = await start(facts, nats_server, work)
    await caught_up(relay, await facts.log("ledger"))
    await check_copy(facts, nats_server)


@pytest.mark.parametrize("step", ["read", "published", "window answered"])
async def test_held_at_a_step_while_another_goes_on_it_moves_nothing_afterwards(
    facts: Facts, nats_server: NatsServer, work: Work, step: str
) -> None:
    await write(facts, EVENTS)
    process = await relay_process(facts, nats_server, step, str(int(signal.SIGSTOP)))
    try:
        held = psutil.Process(process.pid)
        await eventually(lambda: held.status() == psutil.STATUS_STOPPED, 60)
        relay, _ = await start(facts, nats_server, work)
        await caught_up(relay, await facts.log("ledger"))
        await check_copy(facts, nats_server)
        process.send_signal(signal.SIGCONT)
        await write(facts, 60, "two")
        await caught_up(relay, await facts.log("ledger"))
        await check_copy(facts, nats_server)
        assert process.returncode is None, "what was held goes on"
    finally:
        process.kill()
        await process.wait()


async def test_two_processes_at_once_killed_in_turn_lose_and_double_nothing(
    facts: Facts, nats_server: NatsServer, work: Work
) -> None:
    client = await nats_server.connect()
    processes = [await relay_process(facts, nats_server) for _ in range(2)]
    try:
        for turn in range(4):
            await write(facts, 60, f"turn-{turn}")
            expected = 60 * (turn + 1)

            async def copied(expected: int = expected) -> bool:
                try:
                    return (await stream_info(client)).state.last_seq > expected - 30
                except Exception:  # noqa: BLE001  (there is no stream before the first relay has made one)
                    return False

            await eventually(copied, 60)
            processes[turn % 2].kill()
            await processes[turn % 2].wait()
            processes[turn % 2] = await relay_process(facts, nats_server)
        relay, _ = await start(facts, nats_server, work)
        await caught_up(relay, await facts.log("ledger"))
    finally:
        for process in processes:
            process.kill()
            await process.wait()
    await client.close()
    await check_copy(facts, nats_server)
