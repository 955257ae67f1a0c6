"""What is logged is one JSON object a line, and no secret is in it."""

import json
import logging
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import pytest
import structlog

from shared.ids import new_id
from shared.telemetry import (
    accept_correlation,
    configure_logging,
    correlation,
    course_of,
    log_request,
    logger,
    redact,
    scrub,
)
from tests.support.log_lines import LogLines
from tests.support.log_lines import log_lines as log_lines  # noqa: PLC0414  (a fixture)

JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJmcmVkZGllIn0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "name",
    [
        *("token", "access_token", "refresh_token", "id_token_hint", "client_secret", "password", "new_password"),
        *("code", "user_code", "device_code", "code_verifier", "authorization", "Authorization", "cookie"),
        *("Set-Cookie", "client_assertion", "private_key", "X-Api-Key", "otp", "signature", "DPoP"),
    ],
)
def test_a_field_that_is_named_like_a_secret_is_withheld(name: str, log_lines: LogLines) -> None:
    logger("test").info("something", **{name: "hunter2", "inner": {name: ["hunter2"]}, "many": [{name: b"hunter2"}]})
    line = log_lines.named("something")[0]
    assert line[name] == "[redacted]"
    assert "hunter2" not in log_lines.text


@pytest.mark.parametrize(
    "text",
    [
        f"cannot parse {JWT}",
        f"in {JWT}.abc.def",
        "Authorization: Bearer hunter2-hunter2",
        "bearer hunter2-hunter2",
        "Basic aHVudGVyMjpodW50ZXIy hunter2".replace(" hunter2", ""),
        "sdc_AAAAAAAAAAAAAAAAAAAAAA.hunter2hunter2hunter2hunter2hunter2hunter2hun",
        "sdr_AAAAAAAAAAAAAAAAAAAAAA.hunter2hunter2hunter2hunter2hunter2hunter2hun",
        "GET /callback?code=hunter2&state=1",
        "grant_type=password&password=hunter2",
        "client_secret=hunter2",
        "postgresql://registry:hunter2@127.0.0.1/stagedoor",
        "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----",
        "-----BEGIN EC PRIVATE KEY-----\nhunter2",
    ],
)
def test_a_text_with_something_like_a_secret_in_it_loses_it(text: str, log_lines: LogLines) -> None:
    logger("test").warning("something", reason=text, inner={"reason": [text]})
    logging.getLogger("library").warning("%s", text)
    log_lines.read()
    for secret in ("hunter2", JWT.split(".")[1], "aHVudGVy"):
        assert secret not in log_lines.text


def test_other_fields_stay_as_they_are(log_lines: LogLines) -> None:
    said = {"status_code": 200, "position": 7, "reason": "größer", "ok": True, "nothing": None, "ratio": 0.5}
    logger("test").info("something", **said)
    line = log_lines.named("something")[0]
    assert {name: line[name] for name in said} == said
    assert (line["service"], line["level"], line["module"]) == ("test", "info", "test")
    assert line["timestamp"].endswith("Z")
    assert log_lines.text.isascii()


@pytest.mark.parametrize("times", [1, 3])
def test_a_path_with_a_secret_in_it_loses_it_however_often_it_is_asked_for(times: int, log_lines: LogLines) -> None:
    for _ in range(times):
        log_request("test", "GET", f"/a/{JWT}", 404, 0.001)
        log_request("test", "GET", "/a/b", 200, 0.001)
    paths = [line["path"] for line in log_lines.named("request")]
    assert paths == ["/a/[redacted]", "/a/b"] * times
    assert JWT not in log_lines.text


def test_a_request_tells_when_it_was_answered(log_lines: LogLines) -> None:
    before = datetime.now(UTC)
    seconds = [before.timestamp() + number / 3 for number in range(8)]
    with patch("shared.telemetry.time.time_ns", side_effect=[int(second * 1e9) for second in seconds]):
        for _ in seconds:
            log_request("test", "GET", "/", 200, 0.001)
    told = [datetime.fromisoformat(line["timestamp"]).timestamp() for line in log_lines.named("request")]
    assert told == pytest.approx(seconds, abs=2e-6)


