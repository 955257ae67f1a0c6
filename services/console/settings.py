"""What the console is told."""

from datetime import timedelta
from typing import ClassVar

from pydantic import Field

from shared.settings import ServiceSettings


class ConsoleSettings(ServiceSettings):
    """It has no database and does not speak to NATS."""

    has_database: ClassVar[bool] = False

    page_seconds: int = Field(default=3600, gt=0)
    """How long a form may stay open."""
    most_sessions: int = Field(default=1000, gt=0)
    """People signed in at once; past that whoever came first has to come again."""
    most_followers: int = Field(default=32, gt=0)
    """Browsers that follow the log at once."""

    @property
    def page(self) -> timedelta:
        """The same as a span."""
        return timedelta(seconds=self.page_seconds)
