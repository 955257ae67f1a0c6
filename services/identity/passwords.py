"""Hashing and checking passwords with argon2id, in a small pool of threads of its own.

A verification costs tens of milliseconds and 19 MiB on purpose (OWASP's recommended parameters), so it runs beside
the event loop (the library lets go of the interpreter lock), a few at a time, and only so many may wait: past
that the answer is "try again", which keeps a flood of sign-ins from exhausting memory or from delaying everybody.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError
from prometheus_client import Counter, Gauge

from services.identity.domain.names import normalised_password, plausible_password
from shared.errors import Unavailable
from shared.ids import new_secret

T = TypeVar("T")

_VERIFIED = Counter("stagedoor_identity_password_verifications_total", "Passwords compared with a hash")
_REFUSED = Counter("stagedoor_identity_password_queue_full_total", "Passwords not looked at because too many waited")
_PENDING = Gauge("stagedoor_identity_passwords_pending", "Passwords being hashed or compared, or waiting for it")


@dataclass(frozen=True, slots=True)
class Argon2Parameters:
    """Cost of one hash (RFC 9106)."""

    time_cost: int = 2
    memory_kib: int = 19456
    parallelism: int = 1


class Passwords:
    """The only place that sees passwords."""

    def __init__(self, parameters: Argon2Parameters, *, workers: int, queue: int) -> None:
        self._hasher = PasswordHasher(
            time_cost=parameters.time_cost,
            memory_cost=parameters.memory_kib,
            parallelism=parameters.parallelism,
            hash_len=32,
            salt_len=16,
            type=Type.ID,
        )
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="password")
        self._limit = workers + queue
        self._pending = 0
        self.verifications = 0
        """How many times a password was compared with a hash since the start, whatever the result."""
        # Stands in where there is no user or no password, so that the answer takes the same work.
        self._nobody = self._hasher.hash(new_secret())

    async def hash(self, password: str) -> str:
        """The hash to keep, in PHC format. Raises `Unavailable` if too many wait already."""
        return await self._run(lambda: self._hasher.hash(normalised_password(password)))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether this is the password; with None for a hash it is not, after the same work.

        Raises `Unavailable` if too many wait already.
        """
        plausible = plausible_password(password)
        candidate = normalised_password(password) if plausible else ""
        right = await self._run(lambda: self._verify(stored or self._nobody, candidate))
        self.verifications += 1
        _VERIFIED.inc()
        return right and plausible and stored is not None

    def outdated(self, stored: str) -> bool:
        """Whether the hash was made with other parameters than those of today."""
        return self._hasher.check_needs_rehash(stored)

    def close(self) -> None:
        """Let go of the threads; what waits is dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _verify(self, stored: str, candidate: str) -> bool:
        try:
            return self._hasher.verify(stored, candidate)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._pending >= self._limit:
            _REFUSED.inc()
            raise Unavailable("too_many_sign_ins", "too many people are signing in at this moment", retry_after=2)
        self._pending += 1
        _PENDING.set(self._pending)
        loop = asyncio.get_running_loop()
        future = self._pool.submit(work)
        # Counted until the thread is done, also when nobody waits any more: that is what the bound is about.
        future.add_done_callback(lambda _: self._release(loop))
        return await asyncio.wrap_future(future, loop=loop)

    def _release(self, loop: asyncio.AbstractEventLoop) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._released)

    def _released(self) -> None:
        self._pending -= 1
        _PENDING.set(self._pending)
