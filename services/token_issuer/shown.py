"""Access tokens that are shown to the issuer: to be taken back, or to be told of."""

from services.token_issuer.issuer import Issuer
from shared.errors import Unavailable
from stagedoor import Denied, Reason
from stagedoor.token import AccessToken
from stagedoor.token import read as read_access_token


async def read_shown(issuer: Issuer, token: str) -> AccessToken | None:
    """The access token, if the issuer has signed it; expired ones too.

    Raises `Unavailable` as long as the keys are not there, as just after a start: what cannot be read then may be a
    good token, and whoever wants it revoked must not be told that there is nothing to do.
    """
    found = _read(issuer, token)
    if isinstance(found, Denied) and found.reason in (Reason.UNKNOWN_KEY, Reason.TOO_STALE):
        await issuer.keys.refresh()
        found = _read(issuer, token)
        if isinstance(found, Denied) and (found.reason is Reason.TOO_STALE or not issuer.keys.current):
            raise Unavailable("no_signing_key", "the keys that tokens are signed with are not there yet")
    return None if isinstance(found, Denied) else found


def _read(issuer: Issuer, token: str) -> AccessToken | Denied:
    return read_access_token(token, issuer.keys, issuer.policy.issuer)
