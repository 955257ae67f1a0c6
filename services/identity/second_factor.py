"""Proving a second factor: a code of the user's application, a passkey, or a recovery code in their place.

Nothing is used up by looking. What a proof uses up goes into the append of what it is for, so of two requests with the
same code, at two replicas, one succeeds.
"""

from services.identity.domain.session import RECOVERY_METHODS, TOTP_METHODS
from services.identity.failed_sign_ins import FailedSignIns
from services.identity.origin import Origin
from services.identity.passkeys import Answered, Passkeys, WrongPasskey
from services.identity.proofs import SecondProof
from services.identity.read_model import Credentials, Questions
from services.identity.recovery_codes import RecoveryCodes
from services.identity.throttle import Attempt, Throttle, Throttled
from services.identity.totp import DIGITS, Seed, Seeds
from shared.clock import Clock
from shared.errors import Kind, Refusal

LONGEST = 64
"""Characters of what is looked at as a code."""


class WrongCode(Refusal):
    """One answer for everything: not a code at all, a wrong one, one that is too old, one that was used before."""

    def __init__(self) -> None:
        super().__init__(
            Kind.UNAUTHENTICATED,
            "wrong_code",
            "That code is not right, or it was used before. Wait for the next one, or use a recovery code.",
        )


class SecondFactor:
    """Looks at codes."""

    def __init__(  # noqa: PLR0913  (what it is made of)
        self,
        *,
        questions: Questions,
        seeds: Seeds,
        recovery_codes: RecoveryCodes,
        passkeys: Passkeys,
        throttle: Throttle,
        failures: FailedSignIns,
        clock: Clock,
    ) -> None:
        self._questions = questions
        self._seeds = seeds
        self._recovery_codes = recovery_codes
        self._passkeys = passkeys
        self._throttle = throttle
        self._failures = failures
        self._clock = clock

    async def prove(self, credentials: Credentials, presented: str | Answered, origin: Origin) -> SecondProof:
        """Look at the code that was typed, or at what a passkey answered.

        Raises `WrongCode`, `WrongPasskey` or `Throttled`; an attempt that is not `accepted` is charged.
        """
        if isinstance(presented, Answered):
            return await self._passkeys.prove_second(credentials.user, presented, origin)
        return await self._by_code(credentials, presented, origin)

    async def _by_code(self, credentials: Credentials, typed: str, origin: Origin) -> SecondProof:
        user = credentials.user
        attempt = await self._admit(user.user_name, origin)
        code = "".join(typed[:LONGEST].split())
        if user.totp_since is not None and credentials.sealed_seed is not None:
            seed = self._seeds.open(user.sub, credentials.sealed_seed)
            if (proof := self._by_seed(user.sub, seed, code, attempt)) is not None:
                return proof
        if user.has_second_factor and len(code) > DIGITS:
            left = await self._questions.recovery_codes(user.sub)
            found = self._recovery_codes.find(user.sub, code, left)
            if found is not None:
                return SecondProof(
                    attempt, RECOVERY_METHODS, with_recovery_code=True, names=(found[0],), rows=(found[1],)
                )
        raise self.wrong(user.sub)

    async def prove_new(self, sub: str, user_name: str, seed: Seed, typed: str, origin: Origin) -> SecondProof:
        """The same for a seed that is not the user's yet."""
        attempt = await self._admit(user_name, origin)
        proof = self._by_seed(sub, seed, "".join(typed[:LONGEST].split()), attempt)
        if proof is None:
            raise WrongCode
        return proof

    async def accepted(self, proof: SecondProof) -> None:
        """It was right, and was not lost to another request: the attempt costs nothing."""
        await self._throttle.succeeded(proof.attempt)

    def wrong(self, sub: str) -> WrongCode:
        """A code was not right; to be raised."""
        self._failures.wrong_second_factor(sub)
        return WrongCode()

    def lost(self, proof: SecondProof, sub: str) -> WrongCode | WrongPasskey:
        """What was right was used by another request in the same moment; to be raised."""
        self._failures.wrong_second_factor(sub)
        return WrongPasskey() if proof.passkey_id else WrongCode()

    async def _admit(self, user_name: str, origin: Origin) -> Attempt:
        try:
            return await self._throttle.admit_second_factor(user_name, origin.device_cookie, origin.address)
        except Throttled:
            self._failures.not_looked_at()
            raise

    def _by_seed(self, sub: str, seed: Seed, code: str, attempt: Attempt) -> SecondProof | None:
        step = seed.step_of(code, self._clock())
        if step is None:
            return None
        return SecondProof(attempt, TOTP_METHODS, once=(self._seeds.used(sub, seed, step),))
