"""The facts of the token issuer. Stored names are permanent; a changed meaning is a new name.

Tokens, codes and secrets are never in here: SHA-256 digests (hexadecimal) and ids stand for them.
"""

from datetime import datetime
from enum import StrEnum

from shared.denials import Denial, DenialKind, DenialRule
from shared.log.event import Event, Retention


class KeyUse(StrEnum):
    """What a signing key signs."""

    ACCESS_TOKEN = "access_token"
    ID_TOKEN = "id_token"
    """ID tokens, and what else only applications read: logout tokens, signed userinfo."""
    ID_TOKEN_ES256 = "id_token_es256"
    """The same, for applications that asked for ES256."""


class SigningKeyCreated(Event, stored_as="token_issuer.SigningKeyCreated"):
    """A key pair exists and is announced in the JWKS; the private half is wrapped in the vault."""

    denial_kinds = frozenset({DenialKind.KEY})

    kid: str
    algorithm: str
    """JWA name: `ES256` or `RS256`."""
    use: KeyUse
    public_jwk: dict[str, str]
    """RFC 7517, public members only."""
    use_from: datetime | None = None
    """It signs nothing before: by then whoever keeps a JWKS from before has fetched it anew. None: it signs at once."""

    def denies(self) -> tuple[Denial, ...]:
        """Nothing: it says that nothing stands against the key, so that guards hear of it and fetch it."""
        return (Denial(DenialKind.KEY, self.kid, DenialRule.LIFTED),)


class SigningKeyActivated(Event, stored_as="token_issuer.SigningKeyActivated"):
    """New tokens of its use are signed with it; the one before it is retiring, and its private half is deleted."""

    kid: str
    instead_of: str | None = None
    """The one before it; None: there was none."""
    retire_from: datetime | None = None
    """By then nothing that the one before it signed is alive."""


class SigningKeyRetired(Event, stored_as="token_issuer.SigningKeyRetired"):
    """Nothing that it signed can still be valid; it leaves the JWKS."""

    kid: str


class SigningKeyCompromised(Event, stored_as="token_issuer.SigningKeyCompromised"):
    """Nothing that it signed is accepted any more, whatever position it claims; its private half is deleted."""

    denial_kinds = frozenset({DenialKind.KEY})

    kid: str

    def denies(self) -> tuple[Denial, ...]:
        """The key, for ever."""
        return (Denial(DenialKind.KEY, self.kid, DenialRule.STANDING),)


class GrantOpened(Event, stored_as="token_issuer.GrantOpened"):
    """A user allowed an application something; whoever has the code redeems it.

    The browser took the code back to the application, or a device has had it from the beginning (RFC 8628).
    """

    retention = Retention.EXPIRING

    gid: str
    client_id: str
    sub: str
    sid: str
    scopes: tuple[str, ...]
    audiences: tuple[str, ...]
    redirect_uri: str
    """Empty: it was allowed to a device, to which no browser goes."""
    redirect_uri_given: bool
    """It stood in the request, so the token request has to repeat it (RFC 6749 section 4.1.3)."""
    code_digest: str
    code_challenge: str | None
    """PKCE, method S256 (RFC 7636)."""
    nonce: str | None
    auth_time: datetime
    amr: tuple[str, ...]
    roles: tuple[str, ...] = ()
    """Roles that the tokens state to the management resource."""
    opened_at: datetime
    code_expires_at: datetime
    refresh_expires_at: datetime | None
    """Absolute end of refreshing; None: no refresh token (`offline_access` was not granted)."""
    acr: str | None = None
    """What the application demanded the sign-in to be worth, and it was; None: it demanded nothing."""
    dpop_jkt: str | None = None
    """Thumbprint of the key that the code needs a proof of (RFC 9449 section 10); None: it needs none."""


class CodeRedeemed(Event, stored_as="token_issuer.CodeRedeemed"):
    """The code was exchanged; an access token is issued at this position."""

    retention = Retention.EXPIRING

    gid: str
    jti: str
    scopes: tuple[str, ...]
    audiences: tuple[str, ...]
    access_token_seconds: int
    refresh_digest: str | None
    tokens_end_at: datetime
    """By then every access token of the grant so far has expired."""
    jkt: str | None = None
    """Thumbprint of the key that the access token is bound to (RFC 9449 section 6.1); None: it is not."""
    refresh_jkt: str | None = None
    """The same of the refresh token, for an application that authenticates with nothing (section 5)."""
    x5t_s256: str | None = None
    """Thumbprint of the certificate that the access token is bound to (RFC 8705 section 3.1); None: it is not."""
    refresh_x5t_s256: str | None = None
    """The same of the refresh token, for an application that authenticates with nothing (RFC 8705 section 7.1)."""


