"""Alerts and the dashboard ask for metrics that there are, every metric is explained, and every alert has a runbook."""

import json
import re
from collections.abc import Sequence

import pytest

from infra.monitoring.__main__ import FILES
from infra.monitoring.alerts import ALERTS, RUNBOOK, Alert
from infra.monitoring.cases import CASES, HEALTHY
from infra.monitoring.dashboard import dashboard, expressions
from tests.support.measured import OPERATIONS, ROOT, documented, exported, labels, selectors

_OF_THE_SCRAPE = {"job", "instance", "service"}
_HISTOGRAM = ("_bucket", "_sum", "_count")


def _asked_for(expression: str) -> Sequence[tuple[str, set[str]]]:
    """Names, without what a histogram adds, and the labels that are matched."""
    found = []
    for selector in selectors(expression.replace("$__rate_interval", "5m")):
        name = selector.name or ""
        for ending in _HISTOGRAM:
            if name.endswith(ending) and exported().get(name.removesuffix(ending)) is not None:
                name = name.removesuffix(ending)
        matched = {matcher.name for matcher in selector.matchers.matchers}
        found.append((name, matched))
    return found


def _known(name: str) -> bool:
    return name in exported() or name in {"up", "process_resident_memory_bytes"}


def test_every_metric_is_explained_and_no_other() -> None:
    assert set(documented()) == set(exported())


def test_their_labels_are_told_as_they_are() -> None:
    told = documented()
    assert {name: told[name] for name in labels() if name in told} == {
        name: given for name, given in labels().items() if name in told
    }
    guards = {name: given for name, given in told.items() if name.startswith("stagedoor_guard_")}
    assert len(guards) == 6
    assert set.union(*guards.values()) == {"audience", "reason"}


@pytest.mark.parametrize("expression", [*expressions(), *(alert.expression for alert in ALERTS)])
def test_what_is_asked_can_be_answered(expression: str) -> None:
    asked = _asked_for(expression)
    assert asked
    for name, matched in asked:
        assert _known(name), name
        assert matched <= documented().get(name, set()) | _OF_THE_SCRAPE
        if name in exported() and exported()[name].type == "counter":
            assert re.search(rf"(?:rate|increase)\({name}", expression), "a counter is only asked how fast it grows"
        if name in exported() and exported()[name].type == "histogram":
            assert f"{name}_bucket" in expression


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_a_summary_speaks_of_labels_that_there_are(alert: Alert) -> None:
    spoken = set(re.findall(r"\$labels\.([a-z_]+)", alert.summary))
    if kept := re.search(r"by \(([a-z_, ]+)\)", alert.expression):
        known = set(kept.group(1).split(", ")) - {"le"}
    elif alert.expression.startswith(("sum(", "max(", "min(", "time() - max(")):
        known = set()
    else:
        known = set.union(*(documented().get(name, set()) for name, _ in _asked_for(alert.expression))) | _OF_THE_SCRAPE
    assert spoken <= known


def test_every_alert_is_tried_by_promtool() -> None:
    """`promtool test rules` is run by hand; here, that nothing is left out and no series is one that nobody exports."""
    assert {case.alert for case in CASES} == {alert.name for alert in ALERTS}
    for series in (HEALTHY, *(case.series for case in CASES)):
        for selector in series:
            ((name, matched),) = _asked_for(selector)
            assert _known(name), name
            assert matched <= documented().get(name, set()) | _OF_THE_SCRAPE | {"le"}


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    section = OPERATIONS.read_text().split("\n## Alerts\n")[1].split("\n## ")[0]
    books = dict(re.findall(r"^### (\w+)\n(.*?)(?=^### |\Z)", section, re.MULTILINE | re.DOTALL))
    assert list(books) == [alert.name for alert in ALERTS]
    for alert in ALERTS:
        # As GitHub and most other readers make addresses of headings.
        assert alert.runbook == f"{RUNBOOK}#{alert.name.lower()}"
        assert (ROOT / RUNBOOK) == OPERATIONS
        for part in ("- **Look at** ", "- **Do** "):
            assert part in books[alert.name]


def test_the_files_are_what_the_code_says() -> None:
    for path, made in FILES.items():
        assert path.read_text() == made(), f"{path}: python -m infra.monitoring"


def test_the_dashboard_is_whole() -> None:
    document = json.loads(dashboard())
    panels = document["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert places.isdisjoint(cells), panel["title"]
        places |= cells
    shown = {name for expression in expressions() for name, _ in _asked_for(expression)}
    assert len(shown) > 30


def test_a_mistake_in_an_expression_is_seen() -> None:
    with pytest.raises(ValueError, match="parenthesis"):
        list(selectors("sum by (le) (rate(stagedoor_append_seconds_bucket[5m])"))
    ((name, _),) = _asked_for("rate(stagedoor_append_secnods_bucket[5m])")
    assert not _known(name)
