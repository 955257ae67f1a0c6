"""A reference token in the SDK's words: which denials it meets, and the verdicts on it.

It meets the denials that any token with the same ids would, and those of its own kind.
"""

from collections.abc import Collection, Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from services.token_issuer.references.tables import KnownReference
from shared.denials import DenialKind
from stagedoor import Allowed, Denied, denials, verdict
from stagedoor.denials import DenialView
from stagedoor.keys import Algorithm, PublicKey
from stagedoor.token import AccessToken
from stagedoor.verdict import Reason

REASONS = {
    DenialKind.CLIENT: Reason.DENIED_CLIENT,
    DenialKind.CLIENT_REFERENCES: Reason.DENIED_CLIENT,
    DenialKind.SUBJECT: Reason.DENIED_SUBJECT,
    DenialKind.SUBJECT_CLIENT: Reason.DENIED_GRANT,
}
"""What a denial of each kind is called where it stands against a token."""

_NO_KEY = PublicKey("", Algorithm.ES256, ec.generate_private_key(ec.SECP256R1()).public_key())
"""Stands where a view asks for the key that signed: nothing signed this."""


def as_token(known: KnownReference) -> AccessToken:
    """The token as a view of denials looks at one."""
    return AccessToken(
        key=_NO_KEY,
        sub=known.sub,
        client_id=known.client_id,
        clients=(known.client_id,),
        jti=known.jti,
        gid=None,
        sid=None,
        audiences=frozenset(known.audiences),
        scopes=frozenset(known.scopes),
        roles=frozenset(),
        exp=int(known.expires_at.timestamp()),
        nbf=int(known.issued_at.timestamp()),
        pos=known.position,
        epoch=known.epoch,
        bound=False,
        claims={},
    )


def denied(view: DenialView, token: AccessToken) -> Reason | None:
    """What of it is denied, as far as the view knows."""
    refused = view.denied(token)
    if refused is not None:
        return refused
    references = view._tables.marks[denials.DenialKind.CLIENT_REFERENCES]  # noqa: SLF001  (it has no other way in)
    mark = references.get(token.client_id)
    return Reason.DENIED_CLIENT if mark is not None and mark.denies(token.pos) else None


def allowed(token: AccessToken, claims: Mapping[str, Any], position: int) -> Allowed:
    """The verdict on a token that nothing stands against."""
    return Allowed(
        sub=token.sub,
        client_id=token.client_id,
        scopes=token.scopes,
        jti=token.jti,
        sid=None,
        gid=None,
        roles=frozenset(),
        position=position,
        claims=claims,
    )


def refused(code: str, scopes: Collection[str]) -> Denied:
    """The verdict for a reason; one that the SDK has no word for is a refusal all the same."""
    try:
        reason = Reason(code)
    except ValueError:
        reason = Reason.MALFORMED
    said = verdict.denied(reason)
    missing = tuple(scopes) if reason is Reason.INSUFFICIENT_SCOPE else ()
    return Denied(reason=said.reason, description=said.description, scopes=missing)
