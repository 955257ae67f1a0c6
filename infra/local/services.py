"""The services as processes, and what each of them is told."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra.local.certificates import Authority
from infra.local.home import Home
from infra.local.nats import password_file
from infra.local.ports import LOOPBACK, SERVICES, Ports
from infra.local.process import Process
from stagedoor.certificate import CLIENT_CERT

ROOT = Path(__file__).resolve().parent.parent.parent
_IMPORTED = (ROOT, ROOT / "sdk", ROOT / "sdk" / "examples")


def python_environment() -> dict[str, str]:
    """The environment of a Python program of ours: the caller's, and where our packages are."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join(map(str, _IMPORTED)),
        "PYTHONUNBUFFERED": "1",
        "GRPC_VERBOSITY": "NONE",
    }


def database_password(home: Home, service: str) -> Path:
    """The file with the password of a service's login, made at the first call."""
    return home.secret(f"{service}.database")


def deploy_secret(home: Home) -> Path:
    """The file with the one-time secret that makes the first administrator."""
    return home.secret("deploy")


def _settings(home: Home, ports: Ports, service: str, dsn: str, own: Ports | None = None) -> dict[str, str]:
    """What a service is told (`shared.settings.ServiceSettings`); secrets only as files.

    It listens on `own` ports, if it has some, and calls its peers there; everything else is where `ports` say.
    """
    own = own or ports
    authority = Authority(home.certificates)
    shown = authority.service(service)
    return {
        "STAGEDOOR_ORIGIN": ports.origin,
        "STAGEDOOR_ISSUER": ports.issuer,
        **(_over_tls(ports, authority) if ports.tls else {}),
        "STAGEDOOR_DEMO": "true",
        "STAGEDOOR_HTTP_BIND": f"{LOOPBACK}:{own.http(service)}",
        "STAGEDOOR_GRPC_BIND": own.grpc_address(service),
        "STAGEDOOR_DATABASE": dsn,
        "STAGEDOOR_DATABASE_PASSWORD_FILE": str(database_password(home, service)),
        "STAGEDOOR_NATS_URL": f"nats://{LOOPBACK}:{ports.nats}",
        "STAGEDOOR_NATS_USER": service,
        "STAGEDOOR_NATS_PASSWORD_FILE": str(password_file(home, service)),
        "STAGEDOOR_TLS_CA_FILE": str(authority.certificate),
        "STAGEDOOR_TLS_CERTIFICATE_FILE": str(shown.certificate),
        "STAGEDOOR_TLS_KEY_FILE": str(shown.key),
        "STAGEDOOR_MASTER_KEY_FILE": str(home.master_key(service)),
        **{f"STAGEDOOR_{peer.upper()}_ADDRESS": own.grpc_address(peer) for peer in SERVICES},
        **({"STAGEDOOR_DEPLOY_SECRET_FILE": str(deploy_secret(home))} if service == "identity" else {}),
        **(_folders(home) if service == "ledger" else {}),
    }


def _over_tls(ports: Ports, authority: Authority) -> Mapping[str, str]:
    """What is so over https alone: whom to believe at the door, and which certificates clients may show there."""
    return {
        "STAGEDOOR_ISSUER_CA_FILE": str(authority.certificate),
        "STAGEDOOR_CLIENT_CERTIFICATE_HEADER": CLIENT_CERT,
        "STAGEDOOR_MTLS_ORIGIN": ports.mtls_origin,
        "STAGEDOOR_CLIENT_AUTHORITIES_FILE": str(authority.certificate),
    }


def _folders(home: Home) -> Mapping[str, str]:
    """Where the ledger keeps what is not in the database."""
    return {"STAGEDOOR_EVIDENCE_FOLDER": str(home.evidence), "STAGEDOOR_ARCHIVE_FOLDER": str(home.archive)}


def process(  # noqa: PLR0913  (each is one independent part)
    home: Home,
    ports: Ports,
    service: str,
    dsn: str,
    more: Mapping[str, str],
    *,
    own: Ports | None = None,
    program: Sequence[str] = (),
) -> Process:
    """A service, not yet started; `more` are settings that this system has otherwise than usual.

    `own` ports make it a further replica, named for them. A `program` is a module and arguments that run the service
    otherwise than by itself; the service's module comes last.
    """
    environment = {**python_environment(), **_settings(home, ports, service, dsn, own), **more}
    name = service if own is None else replica_name(service, own)
    command = [sys.executable, "-P", "-m", *program, f"services.{service}.main"]
    return Process(name, command, environment, home.log(name))


def console(home: Home, ports: Ports, more: Mapping[str, str]) -> Process:
    """The administrators' console, not yet started. It has neither a database nor a user at NATS."""
    authority = Authority(home.certificates)
    shown = authority.service("console")
    told = {
        "STAGEDOOR_ORIGIN": ports.origin,
        "STAGEDOOR_ISSUER": ports.issuer,
        **({"STAGEDOOR_ISSUER_CA_FILE": str(authority.certificate)} if ports.tls else {}),
        "STAGEDOOR_DEMO": "true",
        "STAGEDOOR_HTTP_BIND": f"{LOOPBACK}:{ports.console}",
        "STAGEDOOR_TLS_CA_FILE": str(authority.certificate),
        "STAGEDOOR_TLS_CERTIFICATE_FILE": str(shown.certificate),
        "STAGEDOOR_TLS_KEY_FILE": str(shown.key),
        "STAGEDOOR_MASTER_KEY_FILE": str(home.master_key("console")),
        **{f"STAGEDOOR_{peer.upper()}_ADDRESS": ports.grpc_address(peer) for peer in SERVICES if peer != "resource"},
    }
    command = [sys.executable, "-P", "-m", "services.console.main"]
    return Process("console", command, {**python_environment(), **told, **more}, home.log("console"))


def replica_name(service: str, own: Ports) -> str:
    """What a further replica of a service is called."""
    return f"{service}-{own.base}"


def readiness(home: Home, ports: Ports, *, console: bool) -> Process:
    """The answer to the door's `/readyz`, with the console or without."""
    command = [sys.executable, "-P", "-m", "infra.local.readiness", str(ports.readiness)]
    command += [f"{service}={ports.http(service)}" for service in SERVICES]
    command += [f"console={ports.console}"] if console else []
    return Process("readiness", command, python_environment(), home.log("readiness"))
