"""The facts of the registry. Stored names are permanent; a changed meaning is a new name."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from services.identity.events import UserKind
from shared.denials import Denial, DenialKind, DenialRule, initial_access_id, secrets_id
from shared.log.event import Event


class ApplicationType(StrEnum):
    """What kind of client it is (RFC 6749 section 2.1, RFC 8252 for native)."""

    CONFIDENTIAL = "confidential"
    PUBLIC = "public"
    NATIVE = "native"


class GrantType(StrEnum):
    """`grant_type` values that an application may use (RFC 6749, RFC 8693, RFC 8628)."""

    AUTHORIZATION_CODE = "authorization_code"
    REFRESH_TOKEN = "refresh_token"
    CLIENT_CREDENTIALS = "client_credentials"
    TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
    """RFC 8693 section 2.1."""
    DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
    """A person allows it with a browser of their own, on another device perhaps (RFC 8628)."""


class AuthMethod(StrEnum):
    """`token_endpoint_auth_method` (RFC 7591 section 2); exactly one for each application."""

    CLIENT_SECRET_BASIC = "client_secret_basic"
    CLIENT_SECRET_POST = "client_secret_post"
    PRIVATE_KEY_JWT = "private_key_jwt"
    """It signs an assertion with a key of its own (RFC 7523, OpenID Connect Core section 9)."""
    SELF_SIGNED_TLS_CLIENT_AUTH = "self_signed_tls_client_auth"
    """It opens the connection with a certificate for a key of its own (RFC 8705 section 2.2)."""
    TLS_CLIENT_AUTH = "tls_client_auth"
    """The same, with a certificate that an authority has issued to it by name (section 2.1)."""
    NONE = "none"


class ReferenceTokens(StrEnum):
    """Who may have reference tokens made for an application."""

    NONE = "none"
    AUTHENTICATED_USERS = "authenticated_users"
    ADMINISTRATORS_ONLY = "administrators_only"


class SecurityProfile(StrEnum):
    """A set of rules that is held for an application in all that it does."""

    FAPI2 = "fapi2"
    """FAPI 2.0 Security Profile."""


class PublicJwk(BaseModel):
    """A public key that an application signs with (RFC 7517, RFC 7518 section 6, RFC 8037); public members only."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kty: str
    kid: str | None = None
    alg: str | None = None
    """The one algorithm that it is used with. None: those of its kind."""
    crv: str | None = None
    x: str | None = None
    y: str | None = None
    n: str | None = None
    e: str | None = None


class ResponseAlgorithm(StrEnum):
    """What tokens that an application reads are signed with (JWA, RFC 7518 section 3.1).

    The values of `id_token_signed_response_alg` and `userinfo_signed_response_alg` (OpenID Connect Dynamic Client
    Registration section 2).
    """

    RS256 = "RS256"
    ES256 = "ES256"


CERTIFICATE_NAMES = (
    "tls_client_auth_subject_dn",
    "tls_client_auth_san_dns",
    "tls_client_auth_san_uri",
    "tls_client_auth_san_ip",
    "tls_client_auth_san_email",
)
"""RFC 8705 section 2.1.2."""


