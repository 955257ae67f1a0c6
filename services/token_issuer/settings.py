"""What the token issuer is told from outside, and what follows from it."""

from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field

from services.token_issuer import fapi
from services.token_issuer.authorities import Authorities
from services.token_issuer.client_certificates import MutualTls
from services.token_issuer.scopes import Places
from services.token_issuer.views import Application
from shared import denials
from shared.http.attempts import AttemptSettings
from shared.settings import as_browsers_write

LONGEST_ACCESS_TOKEN = denials.LONGEST_ACCESS_TOKEN
"""No application's access tokens live longer, nor the ID tokens beside them."""
_CLOCKS_DIFFER = timedelta(seconds=60)
"""By how much the clocks of replicas and resources may differ, and how long a request may take from one look to the
other."""


class TokenIssuerSettings(AttemptSettings):
    """Settings of this service."""

    code_seconds: int = Field(default=60, ge=1, le=600)
    """Life of an authorization code (RFC 6749 section 4.1.2: at most 10 minutes)."""
    access_token_seconds: int = Field(default=3600, ge=60, le=24 * 3600)
    """Life of an access token where the application says nothing else."""
    refresh_token_seconds: int = Field(default=30 * 24 * 3600, ge=60, le=365 * 24 * 3600)
    """Absolute life of refreshing, from the opening of the grant, for confidential applications."""
    public_refresh_token_seconds: int = Field(default=24 * 3600, ge=60, le=365 * 24 * 3600)
    """The same for public and native applications."""
    refresh_grace_seconds: int = Field(default=10, ge=0, le=60)
    """How long a used refresh token gets the same answer again."""
    authorization_seconds: int = Field(default=15 * 60, ge=60, le=3600)
    """How long a person may take from the request to the answer."""
    jwks_cache_seconds: int = Field(default=300, ge=10, le=24 * 3600)
    """How long the JWKS may be kept (`Cache-Control: max-age`); a key is announced for longer before it is used."""
    signing_key_seconds: int = Field(default=90 * 24 * 3600, ge=3600)
    """How long a key signs before its successor is announced."""
    validations_at_once: int = Field(default=10_000, ge=1)
    """Tokens that a process judges side by side; what is asked beyond that is RESOURCE_EXHAUSTED."""
    pushed_request_seconds: int = Field(default=60, ge=5, le=600)
    """How long a sign-in can begin with a pushed authorization request (RFC 9126 section 2.2)."""
    device_code_seconds: int = Field(default=600, ge=60, le=1800)
    """How long a person may take to allow what a device asks for (RFC 8628 section 3.2)."""
    assertion_audience_endpoints: bool = True
    """Relaxation: an assertion may name, in place of the issuer, the endpoints for tokens, pushed requests and devices.
    Many libraries do (OpenID Connect Core section 9, RFC 9126 section 2); off, nothing but the issuer is accepted."""
    dpop_proof_seconds: int = Field(default=60, ge=10, le=600)
    """By how much the time in a DPoP proof may differ from now (RFC 9449 section 11.1)."""
    mtls_origin: str = ""
    """Origin at which clients are asked for a certificate (RFC 8705 section 5), if that is not the issuer's own."""
    client_authorities_file: Path | None = None
    """Certificates (PEM) of the authorities that issue certificates to applications; None: there are self-signed ones
    alone (RFC 8705 section 2)."""
    jwks_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks that are not public, and that keys of applications are fetched from all the same; a JSON list."""
    pruning_seconds: float = Field(default=3600, gt=0)
    """How often rows are let go of that no request can need any more."""
    logout_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks that are not public, and that logouts are sent to all the same; a JSON list, like `["10.8.0.0/16"]`."""
    issue_for_identity: bool = True
    """Switch that refuses all that the identity service asks for, should it be stolen."""

    @property
    def mutual_tls(self) -> MutualTls | None:
        """What these settings mean for certificates of clients; ends the process where they fit nothing."""
        believed, path = self.client_certificates, self.client_authorities_file
        if believed is None:
            if self.mtls_origin or path is not None:
                raise SystemExit("stagedoor: setting STAGEDOOR_CLIENT_CERTIFICATE_HEADER: none is believed without")
            return None
        origin = as_browsers_write(self.mtls_origin or self.origin)
        if not origin.startswith("https://") or origin != f"https://{urlsplit(origin).netloc}":
            raise SystemExit("stagedoor: setting STAGEDOOR_MTLS_ORIGIN: it is https://, a host, and a port perhaps")
        return MutualTls(believed, origin, None if path is None else Authorities.read(path))