class RefreshTokenRotated(Event, stored_as="token_issuer.RefreshTokenRotated"):
    """A refresh token was exchanged for its successor; an access token is issued at this position."""

    retention = Retention.EXPIRING

    gid: str
    jti: str
    presented_digest: str
    refresh_digest: str
    scopes: tuple[str, ...]
    audiences: tuple[str, ...]
    access_token_seconds: int
    rotated_at: datetime
    tokens_end_at: datetime
    """By then every access token of the grant so far has expired."""
    jkt: str | None = None
    """Thumbprint of the key that the access token is bound to; None: it is not."""
    refresh_jkt: str | None = None
    """The same of the successor."""
    x5t_s256: str | None = None
    """Thumbprint of the certificate that the access token is bound to; None: it is not."""
    refresh_x5t_s256: str | None = None
    """The same of the successor."""


class RefreshTokenUsed(Event, stored_as="token_issuer.RefreshTokenUsed"):
    """A refresh token was used and stays the current one; an access token is issued at this position."""

    retention = Retention.EXPIRING

    gid: str
    jti: str
    scopes: tuple[str, ...]
    audiences: tuple[str, ...]
    access_token_seconds: int
    tokens_end_at: datetime
    """By then every access token of the grant so far has expired."""
    jkt: str | None = None
    """Thumbprint of the key that the access token is bound to; None: it is not."""
    x5t_s256: str | None = None
    """Thumbprint of the certificate that the access token is bound to; None: it is not."""


class GrantEndReason(StrEnum):
    """Why a grant ended."""

    CODE_REUSED = "code_reused"
    REFRESH_TOKEN_REUSED = "refresh_token_reused"
    REFRESH_TOKEN_REVOKED = "refresh_token_revoked"
    ENDED_BY_ADMINISTRATOR = "ended_by_administrator"


class GrantEnded(Event, stored_as="token_issuer.GrantEnded"):
    """The grant is over, and every token of it."""

    retention = Retention.EXPIRING
    denial_kinds = frozenset({DenialKind.GRANT})

    gid: str
    reason: GrantEndReason
    tokens_end_at: datetime
    """By then the last access token of the grant has expired."""

    def denies(self) -> tuple[Denial, ...]:
        """The grant."""
        return (Denial(DenialKind.GRANT, self.gid, DenialRule.STANDING, until=self.tokens_end_at),)


class AccessTokenIssued(Event, stored_as="token_issuer.AccessTokenIssued"):
    """An access token without a grant: client credentials (RFC 6749 section 4.4)."""

    retention = Retention.EXPIRING

    jti: str
    client_id: str
    sub: str
    scopes: tuple[str, ...]
    audiences: tuple[str, ...]
    access_token_seconds: int
    jkt: str | None = None
    """Thumbprint of the key that it is bound to (RFC 9449 section 6.1); None: it is not."""
    x5t_s256: str | None = None
    """Thumbprint of the certificate that it is bound to (RFC 8705 section 3.1); None: it is not."""


class AccessTokenExchanged(Event, stored_as="token_issuer.AccessTokenExchanged"):
    """An application was given an access token in exchange for one that it had been sent (RFC 8693).

    What the one before came from, session and grant included, this one comes from as well.
    """

    retention = Retention.EXPIRING

    jti: str
    client_id: str
    """Of the application that asked for it."""
    sub: str
    sid: str | None
    gid: str | None
    scopes: tuple[str, ...]
    audiences: tuple[str, ...]
    actors: tuple[str, ...]
    """The applications that act, by `client_id`: the one that asked, then back to the one that had the first token."""
    derived_from: tuple[str, ...]
    """The `jti` of the token that was shown, then of those which that one came from."""
    access_token_seconds: int
    """It ends after so long …"""
    ends_by: datetime
    """… and never later than this, the `exp` of the token that was shown."""


