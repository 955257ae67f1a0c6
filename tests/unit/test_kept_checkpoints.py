"""Checkpoints that are kept never go further than the last one, whenever somebody looks."""

from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest

from shared.evidence import checkpoints
from shared.evidence.checkpoints import Branch, Signer
from shared.keys import MasterKey

NOW = datetime(1985, 7, 13, 18, 41, tzinfo=UTC)


def test_the_last_checkpoint_is_there_before_it_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    branch = Branch(tmp_path, 1, Signer(MasterKey(bytes(32)), "https://id.example/id"))
    keep = checkpoints._append
    last: list[int] = []

    def looked_at(path: Path, line: str) -> None:
        found = branch.last()
        last.append(0 if found is None else found[1].size)
        keep(path, line)

    monkeypatch.setattr(checkpoints, "_append", looked_at)
    branch.tiles.grow(0, b"".join(sha256(bytes([number])).digest() for number in range(3)))
    branch.make(3, NOW)
    assert last == [3]
    assert len(list(branch.kept())) == 1
