"""The texts of device codes and user codes (RFC 8628 section 3.2).

sdd_<gid>.<secret>    device code: the secret has 256 bits, the `gid` is that of the grant that it may lead to
WDJB-MJHT             user code: short, since a person types it, and so nothing by itself: whoever brings it has to
                      be signed in and to agree, it lives for minutes, and guessing is throttled
"""

import re
import secrets
from base64 import urlsafe_b64encode

from shared.ids import keyed_digest, new_secret
from shared.keys import MasterKey

ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
"""Without vowels, so that no words come about, and without what is taken for something else (section 6.1)."""
LENGTH = 8
"""Of a user code: more than 34 bits."""
LONGEST_TYPED = 64
"""Characters of what somebody typed that is looked at."""

_DEVICE_CODE = re.compile(r"sdd_([A-Za-z0-9_-]{22})\.[A-Za-z0-9_-]{43}")
_USER_CODE = re.compile(f"[{ALPHABET}]{{{LENGTH}}}")
_BETWEEN = re.compile(r"[\s_.\-\u2010-\u2015\u2212]+")
"""What people and their keyboards put between letters: any space, hyphen or dash."""


def new_device_code(gid: str) -> str:
    """A fresh device code."""
    return f"sdd_{gid}.{new_secret()}"


def grant_of_device_code(text: str) -> str | None:
    """The `gid` in a device code; None where the text is none."""
    found = _DEVICE_CODE.fullmatch(text)
    return found.group(1) if found else None


def new_user_code() -> str:
    """A fresh user code, as `read_user_code` answers it."""
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def shown(user_code: str) -> str:
    """A user code as it is shown: XXXX-XXXX."""
    half = LENGTH // 2
    return f"{user_code[:half]}-{user_code[half:]}"


def read_user_code(typed: str) -> str | None:
    """The user code that somebody typed, in any case and however divided; None where it can be none."""
    if len(typed) > LONGEST_TYPED:
        return None
    code = _BETWEEN.sub("", typed)
    # Before it is compared: other letters become some of these when their case is changed.
    code = code.upper() if code.isascii() else ""
    return code if _USER_CODE.fullmatch(code) else None


class UserCodes:
    """Digests user codes under a key of the issuer: there are too few of them for a plain digest to hide one."""

    def __init__(self, master: MasterKey) -> None:
        self._key = master.derive("user-codes")

    def digest(self, user_code: str) -> str:
        """What is kept of a user code."""
        return urlsafe_b64encode(keyed_digest(self._key, "user-code", user_code)).decode().rstrip("=")
