"""Slowing down those who guess passwords, or the codes of devices, without letting anybody lock somebody else out.

A budget belongs to an account *together with* where the attempt comes from, never to the account alone: else a
stranger who fails often enough would keep Freddie out. So there are three budgets:

- a device that this account has signed in from before (it holds a signed cookie) and the account;
- without such a cookie: the network address and the account;
- without such a cookie: the network address, for any account, larger: who tries one password on many names.

Whoever guesses the codes that devices show is slowed down in the same way, by budgets of the same size.

A device that is known is not charged to its address, so a neighbour behind the same address cannot lock its owner out
either. Names that do not exist are counted like names that do. An attempt is charged before the password is looked
at, so many at once get no more guesses than one after the other; a sign-in that succeeds gives it back. Failures
fade one by one with time, and nothing that is refused is charged, so waiting helps however often somebody knocks.

The counters are rows in a table that every replica shares. They are changed in place, unlike everything else: they
are derived from no fact and are worth none after an hour, and an append for each guess would let strangers fill
the log. Accounts and addresses stand there as keyed digests.

What this does not do: a guesser with very many addresses gets a budget for each. The cost of one verification, the
length that passwords must have and second factors stand against that; a limit for the account alone would hand the same
guesser the means to lock its owner out.

Codes of a second factor have budgets of their own, of the same three kinds, and one more: the account, wherever the
attempt comes from. A code has six digits, so who has the password and very many addresses would find one; and only who
has the password gets that far, so this limit locks nobody out from outside. A known device is not charged to it either.

Of a passkey nothing can be guessed: what turns out to be none is charged to its address alone.
"""

import math
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from prometheus_client import Counter

from shared.clock import Clock
from shared.errors import Kind, Refusal
from shared.http.client_address import network
from shared.ids import keyed_digest, new_id, same
from shared.keys import MasterKey
from shared.log.connections import Connections
from shared.log.event import Delete
from shared.questions import ask

_THROTTLED = Counter(
    "stagedoor_identity_sign_in_throttled_total",
    "Sign-ins, second factors, passkeys and codes of devices, refused without looking at them",
)

FAILURES = "identity.sign_in_failures"

ACCOUNTS_OF_A_DEVICE = 5
"""How many accounts one device cookie can vouch for; the oldest goes first."""


class Throttled(Refusal):
    """Too many failures; the password was not looked at."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(
            Kind.EXHAUSTED, "too_many_attempts", "There were too many attempts. Wait a little, then try again."
        )
        self.retry_after = retry_after
        """Seconds until one more attempt is admitted."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How many failures there may be, and how fast they fade."""

    failures: int
    fade: timedelta
    """Time after which one failure is forgotten."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The budgets, all of them settings."""

    device: Budget = Budget(10, timedelta(seconds=60))
    address: Budget = Budget(10, timedelta(seconds=60))
    address_any_account: Budget = Budget(100, timedelta(seconds=10))
    second_factor: Budget = Budget(10, timedelta(seconds=300))
    """Of one account, from all devices that it does not know."""


@dataclass(frozen=True, slots=True)
class _Counter:
    account: str
    device: str
    address: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """A charged attempt; one that succeeds is given back."""

    account: str
    counters: tuple[_Counter, ...]


