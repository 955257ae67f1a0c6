"""What every service is told from outside: environment variables `STAGEDOOR_*`, secrets as files.

A service adds its own by subclassing `ServiceSettings`. Secrets are always given as the path of a file, so that
they stand in no process list and no environment dump.
"""

import re
from ipaddress import ip_address
from pathlib import Path
from typing import ClassVar, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from shared.http.client_address import LOOPBACK
from stagedoor.certificate import ClientCertificates

S = TypeVar("S", bound="ServiceSettings")

_NAMED = re.compile(r'"(\w+)"')
_USUAL_PORT = re.compile(r"^(?:(https://[^/?#]+):443|(http://[^/?#]+):80)(?![^/?#])")


class ServiceSettings(BaseSettings):
    """Settings that all services share."""

    model_config = SettingsConfigDict(env_prefix="STAGEDOOR_", frozen=True, extra="ignore")

    has_database: ClassVar[bool] = True
    """Whether it cannot do without one."""

    origin: str = "http://127.0.0.1:8400"
    """The public origin (the front door), without a slash at the end."""
    issuer: str = "http://127.0.0.1:8400/id"
    """Issuer identifier (RFC 8414 section 2)."""
    issuer_ca_file: Path | None = None
    """Authorities of the certificate at the issuer's address; None: those that this machine knows."""
    demo: bool = False
    """Demo mode: known passwords; refuses any bind address and issuer that is not loopback."""

    http_bind: str = "127.0.0.1:8401"
    """Host and port for the internal HTTP of this service."""
    grpc_bind: str = "127.0.0.1:9401"
    proxies: tuple[str, ...] = LOOPBACK
    """Networks of the proxies in front, whose `X-Forwarded-For` is believed; a JSON list."""
    client_certificate_header: str = Field(default="", pattern="^[A-Za-z0-9-]{0,64}$")
    """Header in which those proxies say which certificate a client has opened its connection with (RFC 8705). Empty: no
    certificate is ever believed."""
    http_limit_concurrency: int = Field(default=1024, gt=0)
    """Requests under way at once; more are answered 503."""
    drain_seconds: float = Field(default=5.0, ge=0)
    """How long requests that are under way may take when the service is told to stop."""

    database: str = ""
    """PostgreSQL connection string without a password."""
    database_password_file: Path | None = None
    nats_url: str = "nats://127.0.0.1:8422"
    """Addresses of the servers, separated by commas. With `tls://` they are believed, and this service is, by the
    certificates below; the handshake comes first, so nothing is said in the clear."""
    nats_user: str = ""
    nats_password_file: Path | None = None

    tls_ca_file: Path
    """Authority that every peer's certificate is checked against."""
    tls_certificate_file: Path
    tls_key_file: Path
    renewal_seconds: float = Field(default=300.0, gt=0)
    """Within so many seconds of a new certificate in its file the process ends in order, to be started again with it.
    Replicas do so at different moments."""

    registry_address: str = "127.0.0.1:9401"
    identity_address: str = "127.0.0.1:9402"
    token_issuer_address: str = "127.0.0.1:9403"
    resource_address: str = "127.0.0.1:9404"
    ledger_address: str = "127.0.0.1:9405"

    master_key_file: Path | None = None
    """File with 32 random bytes, base64: the root of this service's own keys (`shared.keys`)."""

    heartbeat_seconds: float = Field(default=1.0, gt=0)
    max_staleness_seconds: float = Field(default=30.0, gt=0)
    log_level: str = "info"
    trace_ratio: float = Field(default=0.01, ge=0, le=1)
    """Share of the courses of events that are traced, where `OTEL_EXPORTER_OTLP_ENDPOINT` says where spans go; the
    same for all services."""

    @property
    def client_certificates(self) -> ClientCertificates | None:
        """Whom to believe which certificate a client has."""
        if not self.client_certificate_header:
            return None
        return ClientCertificates(self.client_certificate_header, proxies=self.proxies)

    @field_validator("origin", "issuer")
    @classmethod
    def _without_usual_port(cls, address: str) -> str:
        return as_browsers_write(address)


def read_secret(path: Path | None, what: str) -> str:
    """The text of a secret's file, without the white space around it."""
    if path is None:
        raise SystemExit(f"stagedoor: no file is set for {what}")
    try:
        return path.read_text().strip()
    except OSError as failure:
        raise SystemExit(f"stagedoor: {what} cannot be read: {failure.strerror}: {path}") from failure


def load(settings_class: type[S]) -> S:
    """Read the settings, or end the process with one line that says which variable is wrong."""
    try:
        settings = settings_class()
    except ValidationError as wrong:
        first = wrong.errors()[0]
        name = "STAGEDOOR_" + "_".join(str(part) for part in first["loc"]).upper()
        raise SystemExit(f"stagedoor: setting {name}: {first['msg']}") from None
    except SettingsError as wrong:  # it names the field, and the value is in its cause alone
        name = "STAGEDOOR_" + "".join(_NAMED.findall(str(wrong))[:1]).upper()
        raise SystemExit(f"stagedoor: setting {name}: it is not JSON") from None
    if settings.has_database and not settings.database:
        raise SystemExit("stagedoor: setting STAGEDOOR_DATABASE: there is none")
    if not settings.demo:
        _refuse_wrong_issuer(settings)
    return settings


def as_browsers_write(address: str) -> str:
    """An http or https address without the port that its scheme has anyway.

    Browsers leave it out of the `Origin` of a form (RFC 6454 section 6.1), so an origin that has it is nobody's.
    """
    return _USUAL_PORT.sub(r"\1\2", address)


def _refuse_wrong_issuer(settings: ServiceSettings) -> None:
    """End the process over an issuer that nobody could trust (RFC 8414 section 2), or that is not at the origin."""
    issuer = urlsplit(settings.issuer)
    if issuer.scheme != "https" and not (issuer.scheme == "http" and is_loopback(issuer.hostname or "")):
        raise SystemExit("stagedoor: setting STAGEDOOR_ISSUER: it begins with https://, but on the loopback address")
    if issuer.query or issuer.fragment or not settings.issuer.startswith(f"{settings.origin}/"):
        raise SystemExit("stagedoor: setting STAGEDOOR_ISSUER: it is STAGEDOOR_ORIGIN, a slash, and a path")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