def test_what_is_no_plain_value_is_not_spelled_out(log_lines: LogLines) -> None:
    class Odd:
        def __str__(self) -> str:
            return f"odd {JWT}"

    deep: Any = "hunter2"
    for _ in range(20):
        deep = [deep]
    logger("test").info("something", odd=Odd(), raw=b"hunter2", deep=deep, by_number={1: "one"})
    line = log_lines.named("something")[0]
    assert (line["odd"], line["raw"], line["by_number"]) == ("odd [redacted]", "[redacted]", {"1": "one"})
    assert "hunter2" not in log_lines.text


def test_one_event_is_one_line(log_lines: LogLines) -> None:
    logger("test").info("something", reason='a\nb\u2028c\x85{"event":"forged"}')
    log_lines.read()
    assert len(log_lines.text.splitlines()) == 1
    assert log_lines.named("something")[0]["reason"] == 'a\nb\u2028c\x85{"event":"forged"}'


def test_the_course_of_events_is_named(log_lines: LogLines) -> None:
    current = new_id()
    token = correlation.set(current)
    try:
        logger("test").info("within")
        logging.getLogger("library").warning("within too")
    finally:
        correlation.reset(token)
    logger("test").info("outside")
    assert [line.get("correlation_id") for line in log_lines.read()] == [current, current, None]


def test_only_what_looks_like_a_correlation_id_is_taken_over() -> None:
    current = new_id()
    assert accept_correlation(current) == current
    for odd in (None, "", "x", current + "\n", current + "x", "\u0661" * 22, " " + current[1:]):
        assert accept_correlation(odd) != odd
        assert len(accept_correlation(odd)) == 22


def test_libraries_are_heard_from_warning_on(log_lines: LogLines) -> None:
    library = logging.getLogger("library")
    library.info("chatter")
    library.warning("the %s is %s", "disk", "full")
    lines = log_lines.read()
    assert [(line["event"], line["logger"], line["level"]) for line in lines] == [
        ("the disk is full", "library", "warning")
    ]


def test_a_level_that_does_not_exist_is_said_in_one_line() -> None:
    with pytest.raises(SystemExit, match=r"^stagedoor: setting STAGEDOOR_LOG_LEVEL: one of debug, info"):
        configure_logging("test", "loud")


def test_the_course_of_a_failure_has_lines_and_types_and_no_message() -> None:
    said = "hunter2"

    def inner() -> None:
        raise KeyError(said)

    def outer() -> None:
        try:
            inner()
        except KeyError as missing:
            raise ValueError(said) from missing

    with pytest.raises(ValueError, match=said) as raised:
        outer()
    course = course_of(raised.value)
    assert "builtins.ValueError" in course
    assert "builtins.KeyError" in course
    assert "inner()" in course
    assert said not in course


def test_the_course_of_a_failure_that_is_its_own_cause_ends() -> None:
    failure = ValueError()
    other = KeyError()
    failure.__cause__, other.__cause__ = other, failure
    assert course_of(failure).count("builtins.") == 2


def test_a_failure_that_is_logged_as_such_loses_its_secrets(log_lines: LogLines) -> None:
    try:
        int(f"cannot parse {JWT}")
    except ValueError:
        logger("test").exception("failed")
        logging.getLogger("library").exception("failed")
    lines = log_lines.named("failed")
    assert ["ValueError" in line["exception"] for line in lines] == [True, True]
    assert JWT not in log_lines.text
    json.loads(log_lines.text.splitlines()[0])


def test_redaction_is_a_processor_of_its_own() -> None:
    event: structlog.typing.EventDict = {"event": "x", "password": "hunter2"}
    assert redact(None, "info", event)["password"] == "[redacted]"
    assert scrub("nothing to see") == "nothing to see"
