import pytest
from prometheus_client import REGISTRY, Counter, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from shared.tally import Spreads, Tallies

_VALUES = (0.0, 0.004, 0.005, 0.0051, 0.3, 9.9, 10.0, 99.0)


def samples(name: str) -> list[tuple[str, dict[str, str], float]]:
    """What is exported of a metric, without when it was made, which only the library tells."""
    families = text_string_to_metric_families(generate_latest(REGISTRY).decode())
    (family,) = [one for one in families if one.name == name]
    return [(one.name, one.labels, one.value) for one in family.samples if not one.name.endswith("_created")]


def test_they_say_the_same_as_the_library_s_own() -> None:
    ours, theirs = Tallies("own_things", "T.", ["kind"]), Counter("other_things", "T.", ["kind"])
    for kind in ("a", "b", "a"):
        ours.labels(kind).add(2)
        theirs.labels(kind).inc(2)
    spread, histogram = Spreads("own_took", "T.", ["kind"]), Histogram("other_took", "T.", ["kind"])
    plain, beside = Spreads("own_size", "S.", bounds=(1, 2, 4)), Histogram("other_size", "S.", buckets=(1, 2, 4))
    for value in _VALUES:
        spread.labels("x").observe(value)
        histogram.labels("x").observe(value)
        plain.labels().observe(value)
        beside.observe(value)
    for name in ("things", "took", "size"):
        other = [(said.replace("other_", "own_"), labels, value) for said, labels, value in samples(f"other_{name}")]
        assert samples(f"own_{name}") == other
        assert other


def test_labels_are_those_that_were_named() -> None:
    counted = Tallies("own_refused", "T.", ["a", "b"])
    assert counted.labels("1", 2) is counted.labels(1, "2")
    with pytest.raises(ValueError, match="own_refused has the labels a, b"):
        counted.labels("1")
