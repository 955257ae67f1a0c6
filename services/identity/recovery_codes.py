"""Codes for the day on which the telephone is gone: random, shown once, kept as keyed digests, each good once."""

import re
import secrets
from collections.abc import Mapping

from services.identity.read_model import RECOVERY_CODES, VAULT
from shared.ids import keyed_digest, same
from shared.keys import MasterKey
from shared.log.append import Name
from shared.log.event import Delete, Put, RowChange

HOW_MANY = len(RECOVERY_CODES)
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
"""Without what is taken for another character when it is copied from paper."""
_LENGTH = 16
"""Characters: 79 random bits, so a digest says nothing that guessing could be tried on."""
_GROUP = 4
_BETWEEN = re.compile(r"[\s-]")


class RecoveryCodes:
    """Makes and recognises them."""

    def __init__(self, master: MasterKey) -> None:
        self._key = master.derive("recovery-codes")

    def new(self, sub: str) -> tuple[tuple[str, ...], tuple[RowChange, ...]]:
        """Codes to be shown, and the rows that replace those of before."""
        made = ["".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH)) for _ in range(HOW_MANY)]
        rows = [
            Put(VAULT, {"sub": sub, "kind": kind, "value": self._digest(sub, code)})
            for kind, code in zip(RECOVERY_CODES, made, strict=True)
        ]
        shown = tuple("-".join(code[at : at + _GROUP] for at in range(0, _LENGTH, _GROUP)) for code in made)
        return shown, tuple(rows)

    def find(self, sub: str, typed: str, left: Mapping[str, bytes]) -> tuple[Name, Delete] | None:
        """If this is one of those that are `left`: what the append takes so that it is not taken again, and its row.

        The row could be gone from one look to the next without anybody knowing; a name is taken for ever.
        """
        code = _plain(typed)
        if code is None:
            return None
        found = self._digest(sub, code)
        kinds = [kind for kind, value in left.items() if same(value, found)]
        if not kinds:
            return None
        name = Name(keyed_digest(self._key, "used", found.hex()))
        return name, Delete(VAULT, {"sub": sub, "kind": kinds[0], "value": found})

    def _digest(self, sub: str, code: str) -> bytes:
        return keyed_digest(self._key, "recovery-code", f"{sub} {code}")


def _plain(typed: str) -> str | None:
    """What was typed, without what only helps the eye; None if it is no recovery code at all."""
    if len(typed) > 4 * _LENGTH:
        return None
    code = _BETWEEN.sub("", typed).lower()
    return code if len(code) == _LENGTH and set(code) <= set(_ALPHABET) else None


def forgetting(sub: str) -> tuple[RowChange, ...]:
    """The rows of all of them go."""
    return tuple(Delete(VAULT, {"sub": sub, "kind": kind}) for kind in RECOVERY_CODES)
