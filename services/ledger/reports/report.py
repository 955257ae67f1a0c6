"""What every report has."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from services.ledger.past import Moment, Past

Row = Mapping[str, Any]
"""A value that JSON has, or a moment, for each column."""


class Report(Protocol):
    """A report that is asked for."""

    @property
    def columns(self) -> tuple[str, ...]:
        """In order; each row has all of them."""

    @property
    def about(self) -> Mapping[str, str]:
        """What it was narrowed to, for the fact that somebody asks."""

    def rows(self, past: Past, moment: Moment) -> AsyncIterator[Row | int]:
        """The rows as of a moment; between them, how far the log has been looked through."""
