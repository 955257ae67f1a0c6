"""ID tokens that come back: as a hint who is meant (OpenID Connect Core section 3.1.2.1, RP-Initiated Logout)."""

from collections.abc import Mapping
from typing import Any

from services.token_issuer.keys import KeyRing
from services.token_issuer.signing import read
from services.token_issuer.tokens import ID_TOKEN


class Hints:
    """Reads ID tokens of this issuer. Expired ones are fine: a hint proves nothing, it only says who is meant."""

    def __init__(self, keys: KeyRing, issuer: str) -> None:
        self._keys = keys
        self._issuer = issuer

    def read(self, token: str) -> Mapping[str, Any] | None:
        """The claims, if the signature and the issuer are right; None otherwise."""
        claims = read(token, self._keys.find_for_id_tokens, ID_TOKEN)
        if claims is None or claims.get("iss") != self._issuer:
            return None
        return claims if isinstance(claims.get("sub"), str) and isinstance(claims.get("aud"), str) else None
