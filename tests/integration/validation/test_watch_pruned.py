"""A watch over gRPC that begins behind what was pruned gets a snapshot before anything else."""

import asyncio
from datetime import UTC, datetime, timedelta

from services.identity import events as identity
from services.registry import events as registry
from stagedoor.validation.v1 import validation_pb2 as pb
from tests.integration.validation.serving import Serving


async def first_words(validation: Serving, after: int) -> list[str]:
    """What comes up to the first heartbeat, for a watcher that has everything up to a number."""
    words = []
    async with validation.connected() as stub, asyncio.timeout(10):
        async for message in stub.WatchDenials(pb.WatchDenialsRequest(after_number=after, epoch=1), timeout=30):
            match message.WhichOneof("message"):
                case "snapshot":
                    words.append(f"snapshot {[denial.number for denial in message.snapshot.denials]}")
                case "denial":
                    words.append(f"denial {message.denial.number}")
                case "heartbeat":
                    return [*words, f"heartbeat {message.heartbeat.number}"]
    raise AssertionError("the stream ended")


async def test_a_gap_is_never_shown_as_if_it_were_none(validation: Serving) -> None:
    facts = validation.facts
    await facts.write("application-a", registry.ApplicationUninstalled(client_id="a"))
    over = datetime.now(UTC) - timedelta(hours=1)
    reason = identity.SessionEndReason.SIGNED_OUT
    ended = identity.SessionEnded(sub="freddie", sid="sid", reason=reason, tokens_end_at=over)
    await facts.write("session-sid", ended)
    await facts.write("application-b", registry.ApplicationUninstalled(client_id="b"))
    assert await first_words(validation, 1) == ["denial 2", "denial 3", "heartbeat 3"]
    await facts.execute("UPDATE log.denials SET recorded_at = recorded_at - interval '25 hours'")
    ledger = await facts.log("ledger")
    assert (await ledger.pool.fetchrow("SELECT * FROM log.care()"))["denials_pruned"] == 1
    assert await first_words(validation, 1) == ["snapshot [1, 3]", "heartbeat 3"]
    assert await first_words(validation, 2) == ["denial 3", "heartbeat 3"]
    assert await first_words(validation, 3) == ["heartbeat 3"]
