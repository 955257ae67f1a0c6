"""The profile: private, whole, and used by one command at a time where that matters."""

import asyncio
import stat
from pathlib import Path

import pytest

from services.cli import profile
from services.cli.profile import Profile
from shared.errors import Refusal


def example(tmp_path: Path) -> Profile:
    return profile.local(tmp_path, 8400).model_copy(
        update={"access_token": 'a"b\\c\u00e4', "refresh_token": "r", "expires_at": 1_900_000_000}
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "below" / "profile.toml"
    profile.write(path, example(tmp_path))
    assert profile.read(path) == example(tmp_path)
    profile.write(path, example(tmp_path).model_copy(update={"access_token": "new"}))
    assert profile.read(path).access_token == "new"


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "profile.toml"
    path.touch(0o644)
    profile.write(path, example(tmp_path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in tmp_path.iterdir()] == ["profile.toml"]


def test_tokens_are_not_shown_by_accident(tmp_path: Path) -> None:
    assert "refresh" not in repr(example(tmp_path))
    assert "access_token" not in repr(example(tmp_path))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (None, "no_profile"),
        ("issuer = ", "bad_profile"),
        ('issuer = "x"', "bad_profile"),
        ("surprise = 1", "bad_profile"),
    ],
)
def test_what_is_no_profile_is_refused_in_one_line(tmp_path: Path, text: str | None, code: str) -> None:
    path = tmp_path / "profile.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(Refusal) as refused:
        profile.read(path)
    assert refused.value.code == code
    assert "\n" not in refused.value.message


def test_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STAGEDOOR_PROFILE", raising=False)
    monkeypatch.setenv("STAGEDOOR_HOME", str(tmp_path))
    assert profile.default_path() == tmp_path / "profile.toml"
    monkeypatch.setenv("STAGEDOOR_PROFILE", str(tmp_path / "other.toml"))
    assert profile.default_path() == tmp_path / "other.toml"


async def test_the_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "profile.toml"
    order: list[str] = []

    async def second() -> None:
        async with profile.locked(path):
            order.append("second")

    async with profile.locked(path):
        waiting = asyncio.create_task(second())
        for _ in range(5):
            await asyncio.sleep(0)
        order.append("first")
    await asyncio.wait_for(waiting, 30)
    assert order == ["first", "second"]
