"""What the offline verifier makes of files that somebody has been at."""

import json
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from shared.evidence.checkpoints import Signer
from shared.evidence.proofs import prove_consistency, prove_inclusion
from shared.evidence.stagedoor_verify import (
    EXPORT,
    HASH,
    PROOF,
    Checkpoint,
    Wrong,
    check,
    data_digest,
    leaf_hash,
    leaf_text,
    root_of,
)
from shared.keys import MasterKey

SIGNER = Signer(MasterKey(b"k" * 32), "https://id.example/id")
KEY = SIGNER.key(1)
SIZE = 300
FIRST, LAST = 20, 40


def event(position: int) -> dict[str, Any]:
    data, salt = json.dumps({"number": position}), sha256(b"%d" % position).digest()[:16]
    digest = data_digest(salt, data.encode())
    made: dict[str, Any] = {
        "position": position,
        "epoch": 1,
        "stream": f"application-{position}",
        "version": 1,
        "type": "registry.ApplicationEnabled",
        "data": data,
        "salt": salt.hex(),
        "data_digest": digest.hex(),
        "actor": "user:brian",
        "command_id": "c",
        "correlation_id": "d",
        "causation_id": None,
        "recorded_at": "2026-07-12T19:30:00.000000Z",
    }
    return {**made, "leaf": leaf_hash(leaf_text(made, digest)).hex()}


EVENTS = [event(position) for position in range(1, SIZE + 1)]
TREE = b"".join(bytes.fromhex(one["leaf"]) for one in EVENTS)


def hash_of(low: int, high: int) -> bytes:
    return root_of(TREE[low * HASH : high * HASH])


def encoded(hashes: list[bytes]) -> list[str]:
    return [b64encode(one).decode() for one in hashes]


def checkpoint(size: int) -> str:
    return SIGNER.sign(Checkpoint(KEY.name, size, hash_of(0, size)), 1)


def export(first: int = FIRST, last: int = LAST) -> list[dict[str, Any]]:
    header = {
        "format": EXPORT,
        "from": first,
        "to": last,
        "key": str(KEY),
        "checkpoint": checkpoint(SIZE),
        "first": encoded(prove_inclusion(first - 1, SIZE, hash_of)),
        "last": encoded(prove_inclusion(last - 1, SIZE, hash_of)),
        "consistent_from": 10,
        "consistency": encoded(prove_consistency(10, SIZE, hash_of)),
    }
    return [header, *(dict(one) for one in EVENTS[first - 1 : last])]


