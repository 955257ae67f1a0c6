"""The answer to "may this token do this?": allowed, or denied with a reason."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec


class Reason(StrEnum):
    """Why a token is not accepted. The words are the same in every place that validates, and stable."""

    MALFORMED = "malformed"
    """Not a token of this kind at all; or two readers could understand it differently."""
    WRONG_TYPE = "wrong_type"
    """A JWT, but no access token (RFC 9068 section 4): an ID token, for example."""
    UNKNOWN_KEY = "unknown_key"
    BAD_SIGNATURE = "bad_signature"
    WRONG_ISSUER = "wrong_issuer"
    WRONG_AUDIENCE = "wrong_audience"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    PROOF_REQUIRED = "proof_required"
    """The token is bound to a key or a certificate (RFC 7800, `cnf`) and came without it."""
    INVALID_PROOF = "invalid_proof"
    """The DPoP proof is none for this request and this moment, or it was used before (RFC 9449 section 4.3)."""
    PROOF_MISMATCH = "proof_mismatch"
    """The DPoP proof is another key's, or for a token that is not bound to a key; or the certificate is another one."""
    INSUFFICIENT_SCOPE = "insufficient_scope"
    DENIED_TOKEN = "denied_token"
    DENIED_GRANT = "denied_grant"
    DENIED_SESSION = "denied_session"
    DENIED_SUBJECT = "denied_subject"
    DENIED_CLIENT = "denied_client"
    DENIED_KEY = "denied_key"
    LOST_BRANCH = "lost_branch"
    """Issued on a branch of the log that a failover or a restored back-up has lost."""
    UNKNOWN_TOKEN = "unknown_token"
    """A reference token that the issuer does not know."""
    TOO_STALE = "too_stale"
    """Nobody has vouched for the view of denials recently enough. Trying again later is right."""
    AHEAD_OF_VIEW = "ahead_of_view"
    """Newer than the view of denials. Trying again in a moment is right."""
    NOT_LOOKED_UP = "not_looked_up"
    """A reference token that the issuer has not been asked about, or has not answered. Trying again later is right."""

    TOO_MANY_PROOFS = "too_many_proofs"
    """So many proofs are remembered that there is no room for one more. Trying again later is right."""


TEMPORARY = frozenset({Reason.TOO_STALE, Reason.AHEAD_OF_VIEW, Reason.NOT_LOOKED_UP, Reason.TOO_MANY_PROOFS})
"""Reasons that say nothing against the token: it could not be decided now."""

DESCRIPTIONS: dict[Reason, str] = {
    Reason.MALFORMED: "the token is malformed",
    Reason.WRONG_TYPE: "the token is not an access token",
    Reason.UNKNOWN_KEY: "the token is signed with an unknown key",
    Reason.BAD_SIGNATURE: "the signature of the token is wrong",
    Reason.WRONG_ISSUER: "the token is of another issuer",
    Reason.WRONG_AUDIENCE: "the token is for another audience",
    Reason.EXPIRED: "the token has expired",
    Reason.NOT_YET_VALID: "the token is not valid yet",
    Reason.PROOF_REQUIRED: "the token is bound to a key or certificate and came without it",
    Reason.INVALID_PROOF: "the DPoP proof is not valid for this request, or was used before",
    Reason.PROOF_MISMATCH: "the token is not bound to the key or certificate that it came with",
    Reason.INSUFFICIENT_SCOPE: "the token does not have the scope that this needs",
    Reason.DENIED_TOKEN: "the token has been revoked",
    Reason.DENIED_GRANT: "the grant of the token has ended",
    Reason.DENIED_SESSION: "the session of the token has ended",
    Reason.DENIED_SUBJECT: "the user of the token is disabled",
    Reason.DENIED_CLIENT: "the application of the token is disabled",
    Reason.DENIED_KEY: "the key that signed the token is not trusted any more",
    Reason.LOST_BRANCH: "the token was issued on a lost branch of the log",
    Reason.UNKNOWN_TOKEN: "the key is not known",
    Reason.TOO_STALE: "what has been revoked is not known recently enough to decide",
    Reason.AHEAD_OF_VIEW: "the token is newer than what is known here",
    Reason.NOT_LOOKED_UP: "the key has not been looked up yet",
    Reason.TOO_MANY_PROOFS: "too many DPoP proofs are remembered to accept another one now",
}
"""One plain sentence for each reason, without a full stop. They never quote the token."""


class Allowed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The token is accepted."""

    sub: str
    """The user, or the service account, that it acts for. Random, never a name."""
    client_id: str
    """The application that it was issued to."""
    scopes: frozenset[str]
    jti: str
    """The token's own id: for records of who did what, without keeping the token."""
    sid: str | None
    """The session it comes from, if any."""
    gid: str | None
    """The grant it comes from, if any."""
    roles: frozenset[str]
    position: int
    """The log position up to which denials were taken into account."""
    payload: bytes
    """Everything the token says, as JSON."""
    actors: tuple[str, ...] = ()
    """The applications that act for one another (RFC 8693 section 4.1), if the token is from an exchange: `client_id`,
    then back to the one that `sub` allowed to act. It is the first that does what is done."""

    @property
    def claims(self) -> Mapping[str, Any]:
        """Everything the token says, read anew each time."""
        return msgspec.json.decode(self.payload, type=dict[str, Any])


class Denied(msgspec.Struct, frozen=True, kw_only=True):
    """The token is not accepted."""

    reason: Reason
    description: str
    """One plain sentence for people."""
    scopes: tuple[str, ...] = ()
    """The scopes that were required, where they are the reason."""

    @property
    def temporary(self) -> bool:
        """It says nothing against the token: it could not be decided now, and trying again is right."""
        return self.reason in TEMPORARY


Verdict = Allowed | Denied


_DENIED = {reason: Denied(reason=reason, description=description) for reason, description in DESCRIPTIONS.items()}


def denied(reason: Reason) -> Denied:
    """The verdict for a reason, with its usual sentence."""
    return _DENIED[reason]
