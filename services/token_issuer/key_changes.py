"""What is done to the signing keys: by the timer of any replica, and by administrators.

A private half goes into the vault in the append of the fact that there is a key, and out of it in the append of the
fact that the key signs no more: there is none for longer than it can be of use to anybody but a thief.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from services.token_issuer.domain.signing_keys import (
    SIGNING,
    Command,
    Compromise,
    Introduce,
    Keys,
    NewKey,
    Rotate,
    Settle,
    decider,
)
from services.token_issuer.events import KeyUse, SigningKeyActivated, SigningKeyCompromised, SigningKeyCreated
from services.token_issuer.read_model import project
from services.token_issuer.settings import KeyRules
from services.token_issuer.signing import ALGORITHMS, SigningKey, generate
from services.token_issuer.signing_key_tables import VAULT
from services.token_issuer.vault import Wrapping
from shared.handle import Guards, Handled, handle
from shared.log.append import Context
from shared.log.event import Delete, Event, Put, RowChange
from shared.log.log import Log, Stream
from shared.telemetry import logger

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Rotated:
    """A successor was announced, or had been."""

    kid: str
    use_from: datetime | None
    """When it begins to sign; None: it does so already."""
    position: int


class KeyChanges:
    """Carries out commands on the signing keys. All raise the decider's refusals, and `LogUnavailable`."""

    def __init__(self, log: Log, wrapping: Wrapping, rules: KeyRules) -> None:
        self._log = log
        self._wrapping = wrapping
        self._rules = rules

    async def introduce(self, use: KeyUse, context: Context) -> None:
        """Have a key for this use."""
        key, new = await _make(use)
        await self._carry_out(Introduce(new), context, key)

    async def rotate(self, use: KeyUse, now: datetime, context: Context, instead_of: str | None = None) -> Rotated:
        """Announce a successor to the active key of this use; it is used when everybody can have heard of it."""
        key, new = await _make(use)
        command = Rotate(new, use_from=now + self._rules.announced, instead_of=instead_of)
        handled = await self._carry_out(command, context, key)
        announced = [event.kid for event in handled.events if isinstance(event, SigningKeyCreated)]
        kid = announced[0] if announced else handled.state.pending(use) or handled.state.active(use) or ""
        return Rotated(kid, handled.state.by_kid[kid].until, handled.position)

    async def settle(self, now: datetime, context: Context) -> None:
        """Use and retire the keys whose time has come."""
        await self._carry_out(Settle(now, retire_from=now + self._rules.retiring), context, None)

    async def compromise(self, kid: str, use: KeyUse, context: Context) -> int:
        """Withdraw a key and all that it signed; if it was the active one, another signs at once. The position."""
        key, new = await _make(use)
        return (await self._carry_out(Compromise(kid, new), context, key)).position

    async def _carry_out(self, command: Command, context: Context, key: SigningKey | None) -> Handled[Keys]:
        async def guarding(stream: Stream) -> Guards:
            state = decider.fold(recorded.event for recorded in stream.events)
            events = decider.decide(command, state)
            return Guards(rows=tuple(change for event in events for change in self._vault(event, key)))

        handled = await handle(
            self._log, decider, SIGNING, command, context=context, project=project, guarding=guarding
        )
        if handled.appended is not None:
            for event in handled.events:
                _log.info("signing_keys_changed", what=type(event).__name__, kid=getattr(event, "kid", ""))
        return handled

    def _vault(self, event: Event, key: SigningKey | None) -> list[RowChange]:
        """What the vault learns of a fact."""
        match event:
            case SigningKeyCreated() if key is not None:
                return [Put(VAULT, {"kid": key.kid, "wrapped": self._wrapping.wrap(key)})]
            case SigningKeyActivated() if event.instead_of is not None:
                return [Delete(VAULT, {"kid": event.instead_of})]
            case SigningKeyCompromised():
                return [Delete(VAULT, {"kid": event.kid})]
            case _:
                return []


async def _make(use: KeyUse) -> tuple[SigningKey, NewKey]:
    key, jwk = await asyncio.to_thread(generate, use)
    return key, NewKey(key.kid, ALGORITHMS[use].value, use, jwk)
