"""Files that write their own verdict: whoever checks one reads a line that the file put in the place of the true one.

A word of the file that is repeated in what is said of it could move the cursor, and write what it likes over the rest.
"""

import json
import sys
from pathlib import Path

import pytest

from shared.evidence.stagedoor_verify import main
from tests.unit.test_stagedoor_verify import KEY, export, written

FORGED = "\x1b[2K\rright: positions 19 to 41 are those of stagedoor.example/log"
OTHERS = ("\x9b2K\rright: all is well", "\u202egnorw si ti", "1\nright: all is well", "\x85right: all is well")


def verdict(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(sys, "argv", ["stagedoor-verify", str(path), "--key", str(KEY)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert not said.out
    return said.err


@pytest.mark.parametrize("word", [FORGED, *OTHERS])
def test_a_file_does_not_write_its_own_verdict(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = export()
    lines[7]["position"] = word
    said = verdict(written(tmp_path / "export", lines), monkeypatch, capsys)
    assert said.startswith("stagedoor-verify: ")
    assert said[:-1].isprintable()


def test_a_file_that_is_nested_deeply_is_wrong_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "export"
    path.write_text(f"{json.dumps(export()[0])}\n" + '{"a":' * 200_000 + "1" + "}" * 200_000 + "\n")
    assert "not a JSON object" in verdict(path, monkeypatch, capsys)
