"""Cells that spreadsheets take for text, whatever somebody called an application."""

import csv
import io

import pytest

from services.cli.spreadsheet import Sheet, cell

FORMULAS = [
    "=1+1",
    "+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    " =1+1",
    "\u00a0=1+1",
    "\ufeff=1+1",
    "\uff1d1+1",
    '=HYPERLINK("https://evil.example","here")',
    "=cmd|' /C calc'!A0",
    "|calc",
    "%0A",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_what_begins_like_a_formula_is_text(text: str) -> None:
    assert cell(text) == f"'{text}"
    assert cell([text, "read"]).startswith("'")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        ("", ""),
        ([], ""),
        (0, "0"),
        (7, "7"),
        (True, "true"),
        (False, "false"),
        ("com.example/app", "com.example/app"),
        (["read", "update"], "read update"),
        ({"a": "=1+1"}, '{"a":"=1+1"}'),
        ([{"a": 1}], '[{"a":1}]'),
        ("a\0b", "a\ufffdb"),
    ],
)
def test_a_value_as_a_cell(value: object, expected: str) -> None:
    assert cell(value) == expected


def test_a_sheet_is_read_as_it_was_written(capsys: pytest.CaptureFixture[str]) -> None:
    sheet = Sheet(["name", "what", "missing"])
    rows = [['a "quoted", name', "two\nlines", ""], ["'=1", "", ""]]
    sheet.add({"name": rows[0][0], "what": rows[0][1]})
    sheet.add({"name": "=1", "what": None})
    written = capsys.readouterr().out
    assert list(csv.reader(io.StringIO(written, newline=""))) == [["name", "what", "missing"], *rows]
