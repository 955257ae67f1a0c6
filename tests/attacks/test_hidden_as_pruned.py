"""Somebody with every right in the database takes events away, as if they had been archived and had left the log.

What may be missing was signed when it was archived, with a key that is not in the database. So nothing that the
database says makes more of it, and a verification finds what is missing beyond that.
"""

import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.cli import evidence as cli
from services.cli.archives import archived_event
from services.cli.connection import Connection
from services.ledger.events import PartitionArchived
from shared.errors import Refusal
from shared.evidence.checkpoints import Signer
from shared.evidence.stagedoor_verify import Archive, Wrong, check, check_proof
from shared.keys import MasterKey
from tests.integration.ledger.serving import SIGNER
from tests.support.archiving import Archived, archived
from tests.support.auditing import Auditor, attack
from tests.support.parties import Parties
from tests.support.parties import parties as parties  # noqa: PLC0414  (a fixture, as are the others)
from tests.support.postgres import Database
from tests.support.postgres import database as database  # noqa: PLC0414
from tests.support.postgres import databases as databases  # noqa: PLC0414

KEY = SIGNER.key(1)
LASTING = 25
"""A lasting event in a stretch of which events have left the log."""
PRESENT = 41
"""An expiring event that was never archived."""


@pytest.fixture
async def log(database: Database, parties: Parties, tmp_path: Path) -> AsyncIterator[Archived]:
    """Two partitions have left it."""
    async with archived(database, parties, tmp_path) as running:
        await running.take()
        yield running


@pytest.fixture
def auditor(log: Archived, parties: Parties, tmp_path: Path) -> Auditor:
    return Auditor(tmp_path, log.ledger.address, parties)


async def test_what_was_archived_is_not_missed(log: Archived, auditor: Auditor) -> None:
    verification, wrong = await auditor.verify()
    assert wrong is None
    assert verification.pruned == len([position for position in log.expiring if position <= 39])
    assert await auditor.first_wrong(archives=log.files()) is None


DELETED = "DELETE FROM log.events WHERE position = {}"
PRUNED = "INSERT INTO log.pruned SELECT {}, {}, {}, record, pruned_at FROM log.pruned LIMIT 1"


ATTACKS = {
    "a lasting event": ([DELETED.format(LASTING)], "between 20 and 39: what is missing there is not what was archived"),
    "a lasting event, counted": (
        [DELETED.format(LASTING), "UPDATE log.pruned SET events = events + 1 WHERE first = 20"],
        "between 20 and 39: what is missing there is not what was archived",
    ),
    "one that was not archived": ([DELETED.format(PRESENT)], f"position {PRESENT}: the event is missing"),
    "one that is said to have left": (
        [DELETED.format(PRESENT), PRUNED.format(43, 40, 1)],
        "it does not say what was archived of 40 to 43",
    ),
    "a longer stretch": (
        [DELETED.format(PRESENT), "UPDATE log.pruned SET last = 43 WHERE first = 20"],
        f"position {PRESENT}: the event is missing",
    ),
    "nothing is said of it": (["DELETE FROM log.pruned WHERE first = 20"], "position 20: the event is missing"),
    "the event that says it": ([DELETED.format(51)], "position 51: it does not say what was archived of 1 to 19"),
}


async def test_nothing_else_can_be_missing(log: Archived, auditor: Auditor) -> None:
    for name, (statements, says) in ATTACKS.items():
        for table in ("events", "pruned"):
            await log.facts.execute(f"CREATE TABLE public.{table} AS SELECT * FROM log.{table}")  # noqa: S608
        await attack(log.facts, statements)
        wrong = await auditor.first_wrong()
        assert says in str(wrong), name
        for table in ("events", "pruned"):
            await log.facts.execute(
                f"INSERT INTO log.{table} SELECT * FROM public.{table} ON CONFLICT DO NOTHING;"  # noqa: S608
                f" DROP TABLE public.{table}"
            )
        await log.facts.execute("DELETE FROM log.pruned WHERE last NOT IN (19, 39)")
        assert await auditor.first_wrong() is None, name


async def test_with_the_archive_it_is_named(log: Archived, auditor: Auditor) -> None:
    await attack(log.facts, [DELETED.format(LASTING)])
    wrong = await auditor.first_wrong(archives=log.files())
    assert wrong is not None
    assert wrong.position == LASTING


