"""What the token endpoint answers (RFC 6749 section 5.1)."""

from msgspec import Struct

from services.token_issuer.domain.grant import Grant
from services.token_issuer.issuer import Issuer
from services.token_issuer.keys import Signers
from services.token_issuer.scopes import OPENID, Places
from services.token_issuer.tokens import Content, Issued, access_token, id_token


class Answer(Struct, frozen=True, omit_defaults=True, tag_field="token_type", tag="Bearer"):
    """Tokens, on their way to who asked for them; as JSON, it is the body of the answer."""

    access_token: str
    expires_in: int
    scope: str
    refresh_token: str | None = None
    id_token: str | None = None

    def __repr__(self) -> str:
        return f"Answer(expires_in={self.expires_in}, scope={self.scope!r})"


class BoundAnswer(Answer, frozen=True, omit_defaults=True, tag_field="token_type", tag="DPoP"):
    """The same with an access token that is bound to a key (RFC 9449 section 5)."""


def of_grant(  # noqa: PLR0913  (each is one independent part of the answer)
    issuer: Issuer,
    signers: Signers,
    grant: Grant,
    issued: Issued,
    refresh_token: str | None,
    *,
    expires_in: int,
    first: bool,
) -> Answer:
    """The tokens of the event that a grant's newest access token belongs to; `first`: in exchange for the code.

    The same event gives the same claims, whenever and by whichever replica they are signed. Only the first ID token
    has the nonce (OpenID Connect Core section 12.2).
    """
    content = content_of(grant, issuer.policy.places)
    token = access_token(signers.access_token, issuer.policy.issuer, content, issued)
    beside = None
    if OPENID in (grant.scopes if first else grant.token_scopes):
        nonce = grant.nonce if first else None
        beside = id_token(signers.id_token, issuer.policy.issuer, grant, issued, beside=token, nonce=nonce)
    kind = Answer if grant.token_jkt is None else BoundAnswer
    return kind(
        access_token=token,
        expires_in=expires_in,
        scope=" ".join(grant.token_scopes),
        refresh_token=refresh_token,
        id_token=beside,
    )


def content_of(grant: Grant, places: Places) -> Content:
    """What a grant's newest access token says."""
    if grant.jti is None:
        raise TypeError("the grant has issued no access token yet")
    return Content(
        jti=grant.jti,
        sub=grant.sub,
        client_id=grant.client_id,
        scopes=grant.token_scopes,
        audiences=grant.token_audiences,
        seconds=grant.access_token_seconds,
        roles=grant.roles if places.management in grant.token_audiences else (),
        grant=grant,
        jkt=grant.token_jkt,
        x5t_s256=grant.token_x5t_s256,
    )
