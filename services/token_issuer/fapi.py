"""What the FAPI 2.0 Security Profile asks of the issuer, for applications that are held to it (sections 5.3.2 and 5.4).

Here are the rules about what an application sends. What its settings have to be the registry sees to, and the issuer
goes by these settings: requests that are pushed, PKCE, bound tokens, the algorithm of ID tokens.
"""

from datetime import datetime, timedelta
from typing import Final

from services.token_issuer.assertions.assertion import Assertion
from services.token_issuer.key_proof import KeyProof, invalid_proof
from services.token_issuer.views import Application

ALGORITHMS: Final = frozenset({"ES256", "PS256", "EdDSA"})
"""What may sign (section 5.4.1); EdDSA is Ed25519 here, as everywhere."""
LONGEST_CODE: Final = timedelta(seconds=60)
"""Life of an authorization code (section 5.3.2.1, item 11)."""
LONGEST_PUSHED_REQUEST: Final = timedelta(seconds=599)
"""Within it a sign-in has to begin (section 5.3.2.2, item 12: less than 600 seconds)."""
AHEAD: Final = timedelta(seconds=60)
"""By how much what was signed may be of the future (section 5.3.2.1, item 13)."""


def may_sign(application: Application, algorithm: str) -> bool:
    """Whether the application may sign with this algorithm (section 5.4.1)."""
    return not application.fapi2 or algorithm in ALGORITHMS


def may_assert(application: Application, assertion: Assertion, issuer: str) -> bool:
    """Whether the application may say so who it is.

    The audience is the issuer's identifier, as a string: what names an endpoint, or several audiences, could have been
    meant for somebody else (section 5.3.2.1, item 8).
    """
    if not application.fapi2:
        return True
    return assertion.jws.algorithm in ALGORITHMS and assertion.jws.claims.get("aud") == issuer


def check_proof(application: Application, proof: KeyProof, now: datetime) -> None:
    """Refuse a DPoP proof that is signed otherwise, or of a later time, whatever the issuer's window is."""
    if application.fapi2 and (proof.algorithm not in ALGORITHMS or proof.not_before > now + AHEAD):
        raise invalid_proof("the DPoP proof is not one that the FAPI 2.0 Security Profile allows")
