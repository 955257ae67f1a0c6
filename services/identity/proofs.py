"""What a second factor, or a passkey, that was right has proved, and what is used up with it."""

from dataclasses import dataclass

from services.identity.throttle import Attempt
from shared.log.append import Name, OnceKey
from shared.log.event import RowChange


@dataclass(frozen=True, slots=True)
class SecondProof:
    """What was right, and what has to be appended with what it is for."""

    attempt: Attempt
    methods: tuple[str, ...]
    """Of a sign-in by it, and by what was proved before it (RFC 8176)."""
    with_recovery_code: bool = False
    passkey_id: str = ""
    """Empty: it was no passkey."""
    once: tuple[OnceKey, ...] = ()
    names: tuple[Name, ...] = ()
    rows: tuple[RowChange, ...] = ()
