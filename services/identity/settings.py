"""What the identity service is told from outside, beside what all services are told."""

from datetime import timedelta
from pathlib import Path

from pydantic import Field

from services.identity.passwords import Argon2Parameters
from services.identity.throttle import Budget, Limits
from shared.http.attempts import AttemptSettings


class IdentitySettings(AttemptSettings):
    """`STAGEDOOR_*`; durations are in seconds."""

    argon2_time_cost: int = Field(default=2, ge=1)
    argon2_memory_kib: int = Field(default=19456, ge=8)
    argon2_parallelism: int = Field(default=1, ge=1)
    password_workers: int = Field(default=2, ge=1)
    """Passwords that are looked at side by side; each takes `argon2_memory_kib`."""
    password_queue: int = Field(default=64, ge=0)
    """How many more may wait; past that the answer is 503."""

    session_idle_seconds: int = Field(default=12 * 3600, ge=60)
    session_seconds: int = Field(default=7 * 24 * 3600, ge=60)
    """Absolute length of a session."""
    page_seconds: int = Field(default=3600, ge=60)
    """How long a page that was opened can still be used."""

    sign_in_failures: int = Field(default=10, ge=1)
    """For one account from one device or address, before waiting is needed."""
    sign_in_fade_seconds: int = Field(default=60, ge=1)
    """After this time one failure is forgotten."""
    address_failures: int = Field(default=100, ge=1)
    """For one address, whatever the account."""
    address_fade_seconds: int = Field(default=10, ge=1)

    deploy_secret_file: Path | None = None
    """The one-time secret for `stagedoor bootstrap`; None: it cannot be claimed."""

    @property
    def argon2(self) -> Argon2Parameters:
        """Cost of one hash."""
        return Argon2Parameters(self.argon2_time_cost, self.argon2_memory_kib, self.argon2_parallelism)

    @property
    def limits(self) -> Limits:
        """The budgets of failed sign-ins."""
        own = Budget(self.sign_in_failures, timedelta(seconds=self.sign_in_fade_seconds))
        return Limits(own, own, Budget(self.address_failures, timedelta(seconds=self.address_fade_seconds)))
