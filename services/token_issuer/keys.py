"""The issuer's key ring: the keys that sign, and the public ones for everybody.

It follows the log, so that every replica has heard of a change within moments. For longer than a bound it acts on
nothing that it could not look up again: it then signs and publishes nothing.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

import msgspec

from services.token_issuer.domain.signing_keys import KeyState
from services.token_issuer.events import KeyUse
from services.token_issuer.key_changes import KeyChanges, Rotated
from services.token_issuer.read_model import KeptKey, Questions
from services.token_issuer.settings import KeyRules
from services.token_issuer.signing import SigningKey
from services.token_issuer.vault import Wrapping
from shared.denials import DenialKind
from shared.errors import Kind, Refusal, Unavailable
from shared.ids import new_command_id
from shared.keys import MasterKey
from shared.log.append import Context
from shared.log.log import Log
from shared.telemetry import logger, new_correlation
from shared.wake import Wake
from stagedoor.clock import since_boot
from stagedoor.keys import PublicKey, parse_jwk

_log = logger(__name__)

_PUBLISHED = frozenset({KeyState.PENDING, KeyState.ACTIVE, KeyState.RETIRING})
_LOOK_EVERY = 1.0
_LEAST_BETWEEN = 0.2
"""Seconds between two looks, however often the log grows or somebody asks for an unknown key."""


@dataclass(frozen=True, slots=True)
class Signers:
    """The keys that sign now."""

    access_token: SigningKey
    id_token: SigningKey

    @property
    def parties(self) -> tuple[tuple[DenialKind, str], ...]:
        """Whose denial stops what they are to sign."""
        return ((DenialKind.KEY, self.access_token.kid), (DenialKind.KEY, self.id_token.kid))


class KeyRing:
    """The keys, as this replica knows them. As a `stagedoor.keys.KeySource` it has those of access tokens."""

    lifetime = _LOOK_EVERY
    """Seconds for which a Guard may take it to be current."""

    def __init__(self, log: Log, questions: Questions, master: MasterKey, rules: KeyRules) -> None:
        self._questions = questions
        self._wrapping = Wrapping(master)
        self._rules = rules
        self._changes = KeyChanges(log, self._wrapping, rules)
        self._kept: Sequence[KeptKey] = ()
        self._signers: dict[KeyUse, SigningKey] = {}
        self._public: dict[KeyUse, dict[str, PublicKey]] = {use: {} for use in KeyUse}
        self._retired: dict[str, PublicKey] = {}
        self._jwks = b'{"keys":[]}'
        self._looked_at = float("-inf")
        self._looking = asyncio.Lock()
        self._reached = True

    # What is known

    @property
    def loaded(self) -> bool:
        """Whether there is a key for every use."""
        return len(self._signers) == len(KeyUse)

    @property
    def current(self) -> bool:
        """Whether that may be acted on."""
        return self.loaded and since_boot() - self._looked_at <= self._rules.known.total_seconds()

    @property
    def jwks(self) -> bytes:
        """The JWK set (RFC 7517), as published; `Unavailable` if it is not whole, or not current: it will be kept."""
        self._check()
        return self._jwks

    @property
    def jwks_seconds(self) -> int:
        """How long who fetches the JWK set may keep it."""
        return int(self._rules.jwks_cache.total_seconds())

    def signer(self, use: KeyUse) -> SigningKey:
        """The key that signs; `Unavailable` if there is none, or it is not known whether it still is the one."""
        self._check()
        return self._signers[use]

    async def signers(self) -> Signers:
        """The keys that sign, looked up if that was too long ago; raises as `signer`."""
        await self.renew()
        return Signers(self.signer(KeyUse.ACCESS_TOKEN), self.signer(KeyUse.ID_TOKEN))

    def find(self, kid: str) -> PublicKey | None:
        """The public key of this id, if it is one for access tokens."""
        return self._public[KeyUse.ACCESS_TOKEN].get(kid)

    def find_for_id_tokens(self, kid: str) -> PublicKey | None:
        """The public key of this id, if it is or was one for ID tokens.

        An ID token that comes back as a hint may be old. It only says who is meant, and the private half of a retired
        key is deleted.
        """
        return self._public[KeyUse.ID_TOKEN].get(kid) or self._retired.get(kid)

    def list(self) -> Sequence[KeptKey]:
        """All keys there ever were, oldest first."""
        return self._kept

    def _check(self) -> None:
        if not self.loaded:
            raise Unavailable("no_signing_key", "there is no key to sign with yet")
        if not self.current:
            raise Unavailable("keys_too_stale", "the signing keys have not been looked up recently enough")

    # Keeping it current

    async def prepare(self) -> None:
        """Load the keys, making those that are missing. Raises `LogUnavailable`."""
        await self._tend(await self.look())

    async def run(self, wake: Wake) -> None:
        """Follow the log, and do what the time has come for, until cancelled."""
        while True:
            mark = wake.mark
            try:
                await self.prepare()
                self._is(reached=True)
            except Refusal as refusal:
                self._is(reached=False, reason=refusal.code)
            await asyncio.sleep(_LEAST_BETWEEN)
            await wake.after(mark, _LOOK_EVERY - _LEAST_BETWEEN)

    async def renew(self) -> None:
        """Look the keys up if that was too long ago. Raises `LogUnavailable`."""
        if not self.current:
            await self.look()

    async def refresh(self) -> None:
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
        now, kept = await self._questions.keys()
        public: dict[KeyUse, dict[str, PublicKey]] = {use: {} for use in KeyUse}
        retired: dict[str, PublicKey] = {}
        for key in kept:
            if key.state in _PUBLISHED:
                public[key.use][key.kid] = self._public_of(key)
            elif key.state is KeyState.RETIRED and key.use is KeyUse.ID_TOKEN:
                retired[key.kid] = self._public_of(key)
        self._signers = {key.use: self._signer_of(key) for key in kept if key.state is KeyState.ACTIVE}
        self._kept, self._public, self._retired = kept, public, retired
        self._jwks = msgspec.json.encode({"keys": [key.public_jwk for key in kept if key.state in _PUBLISHED]})
        self._looked_at = asked_at
        return now

    def _public_of(self, kept: KeptKey) -> PublicKey:
        # The same object for as long as the key is the same: a Guard holds on to it.
        known = self._public[kept.use].get(kept.kid) or self._retired.get(kept.kid) or parse_jwk(kept.public_jwk)
        if known is None:
            raise ValueError(f"the public half of signing key {kept.kid} cannot be read")
        return known

    def _signer_of(self, kept: KeptKey) -> SigningKey:
        known = self._signers.get(kept.use)
        return known if known is not None and known.kid == kept.kid else self._wrapping.unwrap(kept)

    # What is done to the keys

    async def rotate(self, use: KeyUse, context: Context) -> Rotated:
        """Announce a successor to the active key of this use."""
        rotated = await self._changes.rotate(use, await self.look(), context)
        await self.look()
        return rotated

    async def compromise(self, kid: str, context: Context) -> int:
        """Withdraw a key, and all that it signed, at once; answers the position."""
        await self.look()
        found = next((key for key in self._kept if key.kid == kid), None)
        if found is None:
            raise Refusal(Kind.NOT_FOUND, "key_not_found", "there is no signing key with this id")
        position = await self._changes.compromise(kid, found.use, context)
        await self.look()
        return position

    async def _tend(self, now: datetime) -> None:
        """What the time has come for. Another replica may do it at the same moment; it is done once."""
        changed = False
        by_use = {use: [key for key in self._kept if key.use is use] for use in KeyUse}
        for use, keys in by_use.items():
            active = next((key for key in keys if key.state is KeyState.ACTIVE), None)
            if active is None:
                await self._changes.introduce(use, _by_itself())
                changed = True
            elif self._is_old(active, now) and not any(key.state is KeyState.PENDING for key in keys):
                await self._changes.rotate(use, now, _by_itself(), instead_of=active.kid)
                changed = True
        if any(_is_due(key, now) for key in chain.from_iterable(by_use.values())):
            await self._changes.settle(now, _by_itself())
            changed = True
        if changed:
            await self.look()

    def _is_old(self, active: KeptKey, now: datetime) -> bool:
        return now >= (active.activated_at or active.announced_at) + self._rules.rotation

    def _is(self, *, reached: bool, reason: str = "") -> None:
        if reached != self._reached:
            _log.info("keys_followed") if reached else _log.warning("keys_out_of_reach", reason=reason)
        self._reached = reached


def _is_due(key: KeptKey, now: datetime) -> bool:
    if key.state is KeyState.PENDING:
        return key.use_from is None or now >= key.use_from
    return key.state is KeyState.RETIRING and (key.retire_from is None or now >= key.retire_from)


def _by_itself() -> Context:
    return Context("service:token_issuer", new_correlation(), new_command_id())
