"""The two tokens of dynamic client registration: made here, shown once, kept as a digest.

    stagedoor_iat_<body><check>    initial access token (RFC 7591 section 1.2): registers applications
    stagedoor_rat_<body><check>    registration access token (RFC 7592 section 1.2): manages the one that it came with

They have the form of reference tokens, so that whoever scans for those finds these, too: 256 bits as 43 base62 digits,
and a checksum as 6. No API takes one for a key of its own.

An initial access token is derived from the id of the command that asked for it, as a client secret is
(`client_secrets`): an answer that was lost can be asked for again.
"""

import re
import secrets
import string
from dataclasses import dataclass, field
from datetime import datetime
from hmac import digest as hmac_digest
from typing import Final

from services.registry.client_secrets import SHOWN_AGAIN
from shared.ids import CommandId, digest, id_of
from shared.keys import MasterKey
from stagedoor.reference import checksum

INITIAL: Final = "stagedoor_iat_"
REGISTRATION: Final = "stagedoor_rat_"

_DIGITS: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_BODY: Final = 43
_FORM: Final = re.compile(r"(stagedoor_(?:iat|rat)_)([0-9A-Za-z]{43})([0-9A-Za-z]{6})")


@dataclass(frozen=True, slots=True)
class InitialAccessToken:
    """A token in the clear: it goes into one answer, and nowhere else."""

    token_id: str
    text: str = field(repr=False)

    @property
    def digest(self) -> str:
        """What is stored in its place."""
        return digest(self.text)


class InitialAccessTokens:
    """Makes initial access tokens."""

    def __init__(self, master: MasterKey) -> None:
        self._ids = master.derive("initial-access-token-ids")
        self._tokens = master.derive("initial-access-tokens")

    def of(self, command_id: CommandId) -> InitialAccessToken:
        """The one token that this command can issue."""
        body = int.from_bytes(hmac_digest(self._tokens, command_id.bytes, "sha256"))
        return InitialAccessToken(id_of(hmac_digest(self._ids, command_id.bytes, "sha256")[:16]), _text(INITIAL, body))


def new_registration_token() -> str:
    """A fresh registration access token."""
    return _text(REGISTRATION, secrets.randbits(256))


def is_well_formed(text: str, prefix: str) -> bool:
    """Whether it can be one of these tokens: nothing else needs to be looked up."""
    found = _FORM.fullmatch(text)
    return found is not None and found[1] == prefix and found[3] == _check(prefix + found[2])


def shown_again(issued_at: datetime, now: datetime) -> bool:
    """Whether a repeated request may still be answered with the token."""
    return now - issued_at <= SHOWN_AGAIN


def _text(prefix: str, number: int) -> str:
    digits = []
    for _ in range(_BODY):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    text = prefix + "".join(reversed(digits))
    return text + _check(text)


def _check(text: str) -> str:
    return checksum(text.encode("ascii")).decode()
