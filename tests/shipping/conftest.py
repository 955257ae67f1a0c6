"""The chart, rendered once for all tests."""

from typing import Any

import pytest

from tests.support import charts

CASES: dict[str, dict[str, Any]] = {
    "example": charts.with_values(),
    "nothing said": {"host": "login.example.com"},
    "everything otherwise": charts.with_values(
        {
            "settings": {"REFRESH_TOKEN_SECONDS": 2592000, "HEARTBEAT_SECONDS": 0.5, "MAX_STALENESS_SECONDS": 20},
            "otlpEndpoint": "http://collector:4317",
            "identity": {"deploySecret": False, "settings": {"MAX_STALENESS_SECONDS": 10, "PASSWORD_WORKERS": 4}},
            "tokenIssuer": {"autoscaling": {"enabled": True, "poolWait": {"metric": "wait", "averageValue": "10m"}}},
            "registry": {"replicas": 1},
            "validation": {"enabled": True, "settings": {"VALIDATIONS_AT_ONCE": 5000}},
            "resource": {"enabled": False},
            "ledger": {
                "replicas": 2,
                "evidence": {"accessMode": "ReadWriteMany", "storageClassName": "nfs", "existingClaim": "kept"},
            },
            "certificates": {"issuer": {"create": False, "name": "company", "kind": "ClusterIssuer"}},
            "issuerAuthority": {"secret": "door-authority"},
            "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["login.example.com"]}],
            "image": {"tag": "1.2.3", "pullSecrets": [{"name": "registry"}]},
            "networkPolicy": {
                "operators": [{"podSelector": {"matchLabels": {"app": "operator"}}}],
                "resourceServers": [{"namespaceSelector": {"matchLabels": {"team": "tours"}}}],
                "outside": {"peers": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]},
                "dns": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}],
            },
            "podLabels": {"team": "identity"},
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "dedicated", "operator": "Exists"}],
            "priorityClassName": "high",
            "topologyKeys": [],
            "nats": {"certificate": {"create": False}},
        }
    ),
    "bare": charts.with_values(
        {
            "ingress": {"enabled": False},
            "networkPolicy": {"enabled": False},
            "migration": {"enabled": False},
            "proxies": [],
        }
    ),
    "many ledgers, one node's volume": charts.with_values({"ledger": {"replicas": 2}}),
    "misspelt": charts.with_values({"registri": {"replicas": 2}}),
    "a secret as a setting's name": charts.with_values({"settings": {"database-password": "x"}}),
    "a network that is none": charts.with_values({"proxies": ["10.0.0.0"]}),
    "nats in the clear": charts.with_values({"nats": {"url": "nats://nats:4222"}}),
    "a host with a port": charts.with_values({"host": "login.example.com:8443"}),
}


@pytest.fixture(scope="session")
def chart() -> dict[str, Any]:
    """What the chart makes of each of the cases."""
    pytest.importorskip("helm_python", reason=charts.WITHOUT_HELM)
    return charts.rendered(CASES)
