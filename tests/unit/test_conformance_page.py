"""What `docs/conformance.md` says is there."""

import ast
import re
from pathlib import Path

import pytest

from infra.conformance import browser

_ROOT = Path(__file__).resolve().parent.parent.parent
_PAGE = (_ROOT / "docs" / "conformance.md").read_text()
_ROWS = re.findall(r"^\| `(oidcc-[^`]+)` \| (.+?) \| .*\|$", _PAGE, re.MULTILINE)


_REQUIREMENTS = re.findall(r"^\| (5\.[0-9.]+(?:-[0-9]+)?) \| (.+?) \| (none|`[^`]+`) \| .*\|$", _PAGE, re.MULTILINE)
"""Of the FAPI 2.0 Security Profile."""


def _names(path: Path) -> set[str]:
    """The tests of a file, those of a class with its name in front."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            inside = (one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef))
            found |= {f"{node.name}::{one.name}" for one in inside}
    return found


@pytest.mark.parametrize(("module", "said"), [*_ROWS, *((number, said) for number, _, said in _REQUIREMENTS)])
def test_a_test_that_is_named_exists(module: str, said: str) -> None:
    if said == "none":
        return
    path, _, name = said.strip("`").partition("::")
    assert said == f"`{path}::{name}`"
    assert name.rpartition("::")[2].startswith("test_")
    assert name in _names(_ROOT / path)


def test_all_modules_are_there_once() -> None:
    modules = [module for module, _ in _ROWS]
    assert len(modules) == len(set(modules)) == 38 + 1 + 11 + 2


def test_each_requirement_of_the_profile_is_there() -> None:
    numbers = {number for number, _, _ in _REQUIREMENTS}
    assert len(_REQUIREMENTS) == len(re.findall(r"^\| 5\.", _PAGE, re.MULTILINE))
    for section, most in (("5.3.2.1", 14), ("5.3.2.2", 14), ("5.3.4", 5), ("5.4.1", 4)):
        assert {f"{section}-{item}" for item in range(1, most + 1)} <= numbers


def test_what_the_suites_browser_does_otherwise_is_for_modules_that_there_are() -> None:
    assert browser.of_modules("issuer", "suite").keys() <= {module for module, _ in _ROWS}


def test_files_that_are_named_exist() -> None:
    named = re.findall(r"`((?:tests|infra)/[^`:]+)`", _PAGE)
    assert named
    assert not [path for path in named if not (_ROOT / path).exists()]
