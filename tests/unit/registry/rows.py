"""Rows as the read model would answer them."""

from datetime import UTC, datetime

from services.registry.events import ApplicationSettings
from services.registry.read_model import ApplicationRow, SecretRow

REGISTERED = datetime(1986, 7, 12, 20, 0, tzinfo=UTC)


def row_of(settings: ApplicationSettings) -> ApplicationRow:
    """A registered application with one secret."""
    secret = SecretRow("secret-1", REGISTERED, None)
    return ApplicationRow("com.example/app", settings, True, REGISTERED, 7, (secret,))  # noqa: FBT003