class ApplicationSettings(BaseModel):
    """What an administrator decides about an application."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    display_name: str
    logo_uri: str | None = None
    contact: str | None = None
    """How to reach the people who run it; shown at consent."""
    type: ApplicationType
    redirect_uris: tuple[str, ...] = ()
    post_logout_redirect_uris: tuple[str, ...] = ()
    backchannel_logout_uri: str | None = None
    """Where it is told that a session has ended (OpenID Connect Back-Channel Logout 1.0 section 2.2)."""
    backchannel_logout_session_required: bool = False
    """It needs the `sid` to know which session that was. It is told in any case."""
    user_kinds: tuple[UserKind, ...] = (UserKind.INTERNAL,)
    service_account: str | None = None
    """`sub` of the user of kind `service` that client credentials act as."""
    scopes: tuple[str, ...] = ()
    """API scopes; protocol scopes (`openid` …) are not listed."""
    grants: tuple[GrantType, ...] = ()
    auth_method: AuthMethod
    jwks: tuple[PublicJwk, ...] = ()
    """The keys that it signs with, or that its certificates are for; else they are at `jwks_uri`."""
    jwks_uri: str | None = None
    require_pkce: bool = True
    require_pushed_authorization_requests: bool = False
    """It begins a sign-in in no other way (RFC 9126 section 6)."""
    require_signed_request_object: bool = False
    """Its requests are signed with a key of its own (RFC 9101 section 10.5)."""
    dpop_bound_access_tokens: bool = False
    """It gets no access token that is not bound to a key (RFC 9449 section 5.2)."""
    tls_client_certificate_bound_access_tokens: bool = False
    """It gets no access token that is not bound to a certificate (RFC 8705 section 3.4)."""
    tls_client_auth_subject_dn: str | None = None
    """For `tls_client_auth`: the subject of its certificate (RFC 4514). Exactly one of the five (RFC 8705, 2.1.2)."""
    tls_client_auth_san_dns: str | None = None
    """One of the alternative names of its certificate, as a host …"""
    tls_client_auth_san_uri: str | None = None
    """… as a URI …"""
    tls_client_auth_san_ip: str | None = None
    """… as an IP address …"""
    tls_client_auth_san_email: str | None = None
    """… or as an e-mail address."""
    reference_tokens: ReferenceTokens = ReferenceTokens.NONE
    access_token_seconds: int | None = None
    """None: the issuer's default."""
    refresh_token_seconds: int | None = None
    """Absolute, from the opening of the grant. None: the issuer's default for the type."""
    first_party: bool = False
    """Belongs to the platform itself; a confidential one may skip consent."""
    userinfo_signed_response_alg: ResponseAlgorithm | None = None
    """What userinfo signs its answers to it with. None: they are plain JSON."""
    id_token_signed_response_alg: ResponseAlgorithm = ResponseAlgorithm.RS256
    """What its ID tokens are signed with; logout tokens, too (OpenID Connect Back-Channel Logout 1.0 section 2.6)."""
    security_profile: SecurityProfile | None = None
    """The rules that it is held to beside the usual ones; what they need of these settings is in them."""

    @property
    def certificate_names(self) -> Mapping[str, str]:
        """What its certificate has to say, for `tls_client_auth`, by the names of the settings."""
        found = ((name, getattr(self, name)) for name in CERTIFICATE_NAMES)
        return {name: value for name, value in found if value is not None}


class Scope(BaseModel):
    """A scope of a resource."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    description: str
    """Plain language, for the consent page: completes "This application will be able to …"."""


class ResourceSettings(BaseModel):
    """What an administrator decides about a resource."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    display_name: str
    scopes: tuple[Scope, ...]
    admits_community_users: bool = False
    callers: tuple[str, ...] = ()
    """Who may have its tokens validated: `client:<client_id>` for introspection (RFC 7662),
    `resource/<name>`, `service/<name>` or `operator` for the certificate of a gRPC caller."""


class ApplicationRegistered(Event, stored_as="registry.ApplicationRegistered"):
    """An application is trusted from here on."""

    client_id: str
    settings: ApplicationSettings


class ApplicationChanged(Event, stored_as="registry.ApplicationChanged"):
    """Its settings are now these."""

    denial_kinds = frozenset({DenialKind.CLIENT, DenialKind.CLIENT_REFERENCES})

    client_id: str
    settings: ApplicationSettings
    narrowed: bool
    """It may do less than before (scope, grant or user kind removed, profile begun): tokens issued before end."""
    references_narrowed: bool = False
    """Fewer may have reference tokens for it, or they would act as somebody else: those issued before end."""
    proof_changed: bool = False
    """It proves itself in another way, or with other keys: tokens stay, as where a secret is revoked."""

    def denies(self) -> tuple[Denial, ...]:
        """A cut-off where it was narrowed; for its reference tokens alone, where only what concerns them was."""
        proof = (Denial(DenialKind.CLIENT, secrets_id(self.client_id), DenialRule.CUT_OFF),)
        denied = proof if self.proof_changed else ()
        if self.narrowed:
            return (*denied, Denial(DenialKind.CLIENT, self.client_id, DenialRule.CUT_OFF))
        if self.references_narrowed:
            return (*denied, Denial(DenialKind.CLIENT_REFERENCES, self.client_id, DenialRule.CUT_OFF))
        return denied


class ApplicationDisabled(Event, stored_as="registry.ApplicationDisabled"):
    """The kill switch: none of its tokens is accepted while it stands."""

    denial_kinds = frozenset({DenialKind.CLIENT})

    client_id: str
    reason: str

    def denies(self) -> tuple[Denial, ...]:
        """The client, while disabled."""
        return (Denial(DenialKind.CLIENT, self.client_id, DenialRule.STANDING),)


class ApplicationEnabled(Event, stored_as="registry.ApplicationEnabled"):
    """The kill switch is released; grants resume."""

    denial_kinds = frozenset({DenialKind.CLIENT})

    client_id: str

    def denies(self) -> tuple[Denial, ...]:
        """Lifts the denial of the client."""
        return (Denial(DenialKind.CLIENT, self.client_id, DenialRule.LIFTED),)