class Throttle:
    """Charges attempts to budgets."""

    def __init__(self, pool: Connections, master: MasterKey, limits: Limits, clock: Clock) -> None:
        self._pool = pool
        self._digest_key = master.derive("throttle")
        self._device_key = master.derive("known-devices")
        self._limits = limits
        self._clock = clock

    async def admit(self, user_name: str, device_cookie: str | None, address: str) -> Attempt:
        """Charge one attempt to sign in with this (normalised) name. Raises `Throttled`; then nothing is charged."""
        account = self._digest("account", user_name)
        device = self._known_device(device_cookie, account)
        if device is not None:
            counters: tuple[_Counter, ...] = (_Counter(account, device, ""),)
        else:
            place = self._digest("address", network(address))
            counters = (
                _Counter("", "", place),
                _Counter(account, "", place),
            )
        return await self._admitted(account, counters)

    async def admit_second_factor(self, user_name: str, device_cookie: str | None, address: str) -> Attempt:
        """Charge one attempt at the second factor of who has proved the first. Raises `Throttled`, as `admit`."""
        account = self._digest("account", user_name)
        second = self._digest("second-factor", user_name)
        device = self._known_device(device_cookie, account)
        if device is not None:
            return await self._admitted(account, (_Counter(second, device, ""),))
        place = self._digest("address", network(address))
        counters = (_Counter("", "", place), _Counter(second, "", place), _Counter(second, "", ""))
        return await self._admitted(account, counters)

    async def admit_passkey(self, address: str) -> Attempt:
        """Charge one passkey that may turn out to be none to the network address. Raises `Throttled`, as `admit`.

        Nothing about it can be guessed, so no account has a budget for it that somebody else could use up.
        """
        return await self._admitted("", (_Counter("", "", self._digest("address", network(address))),))

    def of_account(self, attempt: Attempt, user_name: str) -> Attempt:
        """The same attempt, now that it is known whose (normalised) name it was for."""
        return Attempt(self._digest("account", user_name), attempt.counters)

    async def admit_user_code(self, sub: str, address: str) -> Attempt:
        """Charge one attempt to name a device by its user code (RFC 8628 section 5.1). Raises `Throttled`.

        To the account that is signed in; without one (`sub` is empty), to the network address; and in either case to
        the address once more, with more room. None of it is what failed sign-ins are charged to.
        """
        place = self._digest("user-codes-from", network(address))
        own = _Counter(self._digest("user-codes-by", sub), "", "anywhere" if sub else place)
        return await self._admitted(own.account, (_Counter("", "", place), own))

    async def succeeded(self, attempt: Attempt) -> None:
        """The password was right: the attempt costs nothing."""
        await self._give_back(attempt.counters)

    def forgetting(self, user_name: str) -> tuple[Delete, ...]:
        """The row changes that forget what was counted for a (normalised) name, wherever it came from."""
        return tuple(
            Delete(FAILURES, {"account": self._digest(what, user_name)}) for what in ("account", "second-factor")
        )

    def remember(self, device_cookie: str | None, attempt: Attempt) -> str:
        """The cookie of a device that has just signed in to the account: what it was, and this account."""
        device, tags = _parse(device_cookie)
        kept = [tag for tag in tags if device and self._known(device, tag)]
        device = device if kept else new_id()
        tag = self._tag(device, attempt.account)
        return ".".join([device, tag, *[other for other in kept if other != tag][: ACCOUNTS_OF_A_DEVICE - 1]])

    async def _admitted(self, account: str, counters: tuple[_Counter, ...]) -> Attempt:
        if (wait := await self._charge(counters)) is not None:
            _THROTTLED.inc()
            raise Throttled(wait)
        return Attempt(account, counters)

    def _known_device(self, device_cookie: str | None, account: str) -> str | None:
        device, tags = _parse(device_cookie)
        expected = self._tag(device, account)
        return device if any(same(tag, expected) for tag in tags) else None

    def _tag(self, device: str, account: str) -> str:
        """A short name of the account and its seal, so that each can be checked without knowing the others."""
        short = account[:16]
        return short + _text(keyed_digest(self._device_key, "known-device", f"{device}.{short}"))

    def _known(self, device: str, tag: str) -> bool:
        return same(tag, self._tag(device, tag[:16]))

    def _digest(self, purpose: str, value: str) -> str:
        return _text(keyed_digest(self._digest_key, purpose, value))

    async def _charge(self, counters: Sequence[_Counter]) -> float | None:
        """Charge all of them, or none and answer how many seconds to wait."""
        now = self._clock()
        columns = _columns(counters)
        fades, most = self._fades, self._most
        rows = await ask(self._pool.fetch(_CHARGE, *columns, now, fades, most))
        if len(rows) == len(counters):
            return None
        charged = {(row["account"], row["device"], row["address"]) for row in rows}
        await self._give_back([one for one in counters if (one.account, one.device, one.address) in charged])
        waits = await ask(self._pool.fetch(_WAIT, *columns, now, fades, most))
        return max([1.0, *(float(math.ceil(row["seconds"])) for row in waits)])

    async def _give_back(self, counters: Sequence[_Counter]) -> None:
        """Undo one charge of each, and take the chance to forget a few counters that have faded."""
        longest = max(budget.failures * budget.fade for budget in self._budgets)
        await ask(self._pool.execute(_GIVE_BACK, *_columns(counters), self._clock() - longest))

    @property
    def _budgets(self) -> tuple[Budget, ...]:
        """In the order of `_KIND`."""
        limits = self._limits
        return limits.device, limits.address_any_account, limits.address, limits.second_factor

    @property
    def _fades(self) -> list[float]:
        return [budget.fade.total_seconds() for budget in self._budgets]

    @property
    def _most(self) -> list[float]:
        return [float(budget.failures) for budget in self._budgets]


