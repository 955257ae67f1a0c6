"""Rebuilding and comparing, for administrators (stagedoor.readmodels.v1): a part of every service with a management."""

from collections.abc import AsyncIterator, Mapping, Sequence

from prometheus_client import Gauge

from protos.stagedoor.readmodels.v1 import readmodels_pb2 as pb
from shared.errors import Kind, Refusal
from shared.http.operations import Check
from shared.log.log import Log
from shared.rebuild.comparing import Compared, compare
from shared.rebuild.projection import Projection
from shared.rebuild.rebuilding import Progress, rebuild, versions
from shared.rpc.caller import Rule
from shared.rpc.guard import RpcContext

_OUTDATED = Gauge(
    "stagedoor_read_model_outdated", "1 where rows are of an older version than the code.", ["projection"]
)

SERVICE = "stagedoor.readmodels.v1.ReadModels"
RULES: Mapping[str, Rule] = {
    f"/{SERVICE}/{method.name}": Rule(callers=frozenset({"operator"}), role=frozenset({"administrator"}))
    for method in pb.DESCRIPTOR.services_by_name["ReadModels"].methods
}


class ReadModelsService:
    """The servicer."""

    def __init__(self, log: Log, projections: Sequence[Projection]) -> None:
        self._log = log
        self._projections = {projection.name: projection for projection in projections}

    async def ListReadModels(  # noqa: N802  (the name is the protocol's)
        self, _request: pb.ListReadModelsRequest, _context: RpcContext
    ) -> pb.ListReadModelsResponse:
        """What there is, and of which version."""
        live = await versions(self._log)
        return pb.ListReadModelsResponse(
            read_models=[
                pb.ReadModel(
                    projection=one.name,
                    sources=one.sources,
                    tables=one.tables,
                    version=one.version,
                    live_version=live.get(one.name, 0),
                )
                for one in self._projections.values()
            ]
        )

    async def Rebuild(  # noqa: N802  (as above)
        self, request: pb.RebuildRequest, _context: RpcContext
    ) -> AsyncIterator[pb.RebuildResponse]:
        """One after the other."""
        for projection in self._chosen(request.projections):
            async for told in rebuild(self._log, projection):
                yield pb.RebuildResponse(progress=_progress(told), live=told.live)

    async def Compare(  # noqa: N802  (as above)
        self, request: pb.CompareRequest, _context: RpcContext
    ) -> AsyncIterator[pb.CompareResponse]:
        """One after the other."""
        for projection in self._chosen(request.projections):
            async for told in compare(self._log, projection):
                if isinstance(told, Compared):
                    yield pb.CompareResponse(compared=_compared(told))
                else:
                    yield pb.CompareResponse(progress=_progress(told))

    def _chosen(self, names: Sequence[str]) -> list[Projection]:
        if unknown := [name for name in names if name not in self._projections]:
            known = ", ".join(self._projections)
            raise Refusal(Kind.NOT_FOUND, "unknown_projection", f"there is no {unknown[0][:100]!r} here, but: {known}")
        return [one for one in self._projections.values() if not names or one.name in names]


async def up_to_date(log: Log, projections: Sequence[Projection]) -> Check:
    """For `/readyz`: whether the rows are of the version of the code. Old ones serve; they are told, and counted."""
    try:
        live = await versions(log)
    except Refusal as refusal:
        return Check(ok=False, detail=refusal.message)
    old = [one for one in projections if live.get(one.name, one.version) < one.version]
    for one in projections:
        _OUTDATED.labels(one.name).set(one in old)
    return Check(ok=True, detail=", ".join(f"{one.name} is of an older version: rebuild it" for one in old))


def _progress(told: Progress) -> pb.Progress:
    return pb.Progress(projection=told.projection, position=told.position, head=told.head)


def _compared(told: Compared) -> pb.Compared:
    return pb.Compared(
        projection=told.projection,
        position=told.position,
        differences=[pb.Difference(table=one.table, key=dict(one.key), what=one.what) for one in told.differences],
    )
