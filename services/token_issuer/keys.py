"""The issuer's key ring: the keys that sign, and the public ones for everybody.

For longer than a bound it acts on nothing that it could not look up again: it then signs and publishes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, product

import msgspec
from prometheus_client import Gauge

from services.registry.events import ResponseAlgorithm
from services.token_issuer.domain.signing_keys import KeyState
from services.token_issuer.events import KeyUse
from services.token_issuer.key_changes import KeyChanges, Rotated
from services.token_issuer.public_keys import PUBLISHED, PublicKeys
from services.token_issuer.read_model import Questions
from services.token_issuer.settings import KeyRules
from services.token_issuer.signing import FOR_APPLICATIONS, SigningKey
from services.token_issuer.signing_key_tables import KeptKey
from services.token_issuer.vault import Wrapping
from shared.denials import DenialKind
from shared.errors import Kind, Refusal, Unavailable
from shared.ids import new_command_id
from shared.keys import MasterKey
from shared.log.append import Context
from shared.log.log import Log
from shared.telemetry import new_correlation
from stagedoor.clock import since_boot

_DUE = Gauge(
    "stagedoor_signing_key_rotation_due_timestamp_seconds",
    "When the key that signs is to be succeeded (Unix time).",
    ["use"],
)
_LOOKED = Gauge(
    "stagedoor_signing_keys_looked_up_timestamp_seconds", "When the signing keys were last looked up (Unix time)."
)
_KEYS = Gauge(
    "stagedoor_signing_keys", "Signing keys, by what they are for and what becomes of them.", ["use", "state"]
)


@dataclass(frozen=True, slots=True)
class Signers:
    """The keys that sign what one application is given."""

    access_token: SigningKey
    id_token: SigningKey

    @property
    def parties(self) -> tuple[tuple[DenialKind, str], ...]:
        """Whose denial stops what they are to sign."""
        return ((DenialKind.KEY, self.access_token.kid), (DenialKind.KEY, self.id_token.kid))


class ActiveKeys:
    """The keys that sign now, one for every use."""

    def __init__(self, by_use: Mapping[KeyUse, SigningKey]) -> None:
        """Raises `KeyError` where one is missing."""
        self.by_use = by_use
        self.access_token = by_use[KeyUse.ACCESS_TOKEN]
        self._signers = {
            algorithm: Signers(self.access_token, by_use[use]) for algorithm, use in FOR_APPLICATIONS.items()
        }

    def signers(self, algorithm: ResponseAlgorithm) -> Signers:
        """For an application whose ID tokens are signed so."""
        return self._signers[algorithm]


class KeyRing(PublicKeys):
    """The keys, as this replica knows them."""

    private = True

    def __init__(self, log: Log, questions: Questions, master: MasterKey, rules: KeyRules) -> None:
        super().__init__(questions)
        self._wrapping = Wrapping(master)
        self._rules = rules
        self._changes = KeyChanges(log, self._wrapping, rules)
        self._known_seconds = rules.known.total_seconds()
        self._signing: ActiveKeys | None = None
        """None as long as there is not a key to sign with for every use."""
        self._jwks = b'{"keys":[]}'

    # What is known

    @property
    def loaded(self) -> bool:
        """Whether there is a key to sign with for every use."""
        return self._signing is not None

    @property
    def current(self) -> bool:
        """Whether that may be acted on."""
        return self._signing is not None and since_boot() - self._looked_at <= self._known_seconds

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
        """The key that signs; `Unavailable` as `active`."""
        return self._check().by_use[use]

    async def active(self) -> ActiveKeys:
        """The keys that sign, looked up if that was too long ago.

        `Unavailable` if there are none, or it is not known whether they still are the ones.
        """
        await self.renew()
        return self._check()

    def _check(self) -> ActiveKeys:
        if self._signing is None:
            raise Unavailable("no_signing_key", "there is no key to sign with yet")
        if not self.current:
            raise Unavailable("keys_too_stale", "the signing keys have not been looked up recently enough")
        return self._signing

    async def renew(self) -> None:
        """Look the keys up if that was too long ago. Raises `LogUnavailable`."""
        if not self.current:
            await self.look()

    def _take_in(self, kept: Sequence[KeptKey]) -> None:
        by_use = {key.use: self._signer_of(key) for key in kept if key.state is KeyState.ACTIVE}
        self._signing = ActiveKeys(by_use) if by_use.keys() == set(KeyUse) else None
        super()._take_in(kept)
        self._jwks = msgspec.json.encode({"keys": [key.public_jwk for key in kept if key.state in PUBLISHED]})
        _LOOKED.set_to_current_time()
        for use, state in product(KeyUse, KeyState):
            found = [key for key in kept if key.use is use and key.state is state]
            _KEYS.labels(use.value, state.value).set(len(found))
            if state is KeyState.ACTIVE and found:
                _DUE.labels(use.value).set(self._due_at(found[0]).timestamp())

    def _signer_of(self, kept: KeptKey) -> SigningKey:
        known = () if self._signing is None else self._signing.by_use.values()
        return next((key for key in known if key.kid == kept.kid), None) or self._wrapping.unwrap(kept)

    # What is done to the keys

    async def prepare(self) -> None:
        """Load the keys, make those that are missing, and do what the time has come for. Raises `LogUnavailable`."""
        await self._tend(await self.look())

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
        return now >= self._due_at(active)

    def _due_at(self, active: KeptKey) -> datetime:
        """When a successor is announced."""
        return (active.activated_at or active.announced_at) + self._rules.rotation


def _is_due(key: KeptKey, now: datetime) -> bool:
    if key.state is KeyState.PENDING:
        return key.use_from is None or now >= key.use_from
    return key.state is KeyState.RETIRING and (key.retire_from is None or now >= key.retire_from)


def _by_itself() -> Context:
    return Context("service:token_issuer", new_correlation(), new_command_id())
