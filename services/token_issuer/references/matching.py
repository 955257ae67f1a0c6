"""A reference token in the SDK's words: which denials it meets, and the verdicts on it.

It meets the denials that any token with the same ids would, and those of its own kind.
"""

from collections.abc import Collection, Mapping
from typing import Any, Literal

import msgspec

from shared.denials import DenialKind
from stagedoor import Allowed, Denied, reference, verdict
from stagedoor.denials import DenialView
from stagedoor.token import AccessToken
from stagedoor.verdict import Reason

REASONS = {
    DenialKind.CLIENT: Reason.DENIED_CLIENT,
    DenialKind.CLIENT_REFERENCES: Reason.DENIED_TOKEN,
    DenialKind.SUBJECT: Reason.DENIED_SUBJECT,
    DenialKind.SUBJECT_CLIENT: Reason.DENIED_GRANT,
}
"""What a denial of each kind is called where it stands against a token."""


def as_token(claims: Mapping[str, Any], kind: Literal["pat", "sat"], issuer: str) -> AccessToken:
    """The token as a view of denials, and every guard, looks at one."""
    token = reference.read(msgspec.json.encode(claims).decode(), kind, issuer)
    if token is None:
        raise TypeError("the claims of a reference token are those of an access token")
    return token


def denied(view: DenialView, token: AccessToken) -> Reason | None:
    """What of it is denied, as far as the view knows."""
    return view.denied(token)


def allowed(token: AccessToken, position: int) -> Allowed:
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
        payload=token.payload,
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
