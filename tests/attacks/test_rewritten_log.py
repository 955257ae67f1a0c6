"""Somebody with every right in the database rewrites the log. Verification names the first position that is wrong.

The tree and its checkpoints are files of the ledger; the last attacks are those of somebody who has these, too, and the
signing key. Against them helps what an auditor has kept.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.cli import evidence as cli
from services.cli.connection import Connection
from shared.clock import system_clock
from shared.evidence.keeping import Evidence
from shared.evidence.stagedoor_verify import Key, Wrong, check
from tests.integration.ledger.serving import SIGNER, Serving, serving
from tests.support.auditing import HASHED_ANEW, Auditor, attack, write_facts
from tests.support.facts import Facts
from tests.support.parties import Parties
from tests.support.parties import parties as parties  # noqa: PLC0414  (a fixture, as are the others)
from tests.support.postgres import Database
from tests.support.postgres import database as database  # noqa: PLC0414
from tests.support.postgres import databases as databases  # noqa: PLC0414
from tests.support.work import Work

FACTS = 40


@pytest.fixture
async def ledger(database: Database, parties: Parties, tmp_path: Path) -> AsyncIterator[Serving]:
    """Facts in the log, of which two checkpoints were made."""
    async with Work() as work, serving(Facts(database), work, parties, tmp_path / "ledger") as running:
        for _ in range(2):
            await write_facts(running.facts, FACTS // 2)
            await running.evidence.catch_up()
        yield running


@pytest.fixture
def auditor(ledger: Serving, parties: Parties, tmp_path: Path) -> Auditor:
    return Auditor(tmp_path, ledger.address, parties)


ASIDE = "UPDATE log.events SET position = position + 1000000 WHERE position {}"
SWAP = [
    ASIDE.format("IN (9, 10)"),
    "UPDATE log.events SET position = 1000019 - position WHERE position > 1000000",
]
SHIFT_UP = [
    ASIDE.format(">= 12"),
    "UPDATE log.events SET position = position - 1000000 + 1 WHERE position > 1000000",
    "UPDATE log.head SET position = position + 1",
]
SHIFT_DOWN = [
    ASIDE.format("> 12"),
    "UPDATE log.events SET position = position - 1000000 - 1 WHERE position > 1000000",
    "UPDATE log.head SET position = position - 1",
]
INSERTED = """
    INSERT INTO log.events (epoch, position, retention, source, stream, version, type, data, data_digest, salt, actor,
                            command_id, correlation_id, causation_id, recorded_at, leaf_hash)
    SELECT epoch, 12, {retention}, source, 'application-forged', 1, type, data, data_digest, salt, actor,
           gen_random_uuid(), correlation_id, causation_id, recorded_at, leaf_hash
      FROM log.events WHERE position = 11"""
CHANGED = "UPDATE log.events SET data = replace(data, 'app-', 'apq-') WHERE position = 7"


@pytest.mark.parametrize(
    ("statements", "first"),
    [
        pytest.param([CHANGED], 7, id="a byte of the data"),
        pytest.param([CHANGED, HASHED_ANEW], 7, id="a byte, hashed anew"),
        pytest.param(
            ["UPDATE log.events SET actor = 'user:x' WHERE position = 8"], 8, id="a byte of what stands beside the data"
        ),
        pytest.param(
            ["UPDATE log.events SET recorded_at = recorded_at + interval '1 microsecond' WHERE position = 40"],
            *(40,),
            id="a microsecond",
        ),
        pytest.param(["UPDATE log.events SET leaf_hash = sha256(leaf_hash) WHERE position = 5"], 5, id="a hash alone"),
        pytest.param(["UPDATE log.events SET source = 'identity' WHERE position = 6"], 6, id="hidden from readers"),
        pytest.param(["DELETE FROM log.events WHERE position = 12"], 12, id="an event deleted"),
        pytest.param(
            ["DELETE FROM log.events WHERE position = 12", *SHIFT_DOWN, HASHED_ANEW], 12, id="deleted, and closed up"
        ),
        pytest.param([INSERTED.format(retention="'expiring'")], 12, id="another one in the same place"),
        pytest.param([*SHIFT_UP, INSERTED.format(retention="retention"), HASHED_ANEW], 12, id="an event inserted"),
        pytest.param(SWAP, 9, id="two swapped"),
        pytest.param([*SWAP, HASHED_ANEW], 9, id="two swapped, hashed anew"),
        pytest.param(
            ["DELETE FROM log.events WHERE position > 30", "UPDATE log.head SET position = 30"],
            31,
            id="the tail cut off",
        ),
        pytest.param(
            ["UPDATE log.events SET salt = substr(sha256(salt), 1, 16), data = '{}'", HASHED_ANEW],
            *(1,),
            id="everything rewritten",
        ),
    ],
)
async def test_verification_names_the_first_wrong_position(
    ledger: Serving, auditor: Auditor, statements: list[str], first: int
) -> None:
    assert await auditor.first_wrong() is None
    ledger.facts.database.spoiled = True
    await attack(ledger.facts, statements)
    wrong = await auditor.first_wrong()
    assert wrong is not None
    assert wrong.position == first


async def exported(ledger: Serving, auditor: Auditor, path: Path) -> Path:
    """As `stagedoor audit export` does."""
    async with Connection(auditor.path) as services:
        await cli.write_export(services, await cli.last_checkpoint(services, None), 1, None, path)
    return path


async def test_an_export_of_a_rewritten_log_names_it_offline(ledger: Serving, auditor: Auditor, tmp_path: Path) -> None:
    key = SIGNER.key(1)
    assert "positions 1 to 40" in check(await exported(ledger, auditor, tmp_path / "before"), key)
    ledger.facts.database.spoiled = True
    await attack(ledger.facts, [CHANGED, HASHED_ANEW])
    with pytest.raises(Wrong) as found:
        check(await exported(ledger, auditor, tmp_path / "after"), key)
    assert found.value.position == 7


@pytest.fixture
async def rewritten(ledger: Serving, auditor: Auditor, tmp_path: Path) -> tuple[Path, Path]:
    """An operator has rewritten everything from position 27 on, tree, checkpoints and all; what an auditor has kept."""
    checkpoint = await auditor.keep(tmp_path / "of-40")
    earlier = await exported(ledger, auditor, tmp_path / "earlier")
    ledger.facts.database.spoiled = True
    await attack(ledger.facts, [CHANGED.replace("position = 7", "position >= 27"), HASHED_ANEW])
    log = await ledger.facts.log("ledger")
    forged = Evidence(log, tmp_path / "forged", SIGNER, 1, system_clock)
    await forged.catch_up()
    ledger.evidence._folder = tmp_path / "forged"
    return checkpoint, earlier


async def test_an_operator_who_has_everything_is_found_out_by_an_earlier_checkpoint(
    rewritten: tuple[Path, Path], ledger: Serving, auditor: Auditor, tmp_path: Path
) -> None:
    checkpoint, earlier = rewritten
    assert await auditor.first_wrong() is None, "one who has kept nothing cannot know"
    wrong = await auditor.first_wrong(checkpoint)
    assert wrong is not None
    assert "between 1 and 40" in str(wrong)

    key = SIGNER.key(1)
    now = await exported(ledger, auditor, tmp_path / "now")
    check(now, key)
    with pytest.raises(Wrong, match="between 1 and 40"):
        check(now, key, [checkpoint])
    with pytest.raises(Wrong) as found:
        check(now, key, [earlier])
    assert found.value.position == 27


async def test_a_key_that_is_not_the_pinned_one_signs_nothing(
    ledger: Serving, auditor: Auditor, tmp_path: Path
) -> None:
    note = await auditor.keep(tmp_path / "note")
    other = Key(SIGNER.key(1).name, bytes(31) + b"\x01")
    with pytest.raises(Wrong, match="has not signed"):
        check(note, other)
    with pytest.raises(Exception, match="another name or key") as refused:
        await auditor.first_wrong(key=str(other))
    assert getattr(refused.value, "code", "") == "other_key"
