"""Wrong usage is exit status 2; nothing is asked of a service, and no secret is taken as an argument."""

from pathlib import Path

import pytest
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
