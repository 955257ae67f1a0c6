"""The logout token (OpenID Connect Back-Channel Logout 1.0 section 2.4)."""

from datetime import datetime, timedelta
from typing import Final

from services.token_issuer.signing import SigningKey
from shared.ids import new_id

LOGOUT_TOKEN: Final = "logout+jwt"
"""Its `typ`: so it is taken for no other token, and no other for it (RFC 8725 section 3.11)."""
EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"
LIFE: Final = timedelta(minutes=2)


def logout_token(key: SigningKey, issuer: str, client_id: str, sub: str, sid: str, now: datetime) -> str:  # noqa: PLR0913, PLR0917  (its claims)
    """One that was never there before: a receiver that remembers the last `jti` takes each attempt for its own."""
    iat = int(now.timestamp())
    return key.sign(
        LOGOUT_TOKEN,
        {
            "iss": issuer,
            "sub": sub,
            "aud": client_id,
            "iat": iat,
            "exp": iat + int(LIFE.total_seconds()),
            "jti": new_id(),
            "sid": sid,
            "events": {EVENT: {}},
        },
    )
