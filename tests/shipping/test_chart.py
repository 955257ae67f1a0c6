"""The Helm chart, rendered by Helm and held against the schemas of Kubernetes; nothing here has run in a cluster."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from infra.local.ports import SERVICES
from services.token_issuer.settings import TokenIssuerSettings
from shared.settings import load
from tests.support import custom_resources
from tests.support.charts import CHART, EXAMPLES
from tests.support.told import NEEDED, check, check_console

GOOD = ("example", "everything otherwise", "bare")
OLDEST = "1.30"


def _of(chart: dict[str, Any], kind: str, case: str = "example") -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in chart[case]["documents"] if one["kind"] == kind}


def _pods(chart: dict[str, Any], case: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for kind in ("Deployment", "Job"):
        for name, one in _of(chart, kind, case).items():
            yield name, one["spec"]["template"]["spec"]


def _environment(container: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container["env"]}


def test_helm_finds_nothing(chart: dict[str, Any]) -> None:
    assert chart["lint"] == []


@pytest.mark.parametrize(("case", "oldest"), [("example", True), ("everything otherwise", False)])
def test_kubernetes_would_take_it(chart: dict[str, Any], case: str, *, oldest: bool) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="`make test` installs infra/shipping.lock")
    version = OLDEST if oldest else kubernetes_validate.latest_version()
    for document in chart[case]["documents"]:
        if document["apiVersion"] == "cert-manager.io/v1":
            custom_resources.check(document)
        else:
            kubernetes_validate.validate(document, version, strict=True)


def test_the_schemas_would_find_a_mistake(chart: dict[str, Any]) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="`make test` installs infra/shipping.lock")
    wrong = yaml.safe_load(yaml.safe_dump(_of(chart, "Deployment")["stagedoor-registry"]))
    wrong["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, OLDEST, strict=True)
    certificate = {**_of(chart, "Certificate")["stagedoor-registry"]}
    certificate["spec"] = {**certificate["spec"], "dnsName": "registry"}
    with pytest.raises(ValueError, match="dnsName"):
        custom_resources.check(certificate)


def test_the_examples_are_what_they_seem() -> None:
    for file in ("postgres.yaml", "nats-routes.yaml"):
        for document in yaml.safe_load_all((EXAMPLES / file).read_text()):
            custom_resources.check(document)


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("nothing said", "has to be said"),
        ("many ledgers, one node's volume", "ReadWriteMany"),
        ("misspelt", "registri"),
        ("a secret as a setting's name", "database-password"),
        ("a network that is none", "proxies"),
        ("nats in the clear", "url"),
        ("a host with a port", "host"),
    ],
)
def test_wrong_values_are_refused(chart: dict[str, Any], case: str, said: str) -> None:
    assert said in chart[case]["error"]


@pytest.mark.parametrize("case", GOOD)
def test_pods_can_do_little(chart: dict[str, Any], case: str) -> None:
    pods = list(_pods(chart, case))
    assert len(pods) >= 5 - (case == "everything otherwise")
    for _, pod in pods:
        assert pod["automountServiceAccountToken"] is False
        security = pod["securityContext"]
        assert (security["runAsNonRoot"], security["runAsUser"]) == (True, 10001)
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "memory" in container["resources"]["limits"]
        assert all("hostPath" not in volume for volume in pod["volumes"])
    for account in _of(chart, "ServiceAccount", case).values():
        assert account["automountServiceAccountToken"] is False


@pytest.mark.parametrize("case", GOOD)
def test_a_service_is_told_what_it_needs(chart: dict[str, Any], case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {"proxies"} if case == "bare" else set()
    deployments = _of(chart, "Deployment", case)
    for service in SERVICES:
        name = f"stagedoor-{service.replace('_', '-')}"
        if service == "resource" and case == "everything otherwise":
            assert name not in deployments
            continue
        (container,) = deployments[name]["spec"]["template"]["spec"]["containers"]
        told = _environment(container)
        if case == "everything otherwise" and service == "identity":
            assert "STAGEDOOR_DEPLOY_SECRET_FILE" not in told
            told["STAGEDOOR_DEPLOY_SECRET_FILE"] = "/none"
        for unsaid in expected & NEEDED:
            assert f"STAGEDOOR_{unsaid.upper()}" not in told
            told[f"STAGEDOOR_{unsaid.upper()}"] = "[]"
        if case == "everything otherwise":
            assert told.pop("STAGEDOOR_REFRESH_TOKEN_SECONDS") == "2592000"
            told.pop("STAGEDOOR_PASSWORD_WORKERS", None)
        settings = check(service, told, monkeypatch)
        assert settings.issuer == "https://login.example.com/id"
        assert container["command"] == ["python", "-P", "-m", f"services.{service}.main"]
        assert container["env"] == [one for one in container["env"] if one["value"] != ""]
        assert ("OTEL_EXPORTER_OTLP_ENDPOINT" in told) == (case == "everything otherwise")
        if case == "everything otherwise":
            assert settings.max_staleness_seconds == (10 if service == "identity" else 20)
            assert settings.heartbeat_seconds == 0.5


@pytest.mark.parametrize("case", GOOD)
def test_the_console_has_no_data(chart: dict[str, Any], case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = _of(chart, "Deployment", case)["stagedoor-console"]["spec"]
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    told = _environment(container)
    if case == "everything otherwise":
        told.pop("STAGEDOOR_REFRESH_TOKEN_SECONDS")
    settings = check_console(told, monkeypatch)
    assert settings.http_bind == "0.0.0.0:8407"
    assert deployment["replicas"] == 1
    assert [port["name"] for port in container["ports"]] == ["http"]
    (secrets,) = [volume["secret"] for volume in pod["volumes"] if volume["name"] == "secrets"]
    assert [item["key"] for item in secrets["items"]] == ["master"]
    assert "database" not in {volume["name"] for volume in pod["volumes"]}


def test_every_file_that_a_service_reads_is_mounted(chart: dict[str, Any]) -> None:
    for case in GOOD:
        for name, pod in _pods(chart, case):
            (container,) = pod["containers"]
            mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            volumes = {volume["name"]: volume for volume in pod["volumes"]}
            assert set(mounts.values()) == set(volumes), name
            for key, value in _environment(container).items():
                for path in re.findall(r"(?:^|=)(/[a-z/.]+)", value) if key != "STAGEDOOR_PROXIES" else ():
                    mount = "/" + path.split("/")[1]
                    assert mount in mounts, (name, key)
                    items = _items(volumes[mounts[mount]])
                    assert items is None or path == mount or path.removeprefix(f"{mount}/") in items, (name, key)


def _items(volume: dict[str, Any]) -> set[str] | None:
    """The files in a volume, where it says them."""
    if "secret" in volume and "items" in volume["secret"]:
        return {item["path"] for item in volume["secret"]["items"]}
    if "projected" in volume:
        return {item["path"] for source in volume["projected"]["sources"] for item in source["secret"]["items"]}
    return None


def test_the_migration_makes_every_login(chart: dict[str, Any]) -> None:
    (job,) = _of(chart, "Job").values()
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    volumes = {volume["name"]: volume for volume in job["spec"]["template"]["spec"]["volumes"]}
    assert _items(volumes["passwords"]) == {f"{service}.database" for service in SERVICES}
    assert job["spec"]["template"]["spec"]["containers"][0]["command"] == ["stagedoor", "migrate"]


def test_certificates_name_one_party_each(chart: dict[str, Any]) -> None:
    certificates = _of(chart, "Certificate")
    for service in SERVICES:
        part = service.replace("_", "-")
        spec = certificates[f"stagedoor-{part}"]["spec"]
        assert spec["uris"] == [f"spiffe://stagedoor/service/{service}"]
        # What channels go by (shared.rpc.client), and no underscore, which a host name does not have.
        assert part in spec["dnsNames"]
        assert not [name for name in spec["dnsNames"] if "_" in name]
    assert certificates["stagedoor-operator"]["spec"]["uris"] == ["spiffe://stagedoor/operator"]
    assert "server auth" not in certificates["stagedoor-operator"]["spec"]["usages"]


def test_what_scales_can_lose_a_node_at_a_time(chart: dict[str, Any]) -> None:
    budgets = _of(chart, "PodDisruptionBudget")
    assert set(budgets) == {f"stagedoor-{part}" for part in ("registry", "identity", "token-issuer", "resource")}
    assert all(budget["spec"]["maxUnavailable"] == 1 for budget in budgets.values())
    deployments = _of(chart, "Deployment")
    for name in _of(chart, "HorizontalPodAutoscaler"):
        assert "replicas" not in deployments[name]["spec"]
    assert deployments["stagedoor-ledger"]["spec"]["strategy"] == {"type": "Recreate"}
    otherwise = _of(chart, "Deployment", "everything otherwise")["stagedoor-ledger"]["spec"]
    assert (otherwise["replicas"], otherwise["strategy"]["type"]) == (2, "RollingUpdate")
    (_, pool_wait) = _of(chart, "HorizontalPodAutoscaler", "everything otherwise")["stagedoor-token-issuer"]["spec"][
        "metrics"
    ]
    assert pool_wait["pods"]["metric"]["name"] == "wait"


def test_the_ingress_has_the_routes_of_the_door(chart: dict[str, Any]) -> None:
    door = (CHART.parent.parent / "caddy" / "door.Caddyfile").read_text()
    (ingress,) = _of(chart, "Ingress").values()
    (rule,) = ingress["spec"]["rules"]
    found: dict[str, set[str]] = {}
    for path in rule["http"]["paths"]:
        part = path["backend"]["service"]["name"].removeprefix("stagedoor-")
        found.setdefault(part, set()).add(path["path"])
    for part in ("registry", "identity", "token-issuer", "resource", "console"):
        matcher = part.removeprefix("token-")
        (line,) = re.findall(rf"^\s*@{matcher} path (.*)$", door, re.MULTILINE)
        assert found[part] == {re.sub(r"/?\*$", "", path) for path in line.split()}, part
    assert set(found) == {"registry", "identity", "token-issuer", "resource", "console"}


def test_validation_apart_is_the_token_issuers_without_its_secrets(
    chart: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "stagedoor-validation" not in _of(chart, "Deployment")
    deployment = _of(chart, "Deployment", "everything otherwise")["stagedoor-validation"]
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["python", "-P", "-m", "services.token_issuer.validating"]
    (secrets,) = [volume["secret"] for volume in pod["volumes"] if volume["name"] == "secrets"]
    assert secrets["secretName"] == "stagedoor-token-issuer"
    assert [item["key"] for item in secrets["items"]] == ["database"]
    told = _environment(container)
    assert not {name for name in told if "NATS" in name or "MASTER" in name}
    assert told["STAGEDOOR_VALIDATIONS_AT_ONCE"] == "5000"
    assert told["STAGEDOOR_TOKEN_ISSUER_ADDRESS"] == "stagedoor-token-issuer:9403"
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    settings = load(TokenIssuerSettings)
    assert "token_issuer@" in settings.database
    assert (settings.grpc_bind, settings.http_bind) == ("0.0.0.0:9406", "0.0.0.0:8406")
    certificate = _of(chart, "Certificate", "everything otherwise")["stagedoor-validation"]["spec"]
    assert certificate["uris"] == ["spiffe://stagedoor/service/token_issuer"]
    assert {"validation", "token-issuer", "stagedoor-validation"} <= set(certificate["dnsNames"])
    assert "stagedoor-validation" in _of(chart, "PodDisruptionBudget", "everything otherwise")
