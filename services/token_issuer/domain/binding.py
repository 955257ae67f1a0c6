"""What a token is bound to (RFC 7800): the key of a DPoP proof (RFC 9449), or a client certificate (RFC 8705).

Here alone it stands what `cnf` a token has, and what has to be shown for a code or a refresh token that is bound.
"""

from dataclasses import dataclass
from typing import Any

from services.token_issuer.domain.refusals import invalid_grant
from shared.ids import same


@dataclass(frozen=True, slots=True)
class Key:
    """The key that a client has shown to hold: with a proof, or in the handshake of its connection."""

    jkt: str | None
    """Its thumbprint, where it was a proof (RFC 9449)."""
    binds_refresh: bool
    """The refresh token is bound to it: nothing else stands between it and whoever finds it (RFC 9449 section 5, RFC
    8705 section 7.1)."""
    x5t_s256: str | None = None
    """Thumbprint of its certificate, where that was it (RFC 8705 section 3.1)."""


def jkt(key: Key | None) -> str | None:
    """The key that an access token is bound to."""
    return None if key is None else key.jkt


def x5t_s256(key: Key | None) -> str | None:
    """The certificate that an access token is bound to."""
    return None if key is None else key.x5t_s256


def refresh_jkt(key: Key | None) -> str | None:
    """The key that a refresh token is bound to."""
    return key.jkt if key is not None and key.binds_refresh else None


def refresh_x5t_s256(key: Key | None) -> str | None:
    """The certificate that a refresh token is bound to."""
    return key.x5t_s256 if key is not None and key.binds_refresh else None


def cnf(jkt: str | None, x5t_s256: str | None) -> dict[str, Any] | None:
    """The claim, for those who check the token; None: it is bound to nothing."""
    if jkt is None and x5t_s256 is None:
        return None
    said = {"jkt": jkt, "x5t#S256": x5t_s256}
    return {name: value for name, value in said.items() if value is not None}


def check_key(key: Key | None, jkt: str | None, x5t_s256: str | None = None) -> None:
    """Refuse a code (RFC 9449 section 10) or refresh token that is bound, and comes without what it is bound to."""
    if jkt is not None and not _same(None if key is None else key.jkt, jkt):
        raise invalid_grant("this is bound to a key, and the request came without a DPoP proof of it")
    if x5t_s256 is not None and not _same(None if key is None else key.x5t_s256, x5t_s256):
        raise invalid_grant("this is bound to a client certificate, and the request came without it")


def is_bound_like(key: Key | None, jkt: str | None, x5t_s256: str | None) -> bool:
    """Whether a token that is bound to these would be bound to the same again."""
    shown = (None, None) if key is None else (key.jkt, key.x5t_s256)
    return all(same(one or "", other or "") for one, other in zip(shown, (jkt, x5t_s256), strict=True))


def _same(shown: str | None, bound: str) -> bool:
    return shown is not None and same(shown, bound)
