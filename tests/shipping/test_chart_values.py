"""That every value of the chart is documented, in the schema, and used; and that nothing else is."""

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from tests.support.charts import CHART

_WHOLE = {"resources", "poolWait", "podAnnotations"}
"""Values that are one, whatever is in them."""


def _values(found: dict[str, Any], above: str = "") -> Iterator[str]:
    for name, value in found.items():
        path = f"{above}{name}"
        if isinstance(value, dict) and value and name not in _WHOLE:
            yield from _values(value, f"{path}.")
        else:
            yield path


def _schema_of(path: str) -> dict[str, Any] | None:
    schema: dict[str, Any] | None = json.loads((CHART / "values.schema.json").read_text())
    for name in path.split("."):
        schema = (schema or {}).get("properties", {}).get(name)
    return schema


VALUES = sorted(_values(yaml.safe_load((CHART / "values.yaml").read_text())))


def test_every_value_is_documented() -> None:
    section = (CHART / "README.md").read_text().partition("\n## Values\n")[2]
    first = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    documented = sorted(name for cell in first for name in re.findall(r"`([A-Za-z.]+)`", cell))
    assert documented == VALUES


def test_the_schema_knows_every_value() -> None:
    assert [path for path in VALUES if _schema_of(path) is None] == []


def test_the_schema_knows_no_others() -> None:
    def leaves(schema: dict[str, Any], above: str = "") -> Iterator[str]:
        for name, below in schema.get("properties", {}).items():
            path = f"{above}{name}"
            if "properties" in below and name not in _WHOLE:
                assert below["additionalProperties"] is False, path
                yield from leaves(below, f"{path}.")
            else:
                yield path

    schema = json.loads((CHART / "values.schema.json").read_text())
    assert schema["additionalProperties"] is False
    assert sorted(leaves(schema)) == sorted([*VALUES, "global"])


def test_every_value_is_used() -> None:
    text = "\n".join(path.read_text() for path in sorted((CHART / "templates").iterdir()))
    unused = [path for path in VALUES if not re.search(rf"\.{re.escape(path.rpartition('.')[2])}\b", text)]
    assert unused == []
