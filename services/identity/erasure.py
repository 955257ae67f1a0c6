"""Erasing a person: nothing is left that tells who they were.

What the log says of them is ciphertext, so deleting their key erases them from the whole log, and every proof over it
still holds. The key, the secrets in the vault, what passkeys are checked with and the rows that hold personal data go
in the same statement that writes the fact. The fact denies the subject for ever: no session, token or grant of theirs
is accepted any more. The name was taken for ever when they were registered, as a keyed digest, so nobody else is ever
taken for them.

The fact stays, and with it the user's `sub`. So a back-up of the keys from before can be put back without bringing
anybody back: what it holds of erased users is not used, and is destroyed again.
"""

import asyncio
import random

import asyncpg
from prometheus_client import Counter

from services.identity.domain.user import USER, EraseUser
from services.identity.events import Role, UserErased
from services.identity.read_model import (
    ACTIVITY,
    PASSKEY_CREDENTIALS,
    PERSONAL_KEYS,
    VAULT,
    Questions,
    project,
)
from services.identity.throttle import Throttle
from shared.denials import DenialKind
from shared.errors import Kind, Refusal
from shared.handle import Guards, handle
from shared.log.append import AsOf, Context, Fence, LogUnavailable
from shared.log.event import Delete, RowChange
from shared.log.log import Log, Stream
from shared.questions import OUT_OF_REACH
from shared.telemetry import logger

_log = logger(__name__)
_DESTROYED_AGAIN = Counter(
    "stagedoor_identity_destroyed_again_total", "Keys and secrets of erased users that a back-up had brought back."
)

_AGAIN_SECONDS = 300.0
_FAILED = (LogUnavailable, *OUT_OF_REACH, asyncpg.PostgresError)


class Erasure:
    """Erases users, and sees to it that they stay so."""

    def __init__(self, log: Log, questions: Questions, throttle: Throttle) -> None:
        self._log = log
        self._questions = questions
        self._throttle = throttle

    async def erase(self, sub: str, context: Context, *, by: str) -> int:
        """Erase a user; answers the position, that of then if they were erased before.

        `by` is the `sub` of the administrator who does it. They have to be one at that very moment: of two who erase
        each other one stays. Raises `Refusal` NOT_FOUND, PRECONDITION for oneself, FORBIDDEN.
        """

        async def guarding(_: Stream) -> Guards:
            administrator = await self._questions.user(by)
            if administrator is None or not administrator.enabled or Role.ADMINISTRATOR not in administrator.roles:
                raise Refusal(Kind.FORBIDDEN, "role_missing", f"this needs the role {Role.ADMINISTRATOR.value}")
            fence = Fence(AsOf(administrator.epoch, {"identity": administrator.position}), ((DenialKind.SUBJECT, by),))
            return Guards(fence=fence, rows=tuple(await self._what_goes(sub)))

        handled = await handle(self._log, USER, sub, EraseUser(by), context=context, project=project, guarding=guarding)
        if handled.appended is None and not all(isinstance(event, UserErased) for event in handled.events):
            raise Refusal(Kind.CONFLICT, "idempotency_key_reused", "the idempotency key was used for another command")
        return handled.position

    async def destroy_again(self) -> None:
        """Destroy keys and secrets of erased users that are there although they should not be."""
        destroyed = await self._questions.destroy_again()
        if destroyed:
            _DESTROYED_AGAIN.inc(destroyed)
            _log.warning("erased_again", rows=destroyed)

    async def destroy_repeatedly(self) -> None:
        """Do that every few minutes, for ever: a back-up may be put back while the service runs."""
        while True:
            await asyncio.sleep(_AGAIN_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311  (spreads replicas, no secret)
            try:
                await self.destroy_again()
            except _FAILED as failure:
                _log.warning("erased_users_not_looked_for", error=type(failure).__name__)

    async def _what_goes(self, sub: str) -> list[RowChange]:
        """Rows beside those that follow from the fact: what no fact tells of the user."""
        gone: list[RowChange] = [Delete(table, {"sub": sub}) for table in (PERSONAL_KEYS, VAULT, PASSKEY_CREDENTIALS)]
        gone += [Delete(ACTIVITY, {"sid": sid}) for sid in await self._questions.sids_of(sub)]
        user = await self._questions.user(sub)
        if user is not None:
            gone += self._throttle.forgetting(user.user_name)
        return gone
