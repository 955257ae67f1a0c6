"""The issuer's key ring: signing keys from the vault, public ones for everybody.

Private keys are at rest only wrapped (AES-256-GCM) under a key derived from the master key, which is not in the
database. The first keys are made at the first start; of two replicas that start at once, one makes them.
"""

import asyncio
import time
from os import urandom

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.token_issuer.domain.signing_keys import SIGNING, Introduce, decider
from services.token_issuer.events import KeyUse
from services.token_issuer.read_model import VAULT, KeptKey, Questions, project
from services.token_issuer.signing import ALGORITHMS, SigningKey, generate, load
from shared.errors import Unavailable
from shared.handle import Guards, handle
from shared.ids import new_command_id
from shared.keys import MasterKey
from shared.log.append import Context, LogUnavailable
from shared.log.event import Put
from shared.log.log import Log, Stream
from shared.telemetry import logger, new_correlation
from stagedoor.keys import PublicKey, parse_jwk

_log = logger(__name__)

_NONCE = 12
_REFRESH_SECONDS = 5.0
"""The least time between two looks at the table, however often somebody asks for an unknown key."""


class KeyRing:
    """The keys that are in use. As a `stagedoor.keys.KeySource` it has those of access tokens."""

    def __init__(self, log: Log, questions: Questions, master: MasterKey) -> None:
        self._log = log
        self._questions = questions
        self._wrapping = AESGCM(master.derive("signing-keys"))
        self._signers: dict[KeyUse, SigningKey] = {}
        self._public: dict[KeyUse, dict[str, PublicKey]] = {use: {} for use in KeyUse}
        self._jwks = b'{"keys":[]}'
        self._looked_at = float("-inf")
        self._looking = asyncio.Lock()

    @property
    def loaded(self) -> bool:
        """Whether there is a key for every use."""
        return len(self._signers) == len(KeyUse)

    @property
    def jwks(self) -> bytes:
        """The JWK set (RFC 7517), as published; `Unavailable` until it is whole: who fetches it keeps it."""
        if not self.loaded:
            raise Unavailable("no_signing_key", "there is no key to sign with yet")
        return self._jwks

    def signer(self, use: KeyUse) -> SigningKey:
        """The key that signs."""
        key = self._signers.get(use)
        if key is None:
            raise Unavailable("no_signing_key", "there is no key to sign with yet")
        return key

    def find(self, kid: str) -> PublicKey | None:
        """The public key of this id, if it is one for access tokens."""
        return self._public[KeyUse.ACCESS_TOKEN].get(kid)

    def find_for_id_tokens(self, kid: str) -> PublicKey | None:
        """The public key of this id, if it is one for ID tokens."""
        return self._public[KeyUse.ID_TOKEN].get(kid)

    async def refresh(self) -> None:
        """Look for keys that another replica has brought; not more often than every few seconds."""
        async with self._looking:
            if time.monotonic() - self._looked_at < _REFRESH_SECONDS:
                return
            try:
                await self._look()
            except LogUnavailable:
                _log.warning("keys_out_of_reach")

    async def prepare(self) -> None:
        """Load the keys, making those that are missing. Raises `LogUnavailable`."""
        await self._look()
        for use in KeyUse:
            if use not in self._signers:
                await self._introduce(use)
        await self._look()

    async def _look(self) -> None:
        kept = await self._questions.keys()
        public: dict[KeyUse, dict[str, PublicKey]] = {use: {} for use in KeyUse}
        for key in kept:
            # The same object for as long as the key is the same: a Guard holds on to it.
            known = self._public[key.use].get(key.kid) or parse_jwk(key.public_jwk)
            if known is None:
                raise ValueError(f"the public half of signing key {key.kid} cannot be read")
            public[key.use][key.kid] = known
        signers = {}
        for use in KeyUse:
            activated = [key for key in kept if key.use is use and key.activated is not None]
            if activated:
                newest = max(activated, key=lambda key: key.activated or 0)
                known_signer = self._signers.get(use)
                same = known_signer is not None and known_signer.kid == newest.kid
                signers[use] = known_signer if known_signer is not None and same else self._unwrap(newest)
        self._public, self._signers = public, signers
        self._jwks = msgspec.json.encode({"keys": [key.public_jwk for key in kept]})
        self._looked_at = time.monotonic()

    async def _introduce(self, use: KeyUse) -> None:
        """Make a key and put it into the vault, in the append of the fact that there is one."""
        key, jwk = await asyncio.to_thread(generate, use)
        command = Introduce(key.kid, ALGORITHMS[use].value, use, jwk)
        vault = Put(VAULT, {"kid": key.kid, "wrapped": self._wrap(key)})

        async def guarding(_: Stream) -> Guards:
            return Guards(rows=(vault,))

        context = Context("service:token_issuer", new_correlation(), new_command_id())
        handled = await handle(
            self._log, decider, SIGNING, command, context=context, project=project, guarding=guarding
        )
        if handled.events:
            _log.info("signing_key_introduced", kid=key.kid, use=use.value)

    def _wrap(self, key: SigningKey) -> bytes:
        nonce = urandom(_NONCE)
        return nonce + self._wrapping.encrypt(nonce, key.private_der(), key.kid.encode())

    def _unwrap(self, kept: KeptKey) -> SigningKey:
        wrapped = kept.wrapped or b""
        try:
            der = self._wrapping.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], kept.kid.encode())
            key = load(kept.use, der)
        except (InvalidTag, ValueError):
            raise SystemExit(
                f"stagedoor: signing key {kept.kid} does not open: is this the master key it was wrapped under?"
            ) from None
        if key.kid != kept.kid:
            raise SystemExit(f"stagedoor: signing key {kept.kid} is not the one that it says it is")
        return key
