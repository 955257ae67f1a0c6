"""The relay: every position is in the stream once, in order, whatever is stopped wherever."""

import asyncio
import os
import random
import signal
from collections.abc import Sequence

import msgspec
import pytest
from nats.js.errors import NotFoundError

from services.registry import events as registry
from shared.messaging.access import STREAM
from shared.relay import Relay
from tests.support.facts import Facts
from tests.support.nats import NatsServer, stream_info
from tests.support.relaying import caught_up, check_copy, relay_process, rows, start, write
from tests.support.work import Work, eventually


async def test_a_message_says_all_that_is_known_of_its_event(facts: Facts, nats_server: NatsServer, work: Work) -> None:
    relay, _ = await start(facts, nats_server, work)
    await facts.write("application-x", registry.ApplicationDisabled(client_id="x", reason="it misbehaves"))
    await caught_up(relay, await facts.log("ledger"))
    (message,) = await check_copy(facts, nats_server)
    (row,) = await rows(facts)
    headers = message.headers or {}
    assert headers["ce-specversion"] == "1.0"
    assert headers["Nats-Msg-Id"] == "1"
    assert headers["ce-type"] == "registry.ApplicationDisabled"
    assert headers["ce-source"] == "/stagedoor/registry"
    assert headers["ce-subject"] == "application-x"
    assert headers["ce-time"] == row.recorded_at.isoformat()
    assert headers["correlation-id"] == row.correlation_id
    assert headers["content-type"] == "application/json"
    assert msgspec.json.decode(message.data or b"") == {
        "position": 1,
        "epoch": row.epoch,
        "stream": "application-x",
        "version": 1,
        "type": "registry.ApplicationDisabled",
        "data": {"client_id": "x", "reason": "it misbehaves"},
        "actor": "service:registry",
        "command_id": str(row.command_id),
        "correlation_id": row.correlation_id,
        "causation_id": None,
        "recorded_at": row.recorded_at.isoformat().replace("+00:00", "Z"),
    }
    assert row.data.encode() in (message.data or b""), "the data stands there exactly as it was hashed"


async def test_what_is_appended_while_it_runs_follows(facts: Facts, nats_server: NatsServer, work: Work) -> None:
    await write(facts, 5)
    relay, _ = await start(facts, nats_server, work)
    await caught_up(relay, await facts.log("ledger"))
    await write(facts, 40, "two")
    await caught_up(relay, await facts.log("ledger"))
    await check_copy(facts, nats_server)


async def test_cancelled_at_random_points_it_loses_and_doubles_nothing(
    facts: Facts, nats_server: NatsServer, work: Work
) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    dice = random.Random(seed)
    for round_ in range(12):
        await write(facts, 25, f"round-{round_}")
        _, task = await start(facts, nats_server, work)
        await asyncio.wait((task,), timeout=dice.uniform(0.0, 0.06))
        await work.stop(task)
    relay, _ = await start(facts, nats_server, work)
    await caught_up(relay, await facts.log("ledger"))
    await check_copy(facts, nats_server)


