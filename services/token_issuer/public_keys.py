"""The public halves of the signing keys, as the log has them: what a process needs that checks tokens and signs none.

It follows the log, so that it has heard of a change within moments.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from services.token_issuer.domain.signing_keys import KeyState
from services.token_issuer.events import KeyUse
from services.token_issuer.read_model import Questions
from services.token_issuer.signing import FOR_APPLICATIONS
from services.token_issuer.signing_key_tables import KeptKey
from shared.errors import Refusal, Unavailable
from shared.telemetry import logger
from shared.wake import Wake
from stagedoor.clock import since_boot
from stagedoor.keys import PublicKey, parse_jwk

_log = logger(__name__)

PUBLISHED: Final = frozenset({KeyState.PENDING, KeyState.ACTIVE, KeyState.RETIRING})
_LOOK_EVERY: Final = 1.0
_LEAST_BETWEEN: Final = 0.2
"""Seconds between two looks, however often the log grows or somebody asks for an unknown key."""


class PublicKeys:
    """The keys, as this process knows them. As a `stagedoor.keys.KeySource` it has those of access tokens."""

    lifetime = _LOOK_EVERY
    """Seconds for which a Guard may take it to be current."""
    private = False
    """Whether it reads the private halves, too."""

    def __init__(self, questions: Questions) -> None:
        self._questions = questions
        self._kept: Sequence[KeptKey] = ()
        self._public: dict[KeyUse, dict[str, PublicKey]] = {use: {} for use in KeyUse}
        self._retired: dict[str, PublicKey] = {}
        self._looked_at = float("-inf")
        self._looking = asyncio.Lock()
        self._reached = True

    @property
    def loaded(self) -> bool:
        """Whether there is a key to check access tokens with."""
        return bool(self._public[KeyUse.ACCESS_TOKEN])

    def find(self, kid: str) -> PublicKey | None:
        """The public key of this id, if it is one for access tokens."""
        return self._public[KeyUse.ACCESS_TOKEN].get(kid)

    def find_for_id_tokens(self, kid: str) -> PublicKey | None:
        """The public key of this id, if it is or was one for ID tokens of any algorithm.

        An ID token that comes back as a hint may be old. It only says who is meant, and the private half of a retired
        key is deleted.
        """
        for use in FOR_APPLICATIONS.values():
            if (key := self._public[use].get(kid)) is not None:
                return key
        return self._retired.get(kid)

    def list(self) -> Sequence[KeptKey]:
        """All keys there ever were, oldest first."""
        return self._kept

    async def run(self, wake: Wake) -> None:
        """Follow the log until cancelled."""
        while True:
            mark = wake.mark
            try:
                await self.prepare()
                self._is(reached=True)
            except Refusal as refusal:
                self._is(reached=False, reason=refusal.code)
            await asyncio.sleep(_LEAST_BETWEEN)
            await wake.after(mark, _LOOK_EVERY - _LEAST_BETWEEN)

    async def prepare(self) -> None:
        """Load the keys. Raises `LogUnavailable`."""
        await self.look()

    async def refresh(self, *, told: bool = False) -> None:  # noqa: ARG002  (a look here costs little, whatever for)
        """Look for keys that another replica has brought, unless that was done since this was called."""
        asked_at = since_boot()
        async with self._looking:
            if self._looked_at >= asked_at:
                return
            await asyncio.sleep(max(0.0, self._looked_at + _LEAST_BETWEEN - since_boot()))
            try:
                await self._look()
            except Unavailable:
                self._is(reached=False)

    async def look(self) -> datetime:
        """Look the keys up now, and answer the time. Raises `LogUnavailable`."""
        async with self._looking:
            return await self._look()

    async def _look(self) -> datetime:
        asked_at = since_boot()
        now, kept = await self._questions.keys.all(private=self.private)
        self._take_in(kept)
        self._looked_at = asked_at
        return now

    def _take_in(self, kept: Sequence[KeptKey]) -> None:
        public: dict[KeyUse, dict[str, PublicKey]] = {use: {} for use in KeyUse}
        retired: dict[str, PublicKey] = {}
        for key in kept:
            if key.state in PUBLISHED:
                public[key.use][key.kid] = self._public_of(key)
            elif key.state is KeyState.RETIRED and key.use is not KeyUse.ACCESS_TOKEN:
                retired[key.kid] = self._public_of(key)
        self._kept, self._public, self._retired = kept, public, retired

    def _public_of(self, kept: KeptKey) -> PublicKey:
        # The same object for as long as the key is the same: a Guard holds on to it.
        known = self._public[kept.use].get(kept.kid) or self._retired.get(kept.kid) or parse_jwk(kept.public_jwk)
        if known is None:
            raise ValueError(f"the public half of signing key {kept.kid} cannot be read")
        return known

    def _is(self, *, reached: bool, reason: str = "") -> None:
        if reached != self._reached:
            _log.info("keys_followed") if reached else _log.warning("keys_out_of_reach", reason=reason)
        self._reached = reached
