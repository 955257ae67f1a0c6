"""Two rules of the architecture that import-linter has no contract for; `make check` runs them.

Both read the graph of imports, so a rule holds for a file that nobody has written yet.
"""

import sys
from collections.abc import Iterable
from typing import cast

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output

_IMPURE = frozenset(
    {
        "asyncio",
        "concurrent",
        "http",
        "io",
        "logging",
        "multiprocessing",
        "os",
        "pathlib",
        "random",
        "secrets",
        "shutil",
        "signal",
        "socket",
        "sqlite3",
        "ssl",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "warnings",
    }
)
"""Modules of the standard library that do I/O, tell the time, roll dice or log."""


class _Listing(Contract):
    """A contract that is broken by single imports, each of them listed."""

    def wrong(self, graph: ImportGraph) -> list[str]:
        """One line for each import that breaks the rule."""
        raise TypeError(f"{type(self).__name__} states no rule: {graph}")

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002, FBT001  (the library's signature)
        """Kept if no import breaks the rule."""
        found = sorted(self.wrong(graph))
        return ContractCheck(kept=not found, metadata={"found": found})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print the imports that break the rule."""
        for line in check.metadata["found"]:
            output.print_error(line)


def _service(module: str, package: str) -> tuple[str, list[str]] | None:
    """The service that a module belongs to, and the rest of its path; None for modules elsewhere."""
    first, *rest = module.split(".")
    return (rest[0], rest[1:]) if first == package and rest else None


class PureContract(_Listing):
    """Modules in `room` of every service import their own service's room and events, `allowed`, and pure stdlib."""

    package = fields.StringField()
    room = fields.StringField()
    allowed = fields.SetField(subfield=fields.StringField())

    def wrong(self, graph: ImportGraph) -> list[str]:
        """Imports of a room that are not allowed."""
        found: list[str] = []
        allowed = frozenset(cast("Iterable[str]", self.allowed))
        for module in graph.modules:
            place = _service(module, str(self.package))
            if place is None or place[1][:1] != [str(self.room)]:
                continue
            home = f"{self.package}.{place[0]}"
            own = (f"{home}.{self.room}", f"{home}.events")
            for imported in graph.find_modules_directly_imported_by(module):
                pure = imported in sys.stdlib_module_names and imported not in _IMPURE
                ours = any(imported == name or imported.startswith(f"{name}.") for name in own)
                if not (pure or ours or imported in allowed):
                    found.append(f"{module} imports {imported}")
        return found


class RoomsContract(_Listing):
    """Between two services only the `open` rooms are imported, and by a `main` those `to_mains`.

    A `main` is imported by nobody: it is where a service is put together.
    """

    package = fields.StringField()
    open = fields.SetField(subfield=fields.StringField())
    to_mains = fields.SetField(subfield=fields.StringField())

    def wrong(self, graph: ImportGraph) -> list[str]:
        """Imports that enter a closed room of another service, or a main."""
        found: list[str] = []
        open_rooms = frozenset(cast("Iterable[str]", self.open))
        to_mains = open_rooms | frozenset(cast("Iterable[str]", self.to_mains))
        for module in graph.modules:
            here = _service(module, str(self.package))
            for imported in graph.find_modules_directly_imported_by(module):
                there = _service(imported, str(self.package))
                if there is None:
                    continue
                name, path = there
                into_main = path == ["main"]
                entered = to_mains if here is not None and here[1] == ["main"] else open_rooms
                across = here is not None and here[0] != name and not (path and path[0] in entered)
                if into_main or across:
                    found.append(f"{module} imports {imported}")
        return found
