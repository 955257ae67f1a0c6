import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from infra.local.caddy import program

ROOT = Path(__file__).resolve().parent.parent.parent
DOCKERFILE = ROOT / "infra" / "Dockerfile"
_PINNED = re.compile(r"^([a-z0-9._-]+)==(\S+)", re.MULTILINE)


def _locked(name: str) -> dict[str, str]:
    return dict(_PINNED.findall((ROOT / name).read_text()))


def _named(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=;! ]", one, maxsplit=1)[0].lower().replace("_", "-") for one in requirements}


def test_the_linter_finds_nothing() -> None:
    hadolint = program("hadolint")
    if not Path(hadolint).exists():
        pytest.skip("hadolint is a wheel for Linux on x86-64 alone; there, `make test` installs infra/shipping.lock")
    done = subprocess.run([hadolint, str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_has_what_services_need_and_nothing_else() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    image, everything = _locked("infra/requirements.lock"), _locked("requirements.lock")
    assert _named(project["dependencies"]) <= set(image)
    sdk = tomllib.loads((ROOT / "sdk" / "pyproject.toml").read_text())["project"]["dependencies"]
    assert _named(sdk) <= set(image)
    for extra in ("local", "dev", "shipping"):
        assert not _named(project["optional-dependencies"][extra]) & set(image) - _named(project["dependencies"])
    assert image.items() <= everything.items()
    assert image.items() <= _locked("infra/shipping.lock").items()
    assert _locked("infra/overlapping.lock").items() <= image.items()


def test_every_requirement_has_a_hash() -> None:
    for lock in ("infra/requirements.lock", "infra/shipping.lock"):
        text = (ROOT / lock).read_text()
        blocks = re.split(r"\n(?=[a-z0-9])", text[text.index("\n", text.index("#    uv")) + 1 :])
        assert len(blocks) > 40
        assert all("--hash=sha256:" in block for block in blocks)
    assert "--require-hashes" in DOCKERFILE.read_text()


def test_what_is_copied_is_sent_and_no_secret_is() -> None:
    copied = re.findall(r"^COPY (?!--from)(\S+)", DOCKERFILE.read_text(), re.MULTILINE)
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert all(any(one == path or one.startswith(f"{path}/") for path in sent) for one in copied)
    assert all((ROOT / one).exists() for one in copied)
    kept = (ROOT / ".dockerignore").read_text().splitlines()
    assert kept[1] == "*"
    assert "infra/compose/secrets" in kept
    assert "/infra/compose/secrets/" in (ROOT / ".gitignore").read_text()


def test_it_is_nobody_with_rights() -> None:
    lines = DOCKERFILE.read_text().splitlines()
    last = lines[[number for number, line in enumerate(lines) if line.startswith("FROM")][-1] :]
    assert "USER 10001:10001" in last
    assert not [line for line in last if re.match(r"RUN .*(pip|apt|curl)", line)]
