"""The network policies of the chart let through what the services' own caller rules admit, and nothing else."""

from collections.abc import Mapping
from typing import Any

import services.identity.rpc
import services.ledger.rpc
import services.registry.installation_rpc
import services.registry.registration_rpc
import services.registry.rpc
import services.registry.system_rpc
import services.token_issuer.backchannel.rpc
import services.token_issuer.envoy
import services.token_issuer.references.rpc
import services.token_issuer.rpc
import services.token_issuer.validation
from infra.local.ports import SERVICES
from shared.rebuild import rpc as rebuilding
from shared.rpc.caller import Caller, Rule

RULES: Mapping[str, tuple[Mapping[str, Rule], ...]] = {
    "registry": (
        services.registry.rpc.RULES,
        services.registry.registration_rpc.RULES,
        services.registry.system_rpc.RULES,
        services.registry.installation_rpc.RULES,
        rebuilding.RULES,
    ),
    "identity": (services.identity.rpc.RULES, rebuilding.RULES),
    "token_issuer": (
        services.token_issuer.rpc.RULES,
        services.token_issuer.references.rpc.RULES,
        services.token_issuer.backchannel.rpc.RULES,
        services.token_issuer.validation.RULES,
        services.token_issuer.envoy.RULES,
        rebuilding.RULES,
    ),
    "resource": (),
    "ledger": (services.ledger.rpc.RULES,),
}
OPERATORS = {"podSelector": {"matchLabels": {"app": "operator"}}}
RESOURCE_SERVERS = {"namespaceSelector": {"matchLabels": {"team": "tours"}}}


def _admitted(service: str) -> set[str]:
    """Who may call at least one method: services, `operator`, `resource/*`."""
    rules = [rule for table in RULES[service] for rule in table.values()]
    callers = {other: Caller(f"service/{other}") for other in (*SERVICES, "console")}
    callers |= {"operator": Caller("operator"), "resource/*": Caller("resource/tours")}
    return {name for name, caller in callers.items() if any(rule.admits(caller) for rule in rules)}


def _policies(chart: dict[str, Any], case: str) -> dict[str, dict[str, Any]]:
    return {
        one["metadata"]["name"].removeprefix("stagedoor-").replace("-", "_"): one["spec"]
        for one in chart[case]["documents"]
        if one["kind"] == "NetworkPolicy"
    }


def _part(peer: dict[str, Any]) -> str:
    labels = peer["podSelector"]["matchLabels"]
    return str(labels["app.kubernetes.io/component"]).replace("-", "_")


def _grpc(spec: dict[str, Any], port: int, direction: str) -> list[dict[str, Any]]:
    rules = [rule for rule in spec[direction] if {"port": port, "protocol": "TCP"} in rule["ports"]]
    return [peer for rule in rules for peer in rule["from" if direction == "ingress" else "to"]]


def test_grpc_is_for_those_whom_the_rules_admit(chart: dict[str, Any]) -> None:
    # In this case the resource service is left out; who would be admitted is the same.
    policies = _policies(chart, "everything otherwise")
    for number, service in enumerate(SERVICES):
        if service == "resource":
            continue
        found = set()
        for peer in _grpc(policies[service], 9401 + number, "ingress"):
            if peer == OPERATORS:
                found.add("operator")
            elif peer == RESOURCE_SERVERS:
                found.add("resource/*")
            else:
                found.add(_part(peer))
        assert found == _admitted(service), service


def test_nobody_is_admitted_at_the_resource_service(chart: dict[str, Any]) -> None:
    assert _admitted("resource") == set()
    assert _grpc(_policies(chart, "example")["resource"], 9404, "ingress") == []


def test_a_service_reaches_only_those_that_admit_it(chart: dict[str, Any]) -> None:
    policies = _policies(chart, "example")
    for service in (*SERVICES, "console"):
        reached = {
            _part(peer)
            for rule in policies[service]["egress"]
            for peer in rule.get("to", ())
            if "app.kubernetes.io/component" in peer.get("podSelector", {}).get("matchLabels", {})
        }
        assert reached == {other for other in SERVICES if service in _admitted(other)}, service


def test_http_is_for_the_ingress_and_for_monitoring(chart: dict[str, Any]) -> None:
    policies = _policies(chart, "example")
    for number, service in enumerate(SERVICES):
        peers = _grpc(policies[service], 8401 + number, "ingress")
        names = {peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for peer in peers}
        public = service in {"registry", "identity", "token_issuer", "resource"}
        assert names == ({"ingress-nginx", "monitoring"} if public else {"monitoring"}), service
    assert len(_grpc(policies["console"], 8407, "ingress")) == 2


def test_the_console_reaches_services_and_the_issuer_alone(chart: dict[str, Any]) -> None:
    ports = {port["port"] for rule in _policies(chart, "example")["console"]["egress"] for port in rule["ports"]}
    assert ports == {53, 443, 8443, 9401, 9402, 9403, 9405}


def test_every_pod_has_a_policy_both_ways(chart: dict[str, Any]) -> None:
    policies = _policies(chart, "example")
    assert set(policies) == {*SERVICES, "console", "migration"}
    assert all(spec["policyTypes"] == ["Ingress", "Egress"] for spec in policies.values())
    assert "ingress" not in policies["migration"] or not policies["migration"]["ingress"]


def test_validation_apart_is_for_those_who_may_ask_and_reaches_its_database_alone(chart: dict[str, Any]) -> None:
    spec = _policies(chart, "everything otherwise")["validation"]
    peers = _grpc(spec, 9406, "ingress")
    assert OPERATORS in peers
    assert RESOURCE_SERVERS in peers
    assert {_part(peer) for peer in peers if peer not in (OPERATORS, RESOURCE_SERVERS)} <= set(SERVICES)
    ports = {port["port"] for rule in spec["egress"] for port in rule["ports"]}
    assert ports == {53, 5432, 4317}