@dataclass(frozen=True, slots=True)
class KeyRules:
    """How long signing keys are what."""

    jwks_cache: timedelta
    """How long a JWKS may be kept."""
    announced: timedelta
    """From the announcement of a key to its use: every JWKS from before has been fetched anew."""
    rotation: timedelta
    """From the use of a key to the announcement of its successor."""
    retiring: timedelta
    """From the use of the successor to the retirement of a key: nothing that it signed is alive."""
    known: timedelta
    """For how long a replica acts on what it knows of the keys."""

    @classmethod
    def of(cls, settings: TokenIssuerSettings) -> "KeyRules":
        """What these settings mean.

        A replica may publish a JWKS, or sign, by what it knew `known` ago, so both waits are longer by that; and by a
        moment, for clocks that differ.
        """
        cache, known = timedelta(seconds=settings.jwks_cache_seconds), timedelta(seconds=settings.max_staleness_seconds)
        return cls(
            jwks_cache=cache,
            announced=cache + known + _CLOCKS_DIFFER,
            rotation=timedelta(seconds=settings.signing_key_seconds),
            retiring=LONGEST_ACCESS_TOKEN + known + _CLOCKS_DIFFER,
            known=known,
        )


def _assertion_audiences(settings: TokenIssuerSettings) -> frozenset[str]:
    endpoints = ("token", "par", "device") if settings.assertion_audience_endpoints else ()
    return frozenset({settings.issuer, *(f"{settings.issuer}/connect/{name}" for name in endpoints)})


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings as the rules use them."""

    issuer: str
    places: Places
    code: timedelta
    access_token_seconds: int
    refresh: timedelta
    public_refresh: timedelta
    grace: timedelta
    authorization: timedelta
    keys: KeyRules
    pushed_request: timedelta
    device_code: timedelta
    assertion_audiences: frozenset[str]
    """What an application may call this issuer in its assertions."""
    proof_window: timedelta
    """By how much the time in a DPoP proof may differ from now."""
    issue_for_identity: bool

    @classmethod
    def of(cls, settings: TokenIssuerSettings) -> "Policy":
        """What these settings mean."""
        return cls(
            issuer=settings.issuer,
            places=Places(userinfo=f"{settings.issuer}/connect/userinfo", management=f"{settings.origin}/management"),
            code=timedelta(seconds=settings.code_seconds),
            access_token_seconds=settings.access_token_seconds,
            refresh=timedelta(seconds=settings.refresh_token_seconds),
            public_refresh=timedelta(seconds=settings.public_refresh_token_seconds),
            grace=timedelta(seconds=settings.refresh_grace_seconds),
            authorization=timedelta(seconds=settings.authorization_seconds),
            keys=KeyRules.of(settings),
            pushed_request=timedelta(seconds=settings.pushed_request_seconds),
            device_code=timedelta(seconds=settings.device_code_seconds),
            assertion_audiences=_assertion_audiences(settings),
            proof_window=timedelta(seconds=settings.dpop_proof_seconds),
            issue_for_identity=settings.issue_for_identity,
        )

    def access_token_life(self, application: Application) -> int:
        """Life of an application's access tokens, in seconds."""
        seconds = application.settings.access_token_seconds or self.access_token_seconds
        return min(seconds, int(LONGEST_ACCESS_TOKEN.total_seconds()))

    def code_life(self, application: Application) -> timedelta:
        """Life of an application's authorization codes."""
        return min(self.code, fapi.LONGEST_CODE) if application.fapi2 else self.code

    def pushed_request_life(self, application: Application) -> timedelta:
        """How long a sign-in can begin with a request that the application pushed."""
        return min(self.pushed_request, fapi.LONGEST_PUSHED_REQUEST) if application.fapi2 else self.pushed_request

    def refresh_life(self, application: Application) -> timedelta:
        """Life of an application's refreshing, from the opening of a grant."""
        if application.settings.refresh_token_seconds is not None:
            return timedelta(seconds=application.settings.refresh_token_seconds)
        return self.refresh if application.confidential else self.public_refresh