class AccessTokenRevoked(Event, stored_as="token_issuer.AccessTokenRevoked"):
    """One access token is no longer accepted (RFC 7009); its grant goes on."""

    retention = Retention.EXPIRING
    denial_kinds = frozenset({DenialKind.TOKEN})

    jti: str
    client_id: str
    token_ends_at: datetime
    """The `exp` of the token."""

    def denies(self) -> tuple[Denial, ...]:
        """The token."""
        return (Denial(DenialKind.TOKEN, self.jti, DenialRule.STANDING, until=self.token_ends_at),)


class AssertionUsed(Event, stored_as="token_issuer.AssertionUsed"):
    """An application proved with an assertion who it is, and nothing else was written because of that request."""

    retention = Retention.EXPIRING

    client_id: str
    assertion_digest: str
    """SHA-256 over the client_id and the `jti`, hexadecimal."""
    expires_at: datetime
    """Of the assertion."""


class ProofUsed(Event, stored_as="token_issuer.ProofUsed"):
    """An application showed with a DPoP proof that it holds a key, and nothing else was written because of it."""

    retention = Retention.EXPIRING

    client_id: str
    proof_digest: str
    """SHA-256 over the thumbprint of its key and the `jti`, hexadecimal."""
    expires_at: datetime
    """When it is too old to be used anyway."""


class AuthorizationRequestPushed(Event, stored_as="token_issuer.AuthorizationRequestPushed"):
    """An application left an authorization request (RFC 9126). What it asks may be personal, so it is not in here."""

    retention = Retention.EXPIRING

    client_id: str
    request_digest: str
    """SHA-256 of the reference that the `request_uri` ends with, hexadecimal."""
    expires_at: datetime
    """By then a sign-in has to have begun with it."""


class DeviceAuthorizationRequested(Event, stored_as="token_issuer.DeviceAuthorizationRequested"):
    """A device asked for access (RFC 8628). What it asks for may be personal, so it is not in here.

    If a person allows it, the grant of this `gid` is opened.
    """

    retention = Retention.EXPIRING

    gid: str
    client_id: str
    device_code_digest: str
    expires_at: datetime
    """By then somebody has to have allowed it, and the device to have fetched its tokens."""


class DeviceAuthorizationRefused(Event, stored_as="token_issuer.DeviceAuthorizationRefused"):
    """A person refused what a device asked for."""

    retention = Retention.EXPIRING

    gid: str
    client_id: str
    sub: str
    sid: str


class ReferenceKind(StrEnum):
    """Whom a reference token acts as. The value stands in the token's prefix."""

    PERSONAL = "pat"
    """The user who made it."""
    SERVICE = "sat"
    """An application's service account, or the application itself where it has none."""


class ReferenceTokenIssued(Event, stored_as="token_issuer.ReferenceTokenIssued"):
    """A long-lived opaque token was made. What its owner calls it may be personal, so it is not in here."""

    jti: str
    digest: str
    """SHA-256 of the token, hexadecimal."""
    kind: ReferenceKind
    client_id: str
    sub: str
    scopes: tuple[str, ...]
    audiences: tuple[str, ...]
    expires_at: datetime


class ReferenceTokenUsed(Event, stored_as="token_issuer.ReferenceTokenUsed"):
    """A reference token was accepted, for the first time on this day (of UTC), as far as the issuer was asked."""

    retention = Retention.EXPIRING

    jti: str
    used_at: datetime


class ReferenceEndReason(StrEnum):
    """Why a reference token was taken back."""

    BY_OWNER = "by_owner"
    BY_ADMINISTRATOR = "by_administrator"
    BY_APPLICATION = "by_application"
    """By the application that it is for (RFC 7009)."""
    REPORTED_LEAKED = "reported_leaked"


class ReferenceTokenRevoked(Event, stored_as="token_issuer.ReferenceTokenRevoked"):
    """One reference token is no longer accepted."""

    denial_kinds = frozenset({DenialKind.TOKEN})

    jti: str
    client_id: str
    sub: str
    reason: ReferenceEndReason
    expires_at: datetime
    """Of the token."""

    def denies(self) -> tuple[Denial, ...]:
        """The token."""
        return (Denial(DenialKind.TOKEN, self.jti, DenialRule.STANDING, until=self.expires_at),)