def _columns(counters: Sequence[_Counter]) -> tuple[list[str], list[str], list[str]]:
    return [one.account for one in counters], [one.device for one in counters], [one.address for one in counters]


_KIND = "CASE WHEN f.device <> '' THEN 1 WHEN f.account = '' THEN 2 WHEN f.address <> '' THEN 3 ELSE 4 END"
"""SQL: which budget a counter has."""
_FADE = f"($5::double precision[])[{_KIND}]"
"""SQL: the seconds in which one failure of it fades."""
_FADED = f"greatest(0, f.failures - greatest(0, extract(epoch FROM $4::timestamptz - f.counted_at)) / {_FADE})"
"""SQL: how many failures are left of counter `f` at $4."""
_CHARGE = f"""
INSERT INTO identity.sign_in_failures AS f (account, device, address, failures, counted_at)
SELECT c.account, c.device, c.address, 1, $4
  FROM unnest($1::text[], $2::text[], $3::text[]) c(account, device, address)
 ORDER BY c.account, c.device, c.address
    ON CONFLICT (account, device, address) DO UPDATE
   SET failures = {_FADED} + 1, counted_at = greatest(f.counted_at, $4)
 WHERE {_FADED} + 1 <= ($6::double precision[])[{_KIND}]
RETURNING account, device, address
"""  # noqa: S608  (put together from constants)
"""Answers which were charged. Rows are locked in the order of their key, here and below: nobody waits in a ring."""
_WAIT = f"""
SELECT ({_FADED} + 1 - ($6::double precision[])[{_KIND}]) * {_FADE} AS seconds
  FROM identity.sign_in_failures f
  JOIN unnest($1::text[], $2::text[], $3::text[]) c(account, device, address) USING (account, device, address)
"""  # noqa: S608  (put together from constants)
_GIVE_BACK = """
WITH mine AS (
    SELECT f.account, f.device, f.address FROM identity.sign_in_failures f
      JOIN unnest($1::text[], $2::text[], $3::text[]) c(account, device, address) USING (account, device, address)
     ORDER BY f.account, f.device, f.address FOR UPDATE OF f
), undone AS (
    UPDATE identity.sign_in_failures f SET failures = greatest(0, f.failures - 1) FROM mine m
     WHERE (f.account, f.device, f.address) = (m.account, m.device, m.address)
)
DELETE FROM identity.sign_in_failures WHERE (account, device, address) IN (
    SELECT account, device, address FROM identity.sign_in_failures WHERE counted_at < $4
     ORDER BY counted_at LIMIT 50 FOR UPDATE SKIP LOCKED)
"""


def _parse(cookie: str | None) -> tuple[str, list[str]]:
    if cookie is None or len(cookie) > 600:
        return "", []
    device, *tags = cookie.split(".")
    if len(device) != 22 or len(tags) > ACCOUNTS_OF_A_DEVICE or not cookie.isascii():
        return "", []
    return device, tags


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")
