"""The metrics that services export, and those that the documentation, alerts and the dashboard speak of."""

import importlib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import promql_parser
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from shared.tally import Family

ROOT = Path(__file__).resolve().parent.parent.parent
OPERATIONS = ROOT / "docs" / "operations.md"
PROGRAMS = (
    *("registry.main", "identity.main", "token_issuer.main", "token_issuer.validating"),
    *("resource.main", "ledger.main"),
)
_ROW = re.compile(r"^\| `(stagedoor_[a-z_]+)(?:\{([a-z_,]+)\})?` \|", re.MULTILINE)


@cache
def exported() -> Mapping[str, Metric]:
    """All metrics of all services, by the names that Prometheus gives them; histograms by their own."""
    for program in PROGRAMS:
        importlib.import_module(f"services.{program}")
    return {_name(one): one for one in REGISTRY.collect() if one.name.startswith("stagedoor_")}


def scraped(text: str) -> set[str]:
    """The metrics of a process, from its answer; not when each of them was made."""
    names = {_name(one) for one in text_string_to_metric_families(text) if one.name.startswith("stagedoor_")}
    return {name for name in names if not name.endswith("_created")}


@cache
def labels() -> dict[str, set[str]]:
    """The labels of those that are no guard's."""
    exported()
    collectors = [one for one in tuple(REGISTRY._collector_to_names) if isinstance(one, MetricWrapperBase | Family)]
    return {_name(metric): set(one._labelnames) for one in collectors for metric in one.describe()}


@cache
def documented() -> dict[str, set[str]]:
    """The metrics that `docs/operations.md` lists, with their labels."""
    rows = _ROW.findall(OPERATIONS.read_text())
    found = {name: set(given.split(",")) - {""} for name, given in rows}
    assert len(found) == len(rows), "a metric is listed twice"
    return found


def selectors(expression: str) -> Iterator[promql_parser.VectorSelector]:
    """The metrics that an expression asks for. Raises `ValueError` if it cannot be parsed."""
    found: list[promql_parser.VectorSelector] = []

    def visit(node: promql_parser.Expr) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        return True

    promql_parser.walk(promql_parser.parse(expression), visit)
    yield from found


def _name(metric: Metric) -> str:
    return f"{metric.name}_total" if metric.type == "counter" else metric.name