class ApplicationUninstalled(Event, stored_as="registry.ApplicationUninstalled"):
    """The application is gone for ever; its `client_id` is never used again."""

    denial_kinds = frozenset({DenialKind.CLIENT})

    client_id: str

    def denies(self) -> tuple[Denial, ...]:
        """The client, for ever."""
        return (Denial(DenialKind.CLIENT, self.client_id, DenialRule.STANDING),)


class SecretAdded(Event, stored_as="registry.SecretAdded"):
    """One more secret of an application is valid; the secret itself was shown once and is not kept."""

    client_id: str
    secret_id: str
    secret_digest: str
    """SHA-256 of the secret (256 random bits), hexadecimal."""
    expires_at: datetime | None = None


class SecretRevoked(Event, stored_as="registry.SecretRevoked"):
    """A secret is no longer valid; tokens obtained with it stay."""

    denial_kinds = frozenset({DenialKind.CLIENT})

    client_id: str
    secret_id: str

    def denies(self) -> tuple[Denial, ...]:
        """No token; whatever the issuer was about to give to who had shown one of the client's secrets."""
        return (Denial(DenialKind.CLIENT, secrets_id(self.client_id), DenialRule.CUT_OFF),)


class SecretReportedCompromised(Event, stored_as="registry.SecretReportedCompromised"):
    """Somebody else may have used this secret: it is revoked, and whatever the application was given before ends."""

    denial_kinds = frozenset({DenialKind.CLIENT})

    client_id: str
    secret_id: str

    def denies(self) -> tuple[Denial, ...]:
        """A cut-off for the client, its grants included."""
        return (Denial(DenialKind.CLIENT, self.client_id, DenialRule.CUT_OFF),)


class InitialAccessTokenIssued(Event, stored_as="registry.InitialAccessTokenIssued"):
    """Whoever shows this token may register applications (RFC 7591 section 3); it was shown once and is not kept."""

    token_id: str
    token_digest: str
    """SHA-256 of the token (256 random bits), hexadecimal."""
    purpose: str
    """What it is for, in the administrator's words."""
    expires_at: datetime
    uses: int | None
    """How many applications it registers. None: any number."""
    client_id_prefix: str
    """What the names of those applications begin with."""
    scopes: tuple[str, ...] = ()
    """The API scopes that they may have."""
    grants: tuple[GrantType, ...] = ()
    """The grants that they may have."""


class InitialAccessTokenRevoked(Event, stored_as="registry.InitialAccessTokenRevoked"):
    """It registers nothing any more; what it registered stays."""

    denial_kinds = frozenset({DenialKind.CLIENT})

    token_id: str

    def denies(self) -> tuple[Denial, ...]:
        """No token of an application; the registrations that were about to be written on its word."""
        return (Denial(DenialKind.CLIENT, initial_access_id(self.token_id), DenialRule.CUT_OFF),)


class ApplicationDynamicallyRegistered(Event, stored_as="registry.ApplicationDynamicallyRegistered"):
    """The application was registered by a program, not by an administrator; stands beside its registration."""

    client_id: str
    initial_access_token: str
    """Id of the initial access token that was shown."""
    scopes: tuple[str, ...]
    """The API scopes that it may give itself."""
    grants: tuple[GrantType, ...]
    """The grants that it may give itself."""
    registration_token_digest: str
    """Whoever shows the token with this digest (SHA-256 of 256 random bits, hexadecimal) may read, change and uninstall
    the application (RFC 7592 section 2)."""


class ApplicationInstalled(Event, stored_as="registry.ApplicationInstalled"):
    """An administrator approved the application as its vendor describes it; stands beside its registration."""

    client_id: str
    document: str
    """Where the description was fetched from."""
    document_digest: str
    """SHA-256 of the description, as it was shown and approved, hexadecimal."""


class RegistrationAccessTokenRevoked(Event, stored_as="registry.RegistrationAccessTokenRevoked"):
    """The application does not manage itself any more; administrators do."""

    client_id: str


class ResourceRegistered(Event, stored_as="registry.ResourceRegistered"):
    """An API accepts tokens of this issuer; its identifier is the audience."""

    resource_id: str
    identifier: str
    settings: ResourceSettings


class ResourceChanged(Event, stored_as="registry.ResourceChanged"):
    """Its settings are now these. A scope that is gone is no longer issued."""

    resource_id: str
    settings: ResourceSettings


class ResourceRemoved(Event, stored_as="registry.ResourceRemoved"):
    """No token is issued for it any more."""

    resource_id: str
