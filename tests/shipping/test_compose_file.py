"""What can be said of `infra/compose.yaml` without an engine; `tests/system/test_composed.py` plays it."""

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
import yaml

from tests.support.composed import INFRA, SERVICES, compose_file
from tests.support.told import check, check_console

FILE = compose_file({})
OURS = {
    **dict.fromkeys(SERVICES, "10001:10001"),
    "migrate": "10001:10001",
    "readiness": "10001:10001",
    "console": "10001:10001",
}


def test_it_is_a_compose_file() -> None:
    compose_spec = pytest.importorskip(
        "compose_spec", reason="a wheel for Linux on x86-64 alone; there, `make test` installs infra/shipping.lock"
    )
    compose_spec.PyCompose.from_yaml(yaml.safe_dump(FILE)).validate()
    wrong = yaml.safe_dump({**FILE, "services": {**FILE["services"], "door": {"image": "x", "cap_dropp": ["ALL"]}}})
    with pytest.raises(ValueError, match="cap_dropp"):
        compose_spec.PyCompose.from_yaml(wrong)


@pytest.mark.parametrize("name", FILE["services"])
def test_containers_can_do_little(name: str) -> None:
    service: dict[str, Any] = FILE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert service["ulimits"] == {"core": 0}
    limits = service["deploy"]["resources"]["limits"]
    assert set(limits) == {"cpus", "memory", "pids"}
    if name == "prepare":
        assert (service["user"], service["network_mode"]) == ("0:0", "none")
        assert set(service["cap_add"]) == {"CHOWN", "DAC_OVERRIDE", "FOWNER"}
    else:
        assert service["user"].partition(":")[0] not in {"0", "root", ""}
        assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "door" else [])
    if name in OURS:
        assert service["user"] == OURS[name]
    assert ":" in service["image"]
    assert not service["image"].endswith(":latest")


@pytest.mark.parametrize("name", FILE["services"])
def test_only_the_door_can_be_opened_to_others(name: str) -> None:
    for port in FILE["services"][name].get("ports", ()):
        assert port.startswith("127.0.0.1:")
    text = (INFRA / "compose.yaml").read_text()
    assert text.count("${STAGEDOOR_LISTEN:-127.0.0.1}") == 1


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_told_what_it_needs_by_its_own_files(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    service = FILE["services"][name]
    told = {key: str(value) for key, value in service["environment"].items()}
    settings = check(name.replace("-", "_"), told, monkeypatch)
    assert settings.issuer == "https://stagedoor.localhost:8443/id"
    shown = {f"/run/secrets/{secret}" for secret in service["secrets"]}
    assert {value for key, value in told.items() if value.startswith("/run/secrets")} == shown
    assert any(mount.startswith("tls-") and mount.endswith(":/tls:ro") for mount in service["volumes"])
    assert service["healthcheck"]["test"][-1] == settings.http_bind.rpartition(":")[2]


def test_the_console_has_no_data_and_no_way_to_any(monkeypatch: pytest.MonkeyPatch) -> None:
    service = FILE["services"]["console"]
    settings = check_console({key: str(value) for key, value in service["environment"].items()}, monkeypatch)
    assert settings.issuer == "https://stagedoor.localhost:8443/id"
    assert service["networks"] == ["inside"]
    assert service["environment"]["STAGEDOOR_PROXIES"] == FILE["x-settings"]["STAGEDOOR_PROXIES"]
    assert service["secrets"] == ["console.master"]
    assert service["volumes"] == ["tls-console:/tls:ro"]
    assert service["healthcheck"]["test"][-1] == settings.http_bind.rpartition(":")[2]


def test_whatever_goes_on_has_a_health_check_and_is_started_again() -> None:
    for name, service in FILE["services"].items():
        if name in {"prepare", "migrate", "operator"}:
            assert service["restart"] != "unless-stopped"
        else:
            assert service["restart"] == "unless-stopped"
            assert "healthcheck" in service or name == "readiness"


def test_data_are_out_of_reach() -> None:
    assert FILE["networks"]["data"]["internal"] is True
    for name in ("postgres", "archive", "nats-1", "nats-2", "nats-3"):
        assert FILE["services"][name]["networks"] == ["data"]
        assert "ports" not in FILE["services"][name]
    assert set(FILE["services"]["door"]["networks"]) == {"inside"}


def test_nobody_else_is_given_the_address_of_the_door() -> None:
    """An engine gives an address to whoever starts first, and the door does not."""
    (pool,) = FILE["networks"]["inside"]["ipam"]["config"]
    door = IPv4Address(FILE["services"]["door"]["networks"]["inside"]["ipv4_address"])
    subnet, given = IPv4Network(pool["subnet"]), IPv4Network(pool["ip_range"])
    assert given.subnet_of(subnet)
    assert door in subnet
    assert door not in given
    # The first address may be the gateway's, the last is everybody's.
    assert door not in {subnet[0], subnet[1], subnet[-1]}
    assert FILE["x-settings"]["STAGEDOOR_PROXIES"] == f'["{door}/32"]'


def test_postgresql_lets_nobody_in_without_a_password_or_without_tls() -> None:
    words = FILE["services"]["postgres"]["command"]
    (named,) = [word for word in words if word.startswith("hba_file=")]
    mounts = [mount for mount in FILE["services"]["postgres"]["volumes"] if isinstance(mount, dict)]
    (folder,) = [mount["source"] for mount in mounts if named == f"hba_file={mount['target']}/pg_hba.conf"]
    lines = (INFRA / folder / "pg_hba.conf").read_text().splitlines()
    rules = [line.split() for line in lines if line and not line.startswith("#")]
    assert {rule[0] for rule in rules} == {"local", "hostssl"}
    assert {rule[-1] for rule in rules} == {"scram-sha-256"}
    assert {rule[2] for rule in rules if rule[1] == "replication"} == {"postgres"}
