"""What is printed: the whole message for programs, nothing dangerous for terminals."""

import json
from collections.abc import Coroutine
from typing import Any

import pytest
import typer
from google.protobuf.timestamp_pb2 import Timestamp

from protos.stagedoor.registry.v1 import registry_pb2 as pb
from services.cli import output
from shared.errors import Kind, Refusal


def test_a_message_in_json_has_every_field() -> None:
    at = Timestamp(seconds=521_582_400, nanos=5_000_000)
    message = pb.Application(
        client_id="com.example/app", position=1 << 60, secrets=[pb.Secret(secret_id="s", added_at=at)]
    )
    found = json.loads(json.dumps(output.plain(message)))
    assert set(found) == {field.name for field in message.DESCRIPTOR.fields}
    assert found["position"] == 1 << 60
    assert found["enabled"] is False
    assert found["settings"] is None
    assert found["secrets"] == [{"secret_id": "s", "added_at": "1986-07-12T20:00:00.005Z", "expires_at": None}]


def test_an_optional_value_that_is_not_there_is_null() -> None:
    assert output.plain(pb.ApplicationSettings())["require_pkce"] is None
    assert output.plain(pb.ApplicationSettings(require_pkce=False))["require_pkce"] is False


@pytest.mark.parametrize("terminal", [True, False])
def test_documents_are_told_to_programs_as_they_are_and_to_terminals_as_text(
    terminal: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    value = {"a\x9b2J\u202e": "\x1b\U000e0001 \u00fc\n"}
    output.document(value)
    said = capsys.readouterr().out.removesuffix("\n")
    assert json.loads(said) == value
    assert said.isprintable() is terminal
    assert "\u00fc" in said


def test_refusals_are_told_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    async def work() -> None:
        raise Refusal(Kind.INVALID, "code", "no \x9b2J")

    with pytest.raises(typer.Exit):
        output.run(work())
    assert capsys.readouterr().err == "stagedoor: no 2J (code)\n"


def test_terminals_are_told_nothing_but_text() -> None:
    assert output.cell("a\x1b[31mb\u202ec").plain == "a[31mbc"
    assert output.cell(["a", "b"]).plain == "a\nb"
    assert output.cell("[bold]x[/bold]").plain == "[bold]x[/bold]"
    assert [output.cell(value).plain for value in (True, False, None)] == ["yes", "no", ""]


def _failing(failure: BaseException) -> Coroutine[Any, Any, None]:
    async def work() -> None:
        raise failure

    return work()


def test_a_refusal_is_one_line_and_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        output.run(_failing(Refusal(Kind.NOT_FOUND, "application_not_found", "there is no such application")))
    assert ended.value.exit_code == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "stagedoor: there is no such application (application_not_found)\n"


def test_a_mistake_of_ours_is_not_taken_for_a_refusal() -> None:
    with pytest.raises(ZeroDivisionError):
        output.run(_failing(ZeroDivisionError()))