async def test_what_says_that_it_was_archived_cannot_be_forged(log: Archived, auditor: Auditor) -> None:
    """An event that the attacker appends is in the tree, and signed with it; the note in it is signed by nobody."""
    thief = Signer(MasterKey(b"t" * 32), "https://id.example/id")
    archive = Archive("id.example/id/log/1", 40, 41, 1, bytes(32), 256, (bytes(32),))
    event = PartitionArchived(first=40, last=41, events=1, content_digest="", note=thief.sign(archive, 1))
    said = await log.facts.write("archive-40", event)
    await log.ledger.evidence.catch_up()
    moved = f"UPDATE log.pruned SET record = {said.position} WHERE last = 41"  # noqa: S608
    await attack(log.facts, [DELETED.format(PRESENT), PRUNED.format(41, 40, 1), moved])
    wrong = await auditor.first_wrong(key=str(KEY))
    assert wrong is not None
    assert "the key has not signed it" in str(wrong)


async def test_an_archive_cannot_be_changed(log: Archived, auditor: Auditor, tmp_path: Path) -> None:
    (path, other) = log.files()
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)

    def written(*some: bytes) -> Path:
        changed = tmp_path / "changed.jsonl.gz"
        changed.write_bytes(gzip.compress(b"".join(some)))
        return changed

    check(written(*lines), KEY)
    without = [line for number, line in enumerate(lines) if number != 3]
    forged = json.loads(lines[2]) | {"actor": "user:somebody"}
    for changed, says in (
        (without, "the event is missing; in its place"),
        ([*lines[:2], json.dumps(forged).encode() + b"\n", *lines[3:]], "not the event that was there"),
        ([lines[0], lines[0], *lines[1:]], "the event is missing"),
        (lines[:-1], "does not end with what was signed"),
        ([*lines, lines[1]], "does not end with what was signed"),
        ([lines[0][:-1] + b" \n", *lines[1:]], "not what was archived"),
        ([*lines[:-1], gzip.decompress(other.read_bytes()).splitlines(keepends=True)[-1]], "not what was archived"),
    ):
        with pytest.raises(Wrong, match=says):
            check(written(*changed), KEY)
        wrong = await auditor.first_wrong(archives=[written(*changed)])
        assert wrong is not None
        assert says in str(wrong)
    torn = tmp_path / "torn.jsonl.gz"
    torn.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(Wrong, match="the file is not whole"):
        check(torn, KEY)


async def proof(auditor: Auditor, position: int, archive: Path | None = None) -> dict[str, object]:
    """As `stagedoor audit prove` makes one."""
    async with Connection(auditor.path) as services:
        last = await cli.last_checkpoint(services, str(KEY))
        return await cli.proof_of(services, last, position, archive)


async def test_what_has_left_the_log_is_proven_to_have_been_in_it(log: Archived, auditor: Auditor) -> None:
    bare = await proof(auditor, 21)
    assert "position 21 has the hash" in check_proof(bare, KEY)
    whole = await proof(auditor, 21, log.files()[1])
    assert "position 21 is token_issuer.AccessTokenIssued" in check_proof(whole, KEY)
    with pytest.raises(Refusal, match="does not have the event of position 21"):
        await proof(auditor, 21, log.files()[0])
    (pruned,) = (value for value in bare.values() if isinstance(value, dict))
    for changed, says in (
        ({"leaf": "00" * 32}, "not the hash that was there"),
        ({"position": 20}, "not the hash that was there"),
        ({"position": 41}, "nothing of that position was archived"),
    ):
        with pytest.raises(Wrong, match=says):
            check_proof(bare | {"pruned": pruned | changed}, KEY)
    assert archived_event(log.files()[1], KEY, 21)["position"] == 21


async def test_an_export_of_a_log_with_gaps_is_checked_offline(log: Archived, auditor: Auditor, tmp_path: Path) -> None:
    async def exported(name: str) -> Path:
        path = tmp_path / name
        async with Connection(auditor.path) as services:
            await cli.write_export(services, await cli.last_checkpoint(services, str(KEY)), 1, None, path)
        return path

    assert "positions 1 to 5" in check(await exported("right"), KEY)
    await attack(log.facts, [DELETED.format(LASTING)])
    with pytest.raises(Wrong, match="between 20 and 39"):
        check(await exported("wrong"), KEY)


async def test_readers_are_told_what_is_missing(log: Archived) -> None:
    told = [
        (answer.pruned.first, answer.pruned.last, answer.pruned.events)
        async for answer in log.ledger.follow(after=0, until=45)
        if answer.WhichOneof("message") == "pruned"
    ]
    counts = [len([p for p in log.expiring if low <= p <= high]) for low, high in ((1, 19), (20, 39))]
    assert told == [(1, 19, counts[0]), (20, 39, counts[1])]
    events, complete_to = await log.ledger.read(after=0, until=45, filter={"types": ["registry.SecretRevoked"]})
    assert (len(events), complete_to) == (15, 45)
    assert not [one async for one in log.ledger.follow(after=39) if one.WhichOneof("message") == "pruned"]