async def test_killed_as_a_process_it_loses_and_doubles_nothing(
    facts: Facts, nats_server: NatsServer, work: Work
) -> None:
    await write(facts, 300)
    client = await nats_server.connect()

    async def relayed() -> int:
        try:
            return (await stream_info(client)).state.last_seq
        except Exception:  # noqa: BLE001  (there is no stream before the first relay has made one)
            return 0

    dice = random.Random(7)
    for round_ in range(3):
        before = await relayed()
        process = await relay_process(facts, nats_server)

        async def moved(than: int = before) -> bool:
            return await relayed() > than

        writing = work.start(write(facts, 60, f"round-{round_}"))
        await eventually(moved, 30)
        await asyncio.wait((writing,), timeout=dice.uniform(0.0, 0.05))
        os.kill(process.pid, signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL
        await writing
    await client.close()
    relay, _ = await start(facts, nats_server, work)
    await caught_up(relay, await facts.log("ledger"))
    await check_copy(facts, nats_server)


async def test_nats_killed_and_started_again_in_the_middle(facts: Facts, nats_server: NatsServer, work: Work) -> None:
    relay, _ = await start(facts, nats_server, work)
    writing = work.start(write(facts, 200))
    await eventually(lambda: (relay.position or 0) > 20)
    await nats_server.kill()
    await eventually(lambda: relay.position is None)
    await writing
    await nats_server.start()
    await caught_up(relay, await facts.log("ledger"))
    await check_copy(facts, nats_server)


async def test_two_at_once_lose_and_double_nothing(facts: Facts, nats_server: NatsServer, work: Work) -> None:
    relays: Sequence[Relay] = [(await start(facts, nats_server, work))[0] for _ in range(2)]
    await write(facts, 200)
    for relay in relays:
        await caught_up(relay, await facts.log("ledger"))
    await check_copy(facts, nats_server)


@pytest.mark.parametrize("idle", [True, False])
async def test_a_stream_with_a_message_of_somebody_else_is_made_anew(
    facts: Facts, nats_server: NatsServer, work: Work, *, idle: bool
) -> None:
    await write(facts, 10)
    relay, _ = await start(facts, nats_server, work)
    log = await facts.log("ledger")
    await caught_up(relay, log)
    client = await nats_server.connect()
    await client.jetstream().publish("stagedoor.events.registry.SecretRevoked", b"{}")
    if not idle:
        await write(facts, 5, "two")

    async def mended() -> bool:
        try:
            info = await stream_info(client)
        except NotFoundError:  # between its end and its new beginning
            return False
        return info.state.messages == (await log.head()).position

    await eventually(mended, 30)
    await caught_up(relay, log)
    await client.close()
    await check_copy(facts, nats_server)


async def test_a_message_that_pretends_to_be_the_next_event_is_found_out(
    facts: Facts, nats_server: NatsServer, work: Work
) -> None:
    await write(facts, 10)
    relay, task = await start(facts, nats_server, work)
    await caught_up(relay, await facts.log("ledger"))
    await work.stop(task)
    client = await nats_server.connect()
    headers = {"Nats-Msg-Id": "11", "stagedoor-position": "11"}
    await client.jetstream().publish("stagedoor.events.registry.SecretRevoked", b"{}", headers=headers)
    await client.close()
    await write(facts, 1, "two")
    again, _ = await start(facts, nats_server, work)
    await caught_up(again, await facts.log("ledger"))
    await check_copy(facts, nats_server)


async def test_a_stream_with_a_gap_is_made_anew(facts: Facts, nats_server: NatsServer, work: Work) -> None:
    await write(facts, 10)
    relay, task = await start(facts, nats_server, work)
    await caught_up(relay, await facts.log("ledger"))
    await work.stop(task)
    client = await nats_server.connect()
    await client.jetstream().purge_stream(STREAM, seq=4)
    assert (await stream_info(client)).state.messages == 7
    await client.close()
    again, _ = await start(facts, nats_server, work)
    await caught_up(again, await facts.log("ledger"))
    await check_copy(facts, nats_server)


async def test_a_stream_that_was_deleted_is_made_anew(facts: Facts, nats_server: NatsServer, work: Work) -> None:
    await write(facts, 10)
    relay, _ = await start(facts, nats_server, work)
    log = await facts.log("ledger")
    await caught_up(relay, log)
    client = await nats_server.connect()
    await client.jetstream().delete_stream(STREAM)
    await client.close()
    await write(facts, 3, "two")
    await eventually(lambda: relay.position == 13, 30)
    await check_copy(facts, nats_server)


async def test_after_a_restored_backup_the_lost_branch_leaves_the_stream(
    facts: Facts, nats_server: NatsServer, work: Work
) -> None:
    await write(facts, 5)
    living = await facts.branch()
    await write(facts, 4, "lost")
    relay, task = await start(facts, nats_server, work)
    await caught_up(relay, await facts.log("ledger"))
    await work.stop(task)

    again, _ = await start(living, nats_server, work)
    await eventually(lambda: again.position == 5, 30)
    await write(living, 6, "living")
    await caught_up(again, await living.log("ledger"))
    await check_copy(living, nats_server)
    await living.database.close()