def written(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize(("first", "last"), [(1, SIZE), (1, 1), (SIZE, SIZE), (FIRST, LAST), (200, 290)])
def test_an_export_is_right(tmp_path: Path, first: int, last: int) -> None:
    assert f"positions {first} to {last}" in check(written(tmp_path / "export", export(first, last)), KEY)


def test_an_export_goes_on_from_what_was_kept(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text(checkpoint(10))
    for first, last in ((1, 30), (FIRST, LAST)):
        path = written(tmp_path / "export", export(first, last))
        assert "the 1 earlier files" in check(path, KEY, [kept])
        assert "the 2 earlier files" in check(path, KEY, [kept, written(tmp_path / "other", export(15, 25))])
    kept.write_text(checkpoint(11))
    with pytest.raises(Wrong, match="does not prove"):
        check(written(tmp_path / "export", export()), KEY, [kept])
    with pytest.raises(Wrong, match="no position in common"):
        check(written(tmp_path / "export", export()), KEY, [written(tmp_path / "other", export(1, 5))])


def _recomputed(line: dict[str, Any]) -> None:
    digest = data_digest(bytes.fromhex(line["salt"]), line["data"].encode())
    line["data_digest"] = digest.hex()
    line["leaf"] = leaf_hash(leaf_text(line, digest)).hex()


def _changed_and_recomputed(lines: list[dict[str, Any]]) -> None:
    lines[7]["data"] = '{"number":0}'
    _recomputed(lines[7])


def _data_passed_off_as_salt(lines: list[dict[str, Any]]) -> None:
    salt, data = lines[7]["salt"], lines[7]["data"].encode()
    lines[7].update(salt=salt + data[:1].hex(), data=data[1:].decode())


@pytest.mark.parametrize(
    ("attack", "position"),
    [
        pytest.param(lambda lines: lines[7].update(data='{"number":0}'), 26, id="data"),
        pytest.param(lambda lines: lines[7].update(actor="user:other"), 26, id="actor"),
        pytest.param(lambda lines: lines[7].update(actor="user:other\nx"), 26, id="one line more"),
        pytest.param(lambda lines: lines[7].update(note="by the way"), 26, id="a member that nothing proves"),
        pytest.param(lambda lines: lines[7].pop("salt"), 26, id="without a salt"),
        pytest.param(_data_passed_off_as_salt, 26, id="data passed off as salt"),
        pytest.param(lambda lines: lines[7].update(leaf=lines[8]["leaf"]), 26, id="another leaf"),
        pytest.param(lambda lines: lines.pop(7), 26, id="left out"),
        pytest.param(lambda lines: lines.insert(7, lines[7]), 27, id="doubled"),
        pytest.param(lambda lines: lines.insert(7, lines.pop(8)), 26, id="swapped"),
        pytest.param(lambda lines: lines.pop(), LAST, id="cut off"),
        pytest.param(lambda lines: lines.append(EVENTS[LAST]), LAST + 1, id="too many"),
        pytest.param(_changed_and_recomputed, None, id="hashed anew"),
        pytest.param(lambda lines: lines[0].update({"from": FIRST - 1}), FIRST - 1, id="another beginning"),
        pytest.param(lambda lines: lines[0].update({"to": SIZE + 1}), None, id="beyond the checkpoint"),
        pytest.param(lambda lines: lines[0].update({"from": True}), None, id="no number"),
        pytest.param(lambda lines: lines[0].update(first=[]), None, id="no proof"),
        pytest.param(lambda lines: lines[0].update(last=["AAAA"]), None, id="a proof of nothing"),
        pytest.param(lambda lines: lines[0].update(checkpoint=checkpoint(SIZE - 1)), None, id="another checkpoint"),
        pytest.param(lambda lines: lines[0].update(format="x"), None, id="another format"),
    ],
)
def test_an_export_that_somebody_has_been_at(
    tmp_path: Path, attack: Callable[[list[dict[str, Any]]], object], position: int | None
) -> None:
    lines = export()
    attack(lines)
    with pytest.raises(Wrong) as found:
        check(written(tmp_path / "export", lines), KEY)
    assert found.value.position == position


def test_a_member_that_stands_there_twice(tmp_path: Path) -> None:
    path = written(tmp_path / "export", export())
    path.write_text(path.read_text().replace('"actor": "user:brian"', '"actor": "user:x", "actor": "user:brian"'))
    with pytest.raises(Wrong):
        check(path, KEY)


def test_proofs(tmp_path: Path) -> None:
    document: dict[str, Any] = {
        "format": PROOF,
        "checkpoint": checkpoint(SIZE),
        "event": EVENTS[6],
        "inclusion": encoded(prove_inclusion(6, SIZE, hash_of)),
        "consistent_from": 10,
        "consistency": encoded(prove_consistency(10, SIZE, hash_of)),
    }
    kept = tmp_path / "kept"
    kept.write_text(checkpoint(10))
    said = check(written(tmp_path / "proof", [document]), KEY, [kept])
    assert "position 7 is registry.ApplicationEnabled by user:brian" in said
    assert "goes on from the earlier checkpoint of 10" in said
    spoiled: tuple[dict[str, Any], ...] = (
        {"event": EVENTS[7]},
        {"inclusion": []},
        {"consistency": []},
        {"checkpoint": checkpoint(9)},
    )
    for wrong in spoiled:
        with pytest.raises(Wrong):
            check(written(tmp_path / "proof", [{**document, **wrong}]), KEY, [kept])


def test_checkpoints(tmp_path: Path) -> None:
    path, kept = tmp_path / "checkpoint", tmp_path / "kept"
    path.write_text(checkpoint(SIZE))
    kept.write_text(checkpoint(SIZE))
    assert f"had {SIZE} events" in check(path, KEY, [kept])
    other = Checkpoint(KEY.name, SIZE, bytes(HASH))
    kept.write_text(SIGNER.sign(other, 1))
    with pytest.raises(Wrong, match="does not begin"):
        check(path, KEY, [kept])
    for spoiled in (
        checkpoint(SIZE).replace(f"\n{SIZE}\n", f"\n0{SIZE}\n"),
        checkpoint(SIZE).replace("/log/1", "/log/2"),
        SIGNER.sign(Checkpoint("id.example/id/log/2", SIZE, bytes(HASH)), 1),
        SIGNER.sign(Checkpoint(KEY.name, SIZE, b"short"), 1),
        "",
    ):
        path.write_text(spoiled)
        with pytest.raises(Wrong):
            check(path, KEY)
