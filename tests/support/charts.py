"""Renders the Helm chart, by Helm itself, in a process of its own: Helm is a library in Go, with threads and signals.

python -m tests.support.charts      reads {"case": values} from standard input, and prints
                                    {"lint": [...], "case": {"documents": [...]} or {"error": "..."}}
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).resolve().parent.parent.parent / "infra" / "helm" / "stagedoor"
EXAMPLES = CHART.parent / "examples"
WITHOUT_HELM = "Helm's library is a wheel for Linux on x86-64 alone; there, `make test` installs infra/shipping.lock"


def example_values() -> dict[str, Any]:
    """The values of the example."""
    found: dict[str, Any] = yaml.safe_load((EXAMPLES / "values.yaml").read_text())
    return found


def with_values(*more: Mapping[str, Any]) -> dict[str, Any]:
    """The example's, with others on top."""
    found = example_values()
    for one in more:
        found = _merged(found, one)
    return found


def _merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(base)
    for name, value in more.items():
        below = found.get(name)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        found[name] = _merged(below, value) if both and below is not None else value
    return found


def rendered(cases: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the chart makes of each set of values."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.charts"],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        cwd=CHART.parent.parent.parent,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _render(values: dict[str, Any]) -> dict[str, Any]:
    import helm_python  # noqa: PLC0415  (only in this process)

    with helm_python.Chart.load(CHART) as chart:
        try:
            chart.validate_schema(values)
            files = chart.render(values, name="stagedoor", namespace="stagedoor", is_install=True)
        except helm_python.HelmError as failure:
            return {"error": str(failure)}
    notes = {name: text for name, text in files.items() if name.endswith(".txt")}
    documents = [
        document
        for name, text in files.items()
        if name.endswith(".yaml")
        for document in yaml.safe_load_all(text)
        if document
    ]
    return {"documents": documents, "notes": "".join(notes.values())}


def main() -> None:
    """Render what is asked for."""
    import helm_python  # noqa: PLC0415  (only in this process)

    cases: dict[str, dict[str, Any]] = json.load(sys.stdin)
    report = helm_python.lint(CHART, with_values(), namespace="stagedoor", kube_version="v1.32.0")
    found: dict[str, Any] = {"lint": [one for one in report["messages"] if one["severity"] > 1] + report["errors"]}
    found |= {name: _render(values) for name, values in cases.items()}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
