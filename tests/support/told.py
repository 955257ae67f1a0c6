"""What services have to be told, by their settings classes."""

from collections.abc import Mapping

import pytest

from services.console.settings import ConsoleSettings
from services.identity.settings import IdentitySettings
from services.ledger.settings import LedgerSettings
from services.token_issuer.settings import TokenIssuerSettings
from shared.http.attempts import AttemptSettings
from shared.settings import ServiceSettings, load

CLASSES: Mapping[str, type[ServiceSettings]] = {
    "registry": AttemptSettings,
    "identity": IdentitySettings,
    "token_issuer": TokenIssuerSettings,
    "resource": ServiceSettings,
    "ledger": LedgerSettings,
}
NEEDED = {
    "origin",
    "issuer",
    "http_bind",
    "grpc_bind",
    "proxies",
    "database",
    "database_password_file",
    "nats_url",
    "nats_user",
    "nats_password_file",
    "tls_ca_file",
    "tls_certificate_file",
    "tls_key_file",
    "token_issuer_address",
}
"""By every service that does not run on the machine of the others."""
OWN = {
    "registry": {"master_key_file"},
    "identity": {"master_key_file", "deploy_secret_file"},
    "token_issuer": {"master_key_file"},
    "resource": set[str](),
    "ledger": {"master_key_file", "evidence_folder", "nats_replicas"},
}


CONSOLE = {
    *("origin", "issuer", "http_bind", "tls_ca_file", "tls_certificate_file", "tls_key_file", "master_key_file"),
    *(f"{name}_address" for name in ("registry", "identity", "token_issuer", "ledger")),
}
"""By the console, which keeps nothing and so needs neither a database nor NATS."""


def check_console(environment: Mapping[str, str], patch: pytest.MonkeyPatch) -> ConsoleSettings:
    """That the console has what it needs, and nothing of what it must not have."""
    told = {name.removeprefix("STAGEDOOR_").lower() for name in environment if name.startswith("STAGEDOOR_")}
    assert told <= set(ConsoleSettings.model_fields)
    assert told >= CONSOLE
    assert not [name for name in told if name.startswith(("database", "nats"))]
    with patch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value)
        settings = load(ConsoleSettings)
    assert not settings.demo
    return settings


def check(service: str, environment: Mapping[str, str], patch: pytest.MonkeyPatch) -> ServiceSettings:
    """That the environment has what the service needs, nothing that it does not know, and that it is taken."""
    told = {
        name.removeprefix("STAGEDOOR_").lower(): value
        for name, value in environment.items()
        if name.startswith("STAGEDOOR_")
    }
    assert set(told) <= set(CLASSES[service].model_fields), service
    assert NEEDED | OWN[service] <= set(told), service
    if service == "resource":
        assert "master_key_file" not in told
    with patch.context() as patched:
        for name, value in told.items():
            patched.setenv(f"STAGEDOOR_{name.upper()}", value)
        settings = load(CLASSES[service])
    assert not settings.demo
    assert settings.nats_user == service
    return settings
