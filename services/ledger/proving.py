"""Checkpoints and proofs over gRPC, and the log as it has to be read to verify it; part of `LedgerService`."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from protos.stagedoor.ledger.v1 import ledger_pb2 as messages
from services.ledger.events import PartitionArchived, Question
from services.ledger.permission import Permission
from services.ledger.pruned import HIGHEST, pruned, pruned_message
from services.ledger.queries import record
from shared.errors import Kind, Refusal, Unavailable
from shared.evidence.checkpoints import Branch
from shared.evidence.keeping import Evidence
from shared.evidence.proofs import prove_consistency, prove_inclusion
from shared.evidence.stagedoor_verify import Checkpoint, Wrong
from shared.evidence.stored import stored
from shared.evidence.tiles import MissingTile
from shared.log.log import Log
from shared.rpc.guard import RpcContext

T = TypeVar("T")

_STRETCH: Final = 2048
"""Positions of one statement, at the most."""
_LARGEST: Final = 4 * 1024 * 1024
"""Bytes of events in one message, unless a single position has more."""


_Stretch = tuple[int, bytes, Sequence[Any]]
"""Up to which position, the hashes of the tree, and the log's rows."""


class Proving:
    """The methods that answer from the tree."""

    def __init__(self, log: Log, evidence: Evidence | None, permission: Permission) -> None:
        self._log = log
        self._permission = permission
        self._evidence = evidence

    async def GetCheckpoint(  # noqa: N802  (the name is the protocol's, as are the others)
        self, _request: messages.GetCheckpointRequest, _context: RpcContext
    ) -> messages.GetCheckpointResponse:
        """The last checkpoint. It tells nothing of anybody, and may be asked for as often as a witness likes."""
        branch, note, checkpoint = await self._current()
        return messages.GetCheckpointResponse(
            checkpoint=note,
            size=checkpoint.size,
            root=checkpoint.root,
            key=str(branch.key),
            alarm=self._kept().alarm,
        )

    async def ReadCheckpoints(  # noqa: N802
        self, _request: messages.ReadCheckpointsRequest, _context: RpcContext
    ) -> AsyncIterator[messages.KeptCheckpoint]:
        """All checkpoints that were kept, those of lost branches first."""
        for branch in self._kept().branches():
            for note in await _computed(partial(_notes, branch)):
                yield messages.KeptCheckpoint(checkpoint=note, key=str(branch.key))

    async def ProveInclusion(  # noqa: N802
        self, request: messages.ProveInclusionRequest, _context: RpcContext
    ) -> messages.ProveInclusionResponse:
        """That an event is in the tree of a size that was reached."""
        branch, size = await self._tree(request.size)
        if not 1 <= request.position <= size:
            raise Refusal(Kind.INVALID, "not_in_the_tree", f"a tree of {size} events has positions 1 to {size}")
        await record(self._log, Question.PROOF_OF_INCLUSION, request.position - 1, request.position)
        index = request.position - 1
        hashes = await _computed(partial(prove_inclusion, index, size, branch.tiles.hash_of))
        leaf = await _computed(partial(branch.tiles.leaves, index, index + 1))
        return messages.ProveInclusionResponse(size=size, leaf_hash=leaf, hashes=hashes)

    async def ProveConsistency(  # noqa: N802
        self, request: messages.ProveConsistencyRequest, _context: RpcContext
    ) -> messages.ProveConsistencyResponse:
        """That the log went on from what it was."""
        branch, size = await self._tree(request.to)
        earlier = getattr(request, "from")
        if not 0 <= earlier <= size:
            raise Refusal(Kind.INVALID, "not_in_the_tree", f"there is no earlier tree of {earlier} events")
        await record(self._log, Question.PROOF_OF_CONSISTENCY, earlier, size)
        hashes = await _computed(partial(prove_consistency, earlier, size, branch.tiles.hash_of))
        return messages.ProveConsistencyResponse(to=size, hashes=hashes)

    async def ReadEvidence(  # noqa: N802
        self, request: messages.ReadEvidenceRequest, context: RpcContext
    ) -> AsyncIterator[messages.EvidencePage]:
        """Events beside what the tree says of them, by keyset, as far as the last checkpoint goes."""
        branch, size = await self._tree(request.until)
        if not 0 <= request.after <= size:
            raise Refusal(Kind.INVALID, "not_in_the_tree", f"a tree of {size} events has positions 1 to {size}")
        await record(self._log, Question.EVIDENCE, request.after, size)
        still_allowed = self._permission.watch(context)
        after = request.after
        coming = self._begin(branch, after, size)
        try:
            while coming is not None:
                until, tree, rows = await coming
                # The next stretch is on its way while this one is sent.
                coming = self._begin(branch, until, size)
                for page in _pages(after, until, tree, rows):
                    yield page
                after = until
                await still_allowed()
        finally:
            if coming is not None:
                coming.cancel()

    async def ReadArchives(  # noqa: N802
        self, _request: messages.ReadArchivesRequest, _context: RpcContext
    ) -> AsyncIterator[messages.Archive]:
        """What has left the log. It tells nothing of anybody."""
        for one in await pruned(self._log, 0, HIGHEST):
            answer = messages.Archive(pruned=pruned_message(one))
            answer.pruned_at.FromDatetime(one["pruned_at"])
            for recorded in (await self._log.load(f"archive-{one['first']}")).events:
                if isinstance(recorded.event, PartitionArchived) and recorded.position == one["record"]:
                    answer.note = recorded.event.note
            yield answer

    def _begin(self, branch: Branch, after: int, size: int) -> "asyncio.Task[_Stretch] | None":
        """Begin to fetch the stretch after a position; None if there is none."""
        return asyncio.create_task(self._stretch(branch, after, min(after + _STRETCH, size))) if after < size else None

    async def _stretch(self, branch: Branch, after: int, until: int) -> _Stretch:
        until, rows = await stored(self._log, after, until)
        return until, await _computed(partial(branch.tiles.leaves, after, until)), rows

    def _kept(self) -> Evidence:
        if self._evidence is None:
            raise Refusal(Kind.PRECONDITION, "no_evidence", "the ledger is not told where to keep checkpoints")
        return self._evidence

    async def _current(self) -> tuple[Branch, str, Checkpoint]:
        found = await _computed(self._kept().current)
        if found is None:
            raise Unavailable("no_checkpoint", "there is no checkpoint yet")
        return found

    async def _tree(self, size: int) -> tuple[Branch, int]:
        """The branch, and the size that is meant; refuses one that no checkpoint speaks of yet."""
        branch, _, checkpoint = await self._current()
        if not 0 <= size <= checkpoint.size:
            raise Refusal(Kind.INVALID, "not_in_the_tree", f"the last checkpoint is of {checkpoint.size} events")
        return branch, size or checkpoint.size


