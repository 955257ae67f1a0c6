"""A client assertion (RFC 7521 section 4.2, RFC 7523 section 3, OpenID Connect Core section 9): what it says, strictly.

Read first, believed last: what stands in it refuses a request before its signature is looked at, and grants nothing.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Final

from services.token_issuer.assertions.jws import Jws, read_jws, timely
from shared.log.append import OnceKey

TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LONGEST: Final = 8 * 1024
"""Characters that are looked at."""

_TYPES: Final = frozenset({None, "jwt", "application/jwt", "client-authentication+jwt"})
"""Values of `typ` that an assertion may have. A token of another kind is none."""
_LONGEST_NAME: Final = 512


@dataclass(slots=True, eq=False)
class Assertion:
    """What one assertion says, and how far it has come on its way through one request."""

    client_id: str
    jti: str
    not_before: datetime
    expires_at: datetime
    jws: Jws = field(repr=False)
    proved: bool = False
    """Its signature is the application's."""
    spent: bool = False
    """The log has it as used, by this request."""
    replayed: bool = False
    """The log had it as used before: whatever is tried again for this request, it proves nothing."""

    def timely(self, audiences: Collection[str], now: datetime) -> bool:
        """Whether it is for this issuer and for now.

        Each audience has to be the issuer's: one that is for others as well could be used by them. How far ahead it may
        expire is how long its `jti` has to be remembered.
        """
        ours = all(audience in audiences for audience in self.jws.audiences)
        return ours and timely(self.not_before, self.expires_at, now)

    @property
    def digest(self) -> bytes:
        """Stands for its `jti`, which is the client's word and may be anything."""
        return sha256(f"client-assertion\0{self.client_id}\0{self.jti}".encode()).digest()

    @property
    def once(self) -> OnceKey:
        """What the log remembers, so that nobody uses it again."""
        return OnceKey(self.digest, self.expires_at)


def read(text: str) -> Assertion | None:
    """What an assertion says; None for what is none."""
    jws = read_jws(text, LONGEST)
    if jws is None or jws.typ not in _TYPES:
        return None
    client_id, jti, lifetime = _name(jws.claims.get("sub")), _name(jws.claims.get("jti")), jws.lifetime
    if client_id is None or jws.claims.get("iss") != client_id or jti is None or not jws.audiences or lifetime is None:
        return None
    not_before, expires_at = lifetime
    return Assertion(client_id=client_id, jti=jti, not_before=not_before, expires_at=expires_at, jws=jws)


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME and "\0" not in value else None
