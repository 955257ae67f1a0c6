"""Wrong usage is exit status 2; nothing is asked of a service, and no secret is taken as an argument."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from services.cli.main import app


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGEDOOR_HOME", str(tmp_path))
    monkeypatch.delenv("STAGEDOOR_PROFILE", raising=False)


def run(*arguments: str, given: str = "") -> Result:
    return CliRunner().invoke(app, list(arguments), input=given)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["apps", "nonsense"],
        ["apps", "show"],
        ["apps", "register", "com.example/app"],
        ["apps", "change", "com.example/app"],
        ["apps", "rotate-secret", "com.example/app", "--expires-at", "tomorrow"],
        ["resources", "register", "urn:x", "--name", "X", "--scope", "read"],
        ["resources", "change", "urn:x"],
        ["users", "change", "freddie"],
        ["users", "change", "freddie", "--role", "auditor", "--no-roles"],
        ["users", "add", "freddie"],
        ["users", "add", "freddie", "--no-password", "--password-file", "-"],
        ["users", "add", "freddie", "--password", "a-kind-of-magic-1986"],
        ["users", "set-password", "freddie", "--password-file", "/nowhere/at/all"],
        ["tokens", "validate"],
        ["tokens", "revoke", "--jti", "a", "--grant", "b"],
        ["logouts", "retry"],
        ["logouts", "retry", "x"],
        ["logouts", "retry", "1", "--all"],
        ["audit", "replay", "--after", "-1"],
        ["audit", "replay", "--position", "1", "--until", "2"],
        ["audit", "as-of", "application"],
        ["audit", "as-of", "universe", "x"],
        ["audit", "as-of", "user", "x", "--position", "1", "--time", "2026-01-01"],
        ["audit", "explain", "x", "--position", "0"],
        ["audit", "report"],
        ["audit", "report", "applications", "--csv", "--json"],
        ["audit", "report", "actions"],
        ["audit", "report", "references", "--unused-days", "-1"],
        ["audit", "prove"],
        ["audit", "export", "--out", "some.export", "--from", "5", "--to", "2"],
        ["bootstrap", "brian"],
        ["login", "--service", "ledger"],
        ["login", "--service", "nobody=127.0.0.1:1"],
        ["login", "--user", "brian"],
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_what_is_wrong_is_one_line_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    said = run("keys", "rotate", "--use", "nonsense").output.splitlines()
    assert said[-1] == "Error: Invalid value: nonsense: a use is one of access_token, id_token, id_token_es256"


@pytest.mark.parametrize(
    "arguments",
    [["apps", "uninstall", "com.example/app"], ["resources", "remove", "urn:x"], ["keys", "compromise", "k"]],
)
@pytest.mark.parametrize("given", ["", "n\n", "yesterday\n"])
def test_what_cannot_be_undone_is_not_done_without_a_yes(arguments: list[str], given: str) -> None:
    result = run(*arguments, "--json", given=given)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1] == "stagedoor: nothing was done (not_confirmed)"
    # With one it goes on, and finds that nobody is signed in.
    assert "(no_profile)" in run(*arguments, given="y\n").stderr


def _commands(found: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, one in getattr(found, "commands", {}).items():
        yield from _commands(one, *path, name)
    if path and not hasattr(found, "commands"):
        yield path, found


def test_help_has_every_option_in_full_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for path, command in _commands(typer.main.get_command(app)):
        words = run(*path, "--help").output.replace(",", " ").split()
        for option in (name for one in command.params for name in one.opts if name.startswith("--")):
            assert option in words, (path, option)


def test_every_command_that_asks_a_service_answers_programs() -> None:
    without = {
        path
        for path, command in _commands(typer.main.get_command(app))
        if "--json" not in [name for one in command.params for name in one.opts]
    }
    assert without == {("migrate",), ("up",)}


@pytest.mark.parametrize("arguments", [["apps", "list"], ["audit", "replay"], ["users", "show", "freddie"]])
def test_without_a_profile_there_is_one_line_that_says_so(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "stagedoor login" in result.stderr


def test_every_command_takes_json() -> None:
    names: list[tuple[str, ...]] = [("login",), ("bootstrap",)]
    for group in app.registered_groups:
        assert group.name is not None
        assert group.typer_instance is not None
        for command in group.typer_instance.registered_commands:
            assert command.callback is not None
            names.append((group.name, command.name or command.callback.__name__))
    assert len(names) > 20
    for name in names:
        assert "--json" in run(*name, "--help").stdout, name
