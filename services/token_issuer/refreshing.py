"""The texts of codes and refresh tokens.

    sdc_<gid>.<secret>    authorization code
    sdr_<gid>.<secret>    refresh token

Both name their grant, so that they are found without a search; the secret has 256 bits. A refresh token's successor is
derived from it under a key of the issuer. So every replica finds the same successor without anybody keeping it, and the
issuer can tell a refresh token that it once gave from one that somebody made up: the current one follows from it.
"""

import hmac
import re
from base64 import urlsafe_b64encode

from shared.ids import digest, new_secret
from shared.keys import MasterKey

MOST_STEPS = 4096
"""How far back a used refresh token is recognised; one from before is refused like any stranger."""

_CODE = re.compile(r"sdc_([A-Za-z0-9_-]{22})\.[A-Za-z0-9_-]{43}")
_REFRESH_TOKEN = re.compile(r"sdr_([A-Za-z0-9_-]{22})\.[A-Za-z0-9_-]{43}")


def new_code(gid: str) -> str:
    """A fresh authorization code of a grant."""
    return f"sdc_{gid}.{new_secret()}"


def grant_of_code(text: str) -> str | None:
    """The `gid` in an authorization code; None where the text is none."""
    found = _CODE.fullmatch(text)
    return found.group(1) if found else None


def grant_of_refresh_token(text: str) -> str | None:
    """The `gid` in a refresh token; None where the text is none."""
    found = _REFRESH_TOKEN.fullmatch(text)
    return found.group(1) if found else None


class RefreshTokens:
    """Makes refresh tokens, and derives one from the other."""

    def __init__(self, master: MasterKey) -> None:
        self._key = master.derive("refresh-tokens")

    def first(self, gid: str) -> str:
        """The first refresh token of a grant."""
        return f"sdr_{gid}.{new_secret()}"

    def successor(self, token: str) -> str:
        """The one that a refresh token is exchanged for."""
        head = token.partition(".")[0]
        derived = hmac.digest(self._key, token.encode(), "sha256")
        return f"{head}.{urlsafe_b64encode(derived).rstrip(b'=').decode()}"

    def leads_to(self, token: str, current_digest: str, steps: int) -> bool:
        """Whether the current refresh token follows from this one, in at most so many steps."""
        for _ in range(min(steps, MOST_STEPS)):
            token = self.successor(token)
            if digest(token) == current_digest:
                return True
        return False
