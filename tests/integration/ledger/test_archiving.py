"""Expiring events leave the log only as an archive of them is on the disk, in the log and under a checkpoint."""

import gzip
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import asyncpg
import pytest
from prometheus_client import REGISTRY
from pydantic import ValidationError

from services.ledger.archiving import Archiving, NotYet
from services.ledger.events import PartitionArchived
from services.ledger.settings import SHORTEST_RETENTION, LedgerSettings
from services.registry.domain.trust import REFRESH_TOKEN_SECONDS
from services.token_issuer.pruning import KEPT
from shared.clock import system_clock
from shared.denials import LONGEST_ACCESS_TOKEN
from shared.evidence.archive import Draft
from shared.evidence.keeping import Evidence
from shared.evidence.stagedoor_verify import ArchiveFile, Wrong, check
from shared.log.event import Stamp
from tests.integration.ledger.serving import SIGNER
from tests.support.archiving import FULL, OLD, RETENTION, Archived, age, archived, issued
from tests.support.auditing import HASHED_ANEW
from tests.support.parties import Parties
from tests.support.parties import parties as parties  # noqa: PLC0414  (a fixture, as are the others)
from tests.support.postgres import Database
from tests.support.postgres import database as database  # noqa: PLC0414
from tests.support.postgres import databases as databases  # noqa: PLC0414
from tests.support.work import Work, eventually

KEY = SIGNER.key(1)


@pytest.fixture
async def log(database: Database, parties: Parties, tmp_path: Path) -> AsyncIterator[Archived]:
    async with archived(database, parties, tmp_path) as running:
        yield running


async def records(log: Archived) -> list[tuple[int, PartitionArchived]]:
    found = await (await log.facts.log("ledger")).read(0, sources=("ledger",))
    return [
        (one.position, one.event)
        for one in found
        if isinstance(one.event, PartitionArchived) and not isinstance(one.position, Stamp)
    ]


def events_in(path: Path) -> list[int]:
    with gzip.open(path) as file:
        lines = [json.loads(line) for line in file]
    return [line["position"] for line in lines if "type" in line]


async def test_full_old_partitions_leave_the_log_and_are_in_archives(log: Archived) -> None:
    before = await log.positions()
    await log.take()
    gone = [position for position in log.expiring if position <= 39]
    assert await log.positions() == [*(one for one in before if one not in gone), 51, 52]
    assert [path.name for path in log.files()] == ["1-19.jsonl.gz", "20-39.jsonl.gz"]
    assert [position for path in log.files() for position in events_in(path)] == gone
    said = await records(log)
    assert [(event.first, event.last) for _, event in said] == FULL
    for path, (_, event) in zip(log.files(), said, strict=True):
        assert "are those of id.example/id/log/1" in check(path, KEY)
        content = gzip.decompress(path.read_bytes()).rpartition(b"\n{")[0] + b"\n"
        assert sha256(content).hexdigest() == event.content_digest
        assert event.events == len(events_in(path))
        assert path.with_name(f"{event.first}-{event.last}.note").read_text() == event.note


async def test_nothing_is_done_twice(log: Archived) -> None:
    await log.take()
    files = {path: path.read_bytes() for path in log.files()}
    await log.take()
    assert {path: path.read_bytes() for path in log.files()} == files
    assert len(await records(log)) == 2


async def test_young_events_stay(log: Archived) -> None:
    await (await log.archiving(OLD + timedelta(days=1))).take()
    assert log.files() == []
    assert len(await log.positions()) == 50


class Killed(BaseException):
    """The process ends here."""


def killing(of: type, step: str, *, before: bool) -> Callable[[pytest.MonkeyPatch], None]:
    """The first time that a step is taken nothing follows on it, or not even the step."""

    def install(patch: pytest.MonkeyPatch) -> None:
        original = getattr(of, step)

        async def ending(*arguments: object, **named: object) -> object:
            if not before:
                await original(*arguments, **named)
            raise Killed

        def ending_now(*arguments: object, **named: object) -> object:
            if not before:
                original(*arguments, **named)
            raise Killed

        patch.setattr(of, step, ending if step.startswith("_") and step != "_check" else ending_now)

    return install


@pytest.mark.parametrize(
    "kill",
    [
        pytest.param(killing(Draft, "add", before=False), id="in the middle of the file"),
        pytest.param(killing(Draft, "finish", before=True), id="before the file has its name"),
        pytest.param(killing(Archiving, "_write", before=False), id="after the file"),
        pytest.param(killing(Archiving, "_say", before=False), id="after the event"),
        pytest.param(killing(Archiving, "_check", before=False), id="before the partition goes"),
        pytest.param(killing(Archiving, "_prune", before=False), id="after the partition"),
    ],
)
async def test_whatever_step_it_is_killed_at_the_next_one_goes_on(
    log: Archived, monkeypatch: pytest.MonkeyPatch, kill: Callable[[pytest.MonkeyPatch], None]
) -> None:
    with monkeypatch.context() as patch:
        kill(patch)
        with pytest.raises(Killed):
            await log.take()
    contents = {path: path.read_bytes() for path in log.files()}
    await log.take()
    assert {path: path.read_bytes() for path in contents} == contents
    assert [(event.first, event.last) for _, event in await records(log)] == FULL
    assert [position for path in log.files() for position in events_in(path)] == [p for p in log.expiring if p <= 39]
    assert [position for position in await log.positions() if position in log.expiring] == [
        position for position in log.expiring if position > 39
    ]
    assert list(log.folder.rglob(".*")) == []


