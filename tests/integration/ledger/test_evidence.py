"""How the tree is kept: with the log, across restarts, and not past something that is wrong."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from protos.stagedoor.ledger.v1 import ledger_pb2 as pb
from services.ledger import proving
from services.ledger.events import Question
from shared.clock import system_clock
from shared.errors import Refusal
from shared.evidence import stagedoor_verify as verify
from shared.evidence.keeping import Evidence
from shared.evidence.stagedoor_verify import HASH, Checkpoint, Wrong
from shared.evidence.tiles import Diverged
from tests.integration.ledger.serving import SIGNER, Serving
from tests.support.auditing import Auditor, write_facts
from tests.support.facts import Facts
from tests.support.parties import Parties
from tests.support.work import Work, eventually

AUDITOR = (("authorization", "Bearer auditor"),)
KEY = SIGNER.key(1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


async def another(facts: Facts, folder: Path) -> Evidence:
    """As another leader, or the same one after a restart."""
    return Evidence(await facts.log("ledger"), folder, SIGNER, 0.05, system_clock)


async def leaves(facts: Facts, number: int) -> bytes:
    return b"".join(row.leaf_hash for row in await (await facts.log("ledger")).read_rows(0, limit=number))


def last(evidence: Evidence) -> Checkpoint:
    found = evidence.current()
    assert found is not None
    return Checkpoint.open(found[1], KEY)


async def test_a_checkpoint_is_of_the_log_and_a_restart_goes_on(facts: Facts, folder: Path) -> None:
    evidence = await another(facts, folder)
    await evidence.catch_up()
    assert evidence.current() is None, "there is nothing to sign yet"
    kept = []
    for number in (1, 3, 300, 7):
        await write_facts(facts, number, f"app{number}")
        await evidence.catch_up()
        found = last(evidence)
        kept.append(found)
        assert (found.origin, found.size) == ("id.example/id/log/1", sum((1, 3, 300, 7)[: len(kept)]))
        assert found.root == verify.root_of(await leaves(facts, found.size))
        evidence = await another(facts, folder)
        await evidence.catch_up()
        assert last(evidence) == found, "nothing new, nothing signed"
    (branch,) = evidence.branches()
    assert [Checkpoint.open(note, KEY) for note in branch.kept()] == kept
    assert (folder / "1" / "checkpoint").read_text() == list(branch.kept())[-1]


async def test_one_checkpoint_of_each_minute_is_kept_and_of_days_before_the_last(facts: Facts, folder: Path) -> None:
    now = datetime(2026, 7, 12, 23, 57, 30, tzinfo=UTC)
    evidence = Evidence(await facts.log("ledger"), folder, SIGNER, 0.05, lambda: now)
    seen: dict[int, list[int]] = {}
    for number in range(1, 11):
        await write_facts(facts, 1, f"app{number}")
        await evidence.catch_up()
        (branch,) = evidence.branches()
        seen[number] = [Checkpoint.open(note, KEY).size for note in branch.kept()]
        now += timedelta(seconds=25)
    assert (seen[2], seen[4]) == ([1, 2], [1, 4])
    assert seen[7] == [4, 7], "the next day has begun"
    assert seen[10] == [4, 7, 10]


async def test_what_a_crash_left_behind_is_written_again(facts: Facts, folder: Path) -> None:
    evidence = await another(facts, folder)
    await write_facts(facts, 20)
    await evidence.catch_up()
    await write_facts(facts, 20, "more")
    branch, _, _ = evidence.current() or pytest.fail("no checkpoint")
    branch.tiles.grow(20, (await leaves(facts, 40))[20 * HASH :])
    (day,) = (folder / "1" / "checkpoints").iterdir()
    with day.open("a") as file:
        file.write('{"at":"half a li')
    evidence = await another(facts, folder)
    await evidence.catch_up()
    assert last(evidence).size == 40
    assert [Checkpoint.open(note, KEY).size for note in branch.kept()] == [20, 40]


async def test_what_was_lost_before_it_was_signed_is_written_over(facts: Facts, folder: Path) -> None:
    """A crash left tiles of events that no checkpoint speaks of, and then a back-up was restored that lacks them."""
    facts.database.spoiled = True
    await write_facts(facts, 250)
    await (await another(facts, folder)).catch_up()
    await write_facts(facts, 20, "lost")
    (branch,) = (await another(facts, folder)).branches()
    branch.tiles.grow(250, (await leaves(facts, 270))[250 * HASH :])
    await facts.execute(
        "DELETE FROM log.events WHERE position > 252; UPDATE log.head SET position = 252, server_started_at = null;"
        "UPDATE log.epochs SET timeline = timeline + 1; DELETE FROM log.streams"
    )
    await write_facts(facts, 30, "other")
    evidence = await another(facts, folder)
    await evidence.catch_up()
    found = last(evidence)
    assert (found.size, found.root) == (282, verify.root_of(await leaves(facts, 282)))
    assert evidence.branches()[0].tiles.leaves(0, 282) == await leaves(facts, 282)


async def test_two_leaders_at_once_make_one_tree(facts: Facts, folder: Path) -> None:
    """One may have been paused and go on."""
    paused, other = await another(facts, folder), await another(facts, folder)
    await write_facts(facts, 5)
    await paused.catch_up()
    for number in range(6):
        await write_facts(facts, 50, f"app{number}")
        await asyncio.gather(paused.catch_up(), other.catch_up())
    assert last(paused) == last(other)
    sizes = [Checkpoint.open(note, KEY).size for note in paused.branches()[0].kept()]
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == 305


Attack = Callable[[Facts, Path], Awaitable[None]]


async def _tail_cut_off(facts: Facts, folder: Path) -> None:
    await facts.execute("DELETE FROM log.events WHERE position > 15; UPDATE log.head SET position = 15")


async def _last_event_changed(facts: Facts, folder: Path) -> None:
    await facts.execute("UPDATE log.events SET leaf_hash = sha256(leaf_hash) WHERE position = 18")


async def _hole_behind(facts: Facts, folder: Path) -> None:
    await write_facts(facts, 10, "more")
    await facts.execute("DELETE FROM log.events WHERE position = 24")


async def _tile_changed(facts: Facts, folder: Path) -> None:
    (tile,) = (folder / "1" / "tile" / "0" / "000.p").iterdir()
    tile.write_bytes(bytes(20 * HASH))


async def _foreign_checkpoint(facts: Facts, folder: Path) -> None:
    path = folder / "1" / "checkpoint"
    path.write_text(path.read_text().replace("\n20\n", "\n19\n"))


@pytest.mark.parametrize(
    ("attack", "says"),
    [
        (_tail_cut_off, "position 16"),
        (_last_event_changed, "position 18"),
        (_hole_behind, "position 24"),
        (_tile_changed, "not that of the last checkpoint"),
        (_foreign_checkpoint, "not that of the key"),
    ],
)
async def test_nothing_is_signed_past_what_is_wrong(facts: Facts, folder: Path, attack: Attack, says: str) -> None:
    facts.database.spoiled = True
    await write_facts(facts, 20)
    await (await another(facts, folder)).catch_up()
    await attack(facts, folder)
    before = (folder / "1" / "checkpoint").read_text()
    evidence = await another(facts, folder)
    with pytest.raises((Wrong, Diverged), match=says):
        await evidence.catch_up()
    assert (folder / "1" / "checkpoint").read_text() == before


async def test_the_alarm_is_told_and_ends_when_the_log_is_right_again(ledger: Serving, work: Work) -> None:
    ledger.facts.database.spoiled = True
    await write_facts(ledger.facts, 10)
    work.start(ledger.evidence.keep())

    async def said() -> pb.GetCheckpointResponse:
        answer: pb.GetCheckpointResponse = await ledger.stub.GetCheckpoint(
            pb.GetCheckpointRequest(), metadata=AUDITOR, timeout=20
        )
        return answer

    await eventually(lambda: ledger.evidence.current() is not None)
    assert (await said()).alarm == ""
    await ledger.facts.execute("UPDATE log.head SET position = 9")
    await eventually(lambda: ledger.evidence.alarm != "")
    assert "had 10 events" in (await said()).alarm
    await ledger.facts.execute("UPDATE log.head SET position = 10")
    await eventually(lambda: ledger.evidence.alarm == "")


async def test_a_lost_tail_makes_another_branch_and_the_lost_one_stays(facts: Facts, folder: Path) -> None:
    """What a restored back-up lacks is known as soon as the log has begun another epoch."""
    facts.database.spoiled = True
    evidence = await another(facts, folder)
    await write_facts(facts, 20)
    await evidence.catch_up()
    await facts.execute(
        "DELETE FROM log.events WHERE position > 15; UPDATE log.head SET position = 15, server_started_at = null;"
        "UPDATE log.epochs SET timeline = timeline + 1; DELETE FROM log.streams"
    )
    with pytest.raises(Wrong, match="position 16"):
        await evidence.catch_up()
    await write_facts(facts, 10, "other")
    note, second = "", await newest_epoch(facts)
    for keeper in (evidence, await another(facts, folder)):
        await keeper.catch_up()
        branch, note, checkpoint = keeper.current() or pytest.fail("no checkpoint")
        assert (branch.number, checkpoint.origin, checkpoint.size) == (second, f"id.example/id/log/{second}", 25)
        assert checkpoint.root == verify.root_of(await leaves(facts, 25))
    with pytest.raises(Wrong):
        Checkpoint.open(note, KEY)
    lost, _ = evidence.branches()
    assert [Checkpoint.open(kept, KEY).size for kept in lost.kept()] == [20]


async def test_an_auditor_is_told_of_a_lost_branch(ledger: Serving, parties: Parties, tmp_path: Path) -> None:
    """By its name, until they know the new one; and of what is lost, for ever."""
    facts, auditor = ledger.facts, Auditor(tmp_path, ledger.address, parties)
    facts.database.spoiled = True
    for number in (10, 10):
        await write_facts(facts, number, f"app{number}")
        await ledger.evidence.catch_up()
    kept = await auditor.keep(tmp_path / "kept")
    await facts.execute(
        "DELETE FROM log.events WHERE position > 15; UPDATE log.head SET position = 15, server_started_at = null;"
        "UPDATE log.epochs SET timeline = timeline + 1; DELETE FROM log.streams"
    )
    await write_facts(facts, 10, "other")
    await ledger.evidence.catch_up()
    with pytest.raises(Refusal, match="another name or key"):
        await auditor.verify(key=str(KEY))
    second = await newest_epoch(facts)
    verification, wrong = await auditor.verify(key=str(SIGNER.key(second)))
    assert (wrong, verification.lost, verification.compared) == (None, (11, 20), 2)
    with pytest.raises(Wrong):
        await auditor.verify(kept, key=str(SIGNER.key(second)))


async def newest_epoch(facts: Facts) -> int:
    async with facts.database.connection() as connection:
        epoch: int = await connection.fetchval("SELECT max(epoch) FROM log.epochs")
    assert epoch > 1
    return epoch


async def test_an_epoch_that_lost_nothing_changes_nothing(facts: Facts, folder: Path) -> None:
    evidence = await another(facts, folder)
    for _ in range(2):
        await write_facts(facts, 20, "app")
        await evidence.catch_up()
        await facts.execute(
            "UPDATE log.epochs SET timeline = timeline + 1; UPDATE log.head SET server_started_at = null"
        )
    await write_facts(facts, 1, "app")
    for keeper in (evidence, await another(facts, folder)):
        await keeper.catch_up()
        assert [branch.number for branch in keeper.branches()] == [1]
    assert last(evidence).size == 41


# Over gRPC


@pytest.fixture
async def grown(ledger: Serving) -> Serving:
    """With checkpoints of 20 and of 300 events, and one event more."""
    for number in (20, 280):
        await write_facts(ledger.facts, number, f"app{number}")
        await ledger.evidence.catch_up()
    await write_facts(ledger.facts, 1, "newer")
    return ledger


async def questions(ledger: Serving) -> list[str]:
    async with ledger.facts.database.connection() as connection:
        rows = await connection.fetch("SELECT data::json ->> 'question' AS q FROM log.events WHERE source = 'ledger'")
    return [row["q"] for row in rows]


async def test_proofs_are_right_and_each_is_one_fact(grown: Serving) -> None:
    stated = await grown.stub.GetCheckpoint(pb.GetCheckpointRequest(), metadata=AUDITOR)
    checkpoint = Checkpoint.open(stated.checkpoint, KEY)
    assert (stated.size, stated.root, stated.key) == (300, checkpoint.root, str(KEY))
    everything = await leaves(grown.facts, 300)
    for position, size in ((1, 0), (300, 300), (20, 20), (256, 299)):
        request = pb.ProveInclusionRequest(position=position, size=size)
        proof = await grown.stub.ProveInclusion(request, metadata=AUDITOR)
        assert proof.leaf_hash == everything[(position - 1) * HASH : position * HASH]
        root = verify.root_of(everything[: proof.size * HASH])
        assert verify.root_from_inclusion(position - 1, proof.size, proof.leaf_hash, list(proof.hashes)) == root
    for earlier in (0, 20, 256, 300):
        asked = pb.ProveConsistencyRequest(**{"from": earlier})
        growth = await grown.stub.ProveConsistency(asked, metadata=AUDITOR)
        roots = verify.root_of(everything[: earlier * HASH]), checkpoint.root
        verify.check_consistency(earlier, growth.to, roots, list(growth.hashes))
    assert await questions(grown) == [Question.PROOF_OF_INCLUSION] * 4 + [Question.PROOF_OF_CONSISTENCY] * 4


def answer(call: Any) -> Awaitable[Any]:
    """The answer of a call, or the first of several."""
    return anext(aiter(call)) if hasattr(call, "__aiter__") else call


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("ProveInclusion", pb.ProveInclusionRequest()),
        ("ProveInclusion", pb.ProveInclusionRequest(position=-1)),
        ("ProveInclusion", pb.ProveInclusionRequest(position=301)),
        ("ProveInclusion", pb.ProveInclusionRequest(position=21, size=20)),
        ("ProveInclusion", pb.ProveInclusionRequest(position=1, size=301)),
        ("ProveInclusion", pb.ProveInclusionRequest(position=1, size=-1)),
        ("ProveConsistency", pb.ProveConsistencyRequest(**{"from": 21, "to": 20})),
        ("ProveConsistency", pb.ProveConsistencyRequest(**{"from": -1})),
        ("ReadEvidence", pb.ReadEvidenceRequest(after=301)),
        ("ReadEvidence", pb.ReadEvidenceRequest(until=301)),
    ],
)
async def test_what_the_tree_does_not_have_is_refused(grown: Serving, method: str, request_: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await answer(getattr(grown.stub, method)(request_, metadata=AUDITOR))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert await questions(grown) == []


@pytest.mark.parametrize(
    ("what", "most"), [("services.ledger.proving._STRETCH", 90), ("shared.log.pages.PAGE_BYTES", 3_000)]
)
async def test_evidence_comes_in_stretches_without_a_gap(
    grown: Serving, monkeypatch: pytest.MonkeyPatch, what: str, most: int
) -> None:
    hashes = await leaves(grown.facts, 300)
    monkeypatch.setattr(what, most)
    monkeypatch.setattr(proving, "_LARGEST", 10_000)
    request = pb.ReadEvidenceRequest(after=3)
    pages = [page async for page in grown.stub.ReadEvidence(request, metadata=AUDITOR)]
    assert len(pages) > 4
    assert [page.after for page in pages] == [3, *(page.until for page in pages[:-1])]
    assert pages[-1].until == 300
    assert b"".join(page.tree for page in pages) == hashes[3 * HASH :]
    assert sum(len(page.leaves) for page in pages) == 297
    assert await questions(grown) == [Question.EVIDENCE]


async def test_only_auditors_and_administrators_ask(grown: Serving) -> None:
    for method in ("GetCheckpoint", "ProveInclusion", "ProveConsistency"):
        request = getattr(pb, f"{method}Request")()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await getattr(grown.stub, method)(request, metadata=(("authorization", "Bearer freddie"),))
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
