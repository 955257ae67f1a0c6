"""Comma-separated values (RFC 4180) that a spreadsheet reads as text and nothing else.

A cell that begins like a formula is one to a spreadsheet, wherever the file came from; names of applications and
reasons are written by people. Such a cell gets an apostrophe in front, which spreadsheets take for "this is text"
(owasp.org/www-community/attacks/CSV_Injection). Programs that need the values as they are read `--json`.
"""

import csv
import json
import sys
from collections.abc import Sequence
from typing import Any, Final

_BEGINS_A_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""The last four are what some spreadsheets read as the first four."""


class Sheet:
    """Rows on standard output, one at a time."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._writer = csv.writer(sys.stdout, lineterminator="\r\n", quoting=csv.QUOTE_MINIMAL)
        self._writer.writerow([cell(name) for name in columns])

    def add(self, row: dict[str, Any]) -> None:
        """One more row."""
        self._writer.writerow([cell(row.get(name)) for name in self._columns])


def cell(value: object) -> str:
    """A value as a cell: what is empty as nothing, lists of words with spaces between them, the rest as JSON."""
    if value in (None, "", [], {}):
        return ""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        text = " ".join(value)
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    text = text.replace("\0", "�")
    # What some spreadsheets skip at the beginning does not hide what comes after it.
    return f"'{text}" if text.lstrip(" \u00a0\ufeff\u200b").startswith(_BEGINS_A_FORMULA) else text