async def test_a_file_that_was_lost_before_the_events_were_is_written_again(
    log: Archived, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        killing(Archiving, "_say", before=False)(patch)
        with pytest.raises(Killed):
            await log.take()
    (path,) = log.files()
    before, _ = ArchiveFile(path, KEY).check()
    path.unlink()
    await log.take()
    assert ArchiveFile(path, KEY).check()[0] == before


async def test_events_stay_while_their_archive_is_not_what_was_archived(
    log: Archived, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        killing(Archiving, "_say", before=False)(patch)
        with pytest.raises(Killed):
            await log.take()
    (path,) = log.files()
    whole = path.read_bytes()
    for damaged in (whole[:-40], b"", gzip.compress(gzip.decompress(whole).replace(b"read", b"reap"))):
        path.write_bytes(damaged)
        with pytest.raises(Wrong):
            await log.take()
        assert path.read_bytes() == damaged
    assert len(await log.positions()) == 51
    path.write_bytes(whole)
    await log.take()
    assert len(log.files()) == 2


TAMPERED = {
    "changed": ("UPDATE log.events SET data = replace(data, '60', '61') WHERE position = 5", "position 5: its data"),
    "rehashed": (
        f"UPDATE log.events SET data = data || ' ' WHERE position = 6; {HASHED_ANEW}",  # noqa: S608
        "position 6: it is not the event",
    ),
    "lasting among those that expire": (
        "UPDATE log.events SET retention = 'expiring' WHERE position = 4",
        "position 4: it is among the events that expire, and is not one",
    ),
}


@pytest.mark.parametrize("attack", TAMPERED)
async def test_what_was_tampered_with_is_not_archived(log: Archived, attack: str) -> None:
    statement, says = TAMPERED[attack]
    await log.facts.execute(statement)
    with pytest.raises(Wrong, match=says):
        await log.take()
    assert log.files() == []
    assert await records(log) == []
    assert len(await log.positions()) == 50


async def test_readyz_says_for_how_long_and_why_and_goes_on_by_itself(log: Archived) -> None:
    archiving = await log.archiving()
    await log.facts.execute("UPDATE log.events SET data = replace(data, '60', '61') WHERE position = 5")
    async with Work() as work:
        work.start(archiving.keep())
        await eventually(lambda: "position 5" in archiving.readiness().detail)
        found = archiving.readiness()
        assert found.ok
        assert "BEHIND: events could have left the log 100 days ago: position 5: its data are not those" in found.detail
        assert (REGISTRY.get_sample_value("stagedoor_archive_overdue_seconds") or 0) > 99 * 86400
        await log.facts.execute("UPDATE log.events SET data = replace(data, '61', '60') WHERE position = 5")
        await eventually(lambda: len(log.files()) == 2, 30)
        await eventually(lambda: archiving.readiness().detail == "nothing is due", 30)
    assert REGISTRY.get_sample_value("stagedoor_archive_overdue_seconds") == 0


async def test_nothing_is_archived_that_no_checkpoint_speaks_of(
    database: Database, parties: Parties, tmp_path: Path
) -> None:
    async with archived(database, parties, tmp_path, events=15, keep=False) as log:
        await log.write(30)
        await age(log.facts, timedelta(days=500))
        with pytest.raises(NotYet, match="no checkpoint speaks of position 19"):
            await log.take()
        assert log.files() == []


async def test_whoever_reads_is_not_waited_for_and_appends_go_on(
    log: Archived, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.ledger.archiving._LOCK_TRIES", 3)
    monkeypatch.setattr("services.ledger.archiving._LOCK_PAUSE", 0.05)
    async with log.facts.database.connection() as reader, reader.transaction():
        await reader.fetchval("SELECT count(*) FROM log.events")
        with pytest.raises(NotYet, match="reads the events without a pause"):
            await log.take()
        assert (await log.facts.write("token-x", issued("x"))).position == 52
        assert await reader.fetchval("SELECT count(*) FROM log.events WHERE position <= 50") == 50
    await log.take()
    assert len(log.files()) == 2


async def test_a_denial_keeps_the_event_that_it_rests_on(log: Archived) -> None:
    await log.facts.execute(
        "INSERT INTO log.denials SELECT 999, 5, 1, 'token_issuer', 'token', 'x', 'standing', null, null, now()"
    )
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="a denial rests on an event up to position 19"):
        await log.take()
    assert len(await log.positions()) == 51
    await log.facts.execute("DELETE FROM log.denials WHERE number = 999")
    await log.take()
    assert len(log.files()) == 2


async def test_a_follower_that_has_not_come_so_far_keeps_them(log: Archived) -> None:
    await log.facts.execute(
        "INSERT INTO log.read_models VALUES ('registry', 'tokens', ARRAY['token_issuer'], ARRAY['x'], 1, 0)"
    )
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match=r"registry\.tokens has not taken in"):
        await log.take()
    await log.facts.execute("INSERT INTO registry.checkpoints VALUES ('tokens', 'token_issuer', 39)")
    await log.take()
    assert len(log.files()) == 2


async def test_the_log_itself_looks_before_it_lets_go(log: Archived) -> None:
    """A stolen or mistaken ledger: young events, later ones first, what was never archived, and what never expires."""
    sign_in = log.facts.database.connection("ledger")
    async with sign_in as ledger, log.facts.database.connection() as superuser:

        async def refused(first: int, record: int, retention: timedelta = RETENTION) -> str:
            with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError) as failure:
                await ledger.execute("SELECT log.prune($1, $2, $3)", first, record, retention)
            return str(failure.value)

        assert "does not begin the oldest full partition" in await refused(20, 1)
        assert "does not begin the oldest full partition" in await refused(0, 1)
        assert "does not say that these" in await refused(1, 1)
        assert "have to be kept for longer" in await refused(1, 1, timedelta(days=600))
        # What the event says has to be what is there.
        said = PartitionArchived(first=1, last=19, events=11, content_digest="", note="")
        forged = await log.facts.write("archive-1", said)
        assert "does not say that these 12 events" in await refused(1, forged.position)
        other = said.model_copy(update={"events": 12})
        elsewhere = await log.facts.write("archive-20", other)
        assert "does not say that these 12 events" in await refused(1, elsewhere.position)
        # However short a time is asked for.
        await superuser.execute("UPDATE log.events SET recorded_at = now() - interval '379 days'")
        assert "have to be kept for longer" in await refused(1, 1, timedelta())
    assert len(await log.positions()) == 52


