"""Writes what stands in the package's docstring."""

import sys
from pathlib import Path
from typing import Final

from infra.monitoring.alerts import rules
from infra.monitoring.cases import rules_test
from infra.monitoring.dashboard import dashboard

_INFRA: Final = Path(__file__).resolve().parent.parent
FILES: Final = {
    _INFRA / "prometheus" / "rules.yaml": rules,
    _INFRA / "prometheus" / "rules_test.yaml": rules_test,
    _INFRA / "grafana" / "stagedoor.json": dashboard,
}


def main() -> None:
    """Write them, or with `--check` only compare."""
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit("usage: python -m infra.monitoring [--check]")
    for path, made in FILES.items():
        if sys.argv[1:]:
            if not path.exists() or path.read_text() != made():
                sys.exit(f"{path.relative_to(_INFRA.parent)} is not what infra/monitoring says: make protos")
        else:
            path.write_text(made())


if __name__ == "__main__":
    main()