async def _computed(answer: Callable[[], T]) -> T:
    """What is read and hashed beside the event loop; refused if it is not there as it has to be."""
    try:
        return await asyncio.to_thread(answer)
    except (MissingTile, Wrong, OSError) as failure:
        raise _broken(str(failure)) from None


def _notes(branch: Branch) -> list[str]:
    return list(branch.kept())


def _broken(why: str) -> Refusal:
    return Refusal(Kind.PRECONDITION, "evidence_broken", why)


def _pages(after: int, until: int, tree: bytes, rows: Sequence[Any]) -> Iterator[messages.EvidencePage]:
    """A stretch as one message, or as several if it is too much for one."""
    if until - after > 1 and sum(len(row["data"] or b"") + len(row["leaf"]) for row in rows) > _LARGEST:
        middle = (after + until) // 2
        left = [row for row in rows if row["position"] <= middle]
        yield from _pages(after, middle, tree[: (middle - after) * 32], left)
        yield from _pages(middle, until, tree[(middle - after) * 32 :], rows[len(left) :])
        return
    yield messages.EvidencePage(
        after=after,
        until=until,
        tree=tree,
        leaves=[row["leaf"] for row in rows],
        salts=[row["salt"] for row in rows],
        data=[row["data"] for row in rows],
        leaf_hashes=b"".join([row["leaf_hash"] for row in rows]),
        misfiled=[row["position"] for row in rows if row["misfiled"]],
    )