async def test_retention_outlives_whatever_can_be_alive(log: Archived) -> None:
    longest = timedelta(seconds=max(REFRESH_TOKEN_SECONDS)) + LONGEST_ACCESS_TOKEN + KEPT
    assert longest < SHORTEST_RETENTION
    async with log.facts.database.connection() as superuser:
        assert await superuser.fetchval("SELECT log.shortest_retention()") == SHORTEST_RETENTION


async def another(log: Archived) -> Evidence:
    """What another leader keeps, which has looked at nothing yet."""
    return Evidence(await log.facts.log("ledger"), log.folder.parent / "ledger", SIGNER, 1, system_clock)


async def test_the_tree_grows_on_over_the_gaps(log: Archived) -> None:
    await log.take()
    (await log.facts.write("token-y", issued("y")))
    evidence = await another(log)
    await evidence.catch_up()
    found = evidence.current()
    assert found is not None
    assert found[2].size == 53
    # What stays is still compared with the tree, also between what is gone.
    await log.facts.execute("UPDATE log.events SET leaf_hash = sha256(leaf_hash) WHERE position = 25")
    with pytest.raises(Wrong, match="position 25"):
        await (await another(log)).catch_up()


async def test_an_epoch_that_began_in_what_is_gone_is_no_branch(log: Archived) -> None:
    await log.take()
    await log.facts.execute(
        "INSERT INTO log.epochs SELECT 2, system_identifier + 1, timeline, 21, began_at FROM log.epochs;"
        " UPDATE log.head SET epoch = 2"
    )
    evidence = await another(log)
    await evidence.catch_up()
    assert [branch.number for branch in evidence.branches()] == [1]


async def test_a_tree_that_was_lost_is_made_again_from_log_and_archives(log: Archived, tmp_path: Path) -> None:
    await log.take()
    await log.ledger.evidence.catch_up()
    before = log.ledger.evidence.current()
    assert before is not None

    async def anew(folder: str, archives: Path | None) -> Evidence:
        ledger = await log.facts.log("ledger")
        evidence = Evidence(ledger, tmp_path / folder, SIGNER, 1, system_clock, archives)
        await evidence.catch_up()
        return evidence

    after = (await anew("again", log.folder)).current()
    assert after is not None
    assert after[2] == before[2]
    with pytest.raises(Wrong, match="position 2: the event is missing"):
        await anew("without", None)
    with pytest.raises(Wrong, match=r"its archive 1-19\.jsonl\.gz is not at hand"):
        await anew("elsewhere", tmp_path)
    path = log.files()[1]
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b"reap", b"read")[:-2]))
    with pytest.raises(Wrong, match="the file is not whole"):
        await anew("torn", log.folder)
    assert not (tmp_path / "torn" / "1" / "checkpoint").exists()


@pytest.mark.parametrize("days", [-1, 1, 379.9])
def test_a_retention_that_is_too_short_is_refused(days: float) -> None:
    with pytest.raises(ValidationError, match="retention_days"):
        LedgerSettings(retention_days=days)
