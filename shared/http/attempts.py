"""Limits what strangers may try at endpoints that everybody can reach, before any of it costs a question to the log.

A failure is charged twice: to whatever was tried (a client_id, say) *together with* the address it came from, and to
the address alone, with more room. Never to the client alone: else a stranger who fails often enough would keep it out.
What succeeds costs nothing. Where `total` is set, each request is charged to its address as well.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from math import ceil

from prometheus_client import Counter
from pydantic import Field

from shared.errors import TooManyRequests
from shared.http.client_address import ClientAddresses, Sender, network
from shared.rate_limit import Budget, RateLimit
from shared.settings import ServiceSettings

_refused = Counter("stagedoor_http_too_many_total", "Requests answered 429 before anything was looked at")

_SUBJECT_CHARACTERS = 200
"""Of a client_id that is part of a key; whoever shares so long a beginning shares a budget."""


@dataclass(frozen=True, slots=True)
class Budgets:
    """The limits, all of them settings."""

    subject: Budget
    """Failures of one address with one client."""
    address: Budget
    """Failures of one address, whatever the client."""
    total: Budget | None = None
    """All requests of one address."""


USUAL = Budgets(Budget(100, 0.5), Budget(1000, 0.05))
"""Nobody guesses 256 bits, whatever the limit. These bound what trying costs, with room for software that is broken."""


class AttemptSettings(ServiceSettings):
    """Settings of services with such endpoints."""

    client_failures: int = Field(default=USUAL.subject.burst, ge=1)
    """For one client from one address, before waiting is needed."""
    client_fade_seconds: float = Field(default=USUAL.subject.fade_seconds, gt=0)
    """After this time one failure is forgotten."""
    client_address_failures: int = Field(default=USUAL.address.burst, ge=1)
    """For one address, whatever the client."""
    client_address_fade_seconds: float = Field(default=USUAL.address.fade_seconds, gt=0)
    address_requests_per_second: float = Field(default=0, ge=0)
    """All requests of one address, ten seconds' worth of them at once; 0 for no limit."""

    @property
    def attempts(self) -> Budgets:
        """The budgets that these settings mean."""
        rate = self.address_requests_per_second
        return Budgets(
            Budget(self.client_failures, self.client_fade_seconds),
            Budget(self.client_address_failures, self.client_address_fade_seconds),
            Budget(ceil(rate * 10), 1 / rate) if rate else None,
        )


class Attempts:
    """Admits requests, and remembers failures."""

    def __init__(self, addresses: ClientAddresses, budgets: Budgets) -> None:
        self._addresses = addresses
        self._subjects = RateLimit(budgets.subject)
        self._places = RateLimit(budgets.address)
        self._total = None if budgets.total is None else RateLimit(budgets.total)

    def __len__(self) -> int:
        return len(self._subjects) + len(self._places)

    @property
    def watching(self) -> bool:
        """Whether anybody has failed lately, or all requests are counted; else nobody's address has to be known."""
        return len(self) > 0 or self._total is not None

    def check(self, sender: Sender, *subjects: tuple[str, str]) -> None:
        """Raises `TooManyRequests` if one of the subjects (what is tried, and with which client) has no budget left."""
        if not self.watching:
            return
        place = network(self._addresses.of(sender))
        try:
            if self._total is not None:
                self._total.take(place)
            self._places.check(place)
            for subject in subjects:
                self._subjects.check(_key(subject, place))
        except TooManyRequests:
            _refused.inc()
            raise

    def failed(self, sender: Sender, *subjects: tuple[str, str]) -> None:
        """Charge one failure to the address, and to each of the subjects from there."""
        place = network(self._addresses.of(sender))
        self._places.failed(place)
        for subject in subjects:
            self._subjects.failed(_key(subject, place))


def _key(subject: tuple[str, str], place: str) -> Hashable:
    what, client_id = subject
    return what, client_id[:_SUBJECT_CHARACTERS], place
