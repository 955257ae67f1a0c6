"""`stagedoor rebuild`: a service's tables, made again from the log or held against it."""

from collections.abc import Callable
from contextlib import ExitStack
from enum import StrEnum
from typing import Annotated, Any, Self

import typer

from protos.stagedoor.readmodels.v1 import readmodels_pb2 as pb
from services.cli import output
from services.cli.connection import Connection
from services.cli.output import Json
from services.cli.profile import default_path
from services.cli.progress import progress
from shared.errors import Kind, Refusal


class Service(StrEnum):
    """Whose tables."""

    REGISTRY = "registry"
    IDENTITY = "identity"
    TOKEN_ISSUER = "token_issuer"


def rebuild(
    service: Annotated[Service, typer.Argument(help="Whose tables.", show_default=False)],
    *,
    projection: Annotated[
        list[str] | None, typer.Option("--projection", help="Only the tables of this projection; repeated.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; tell which rows differ.")] = False,
    as_json: Json = False,
) -> None:
    """Make a service's tables again from the log while it runs, and put them in the place of the old ones."""
    chosen = projection or []

    async def work() -> None:
        async with Connection(default_path()) as services:
            if check:
                await _compare(services, service, pb.CompareRequest(projections=chosen), as_json=as_json)
            else:
                await _rebuild(services, service, pb.RebuildRequest(projections=chosen), as_json=as_json)

    output.run(work())


async def _rebuild(services: Connection, service: Service, request: pb.RebuildRequest, *, as_json: bool) -> None:
    with _Telling(quiet=as_json) as telling:
        async for told in services.stream(services.read_models(service).Rebuild, request):
            if as_json:
                output.document(output.plain(told))
            elif told.live:
                telling.end()
                print(f"{told.progress.projection}: rebuilt; live as of position {told.progress.position}", flush=True)
            else:
                telling.tell(told.progress)


async def _compare(services: Connection, service: Service, request: pb.CompareRequest, *, as_json: bool) -> None:
    differ = 0
    with _Telling(quiet=as_json) as telling:
        async for told in services.stream(services.read_models(service).Compare, request):
            if told.WhichOneof("message") == "progress":
                telling.tell(told.progress)
                continue
            telling.end()
            differ += len(told.compared.differences)
            _show(told.compared, as_json=as_json)
    if differ:
        raise Refusal(
            Kind.PRECONDITION, "rows_differ", f"{differ} rows are not what the log makes of them; rebuild {service}"
        )


def _show(compared: Any, *, as_json: bool) -> None:
    found = [{"table": one.table, "key": dict(one.key), "what": one.what} for one in compared.differences]
    if as_json:
        output.document({"projection": compared.projection, "position": compared.position, "differences": found})
    elif found:
        output.rows(
            ("TABLE", "ROW", "WHAT"),
            [(one.table, ", ".join(f"{k}={v}" for k, v in one.key.items()), one.what) for one in compared.differences],
        )
    else:
        print(f"{compared.projection}: as the log has it at position {compared.position}", flush=True)


class _Telling:
    """How far it is: one bar or row of lines for each projection."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._projection = ""
        self._bars = ExitStack()
        self._advance: Callable[[int], None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def tell(self, told: Any) -> None:
        """The next that is known."""
        if told.projection != self._projection or self._advance is None:
            self.end()
            self._projection = told.projection
            bar = progress(told.head, "positions", what=told.projection, quiet=self._quiet)
            self._advance = self._bars.enter_context(bar)
        self._advance(told.position)

    def end(self) -> None:
        """Nothing more comes of this projection; whatever is printed now is not written into a bar."""
        self._bars.close()
        self._advance = None
