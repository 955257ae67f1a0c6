"""What the ledger answers to whoever verifies: nothing of it is believed before it has been checked."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

from protos.stagedoor.ledger.v1 import ledger_pb2 as pb
from services.cli.connection import Connection
from shared.evidence.archive import event_of
from shared.evidence.checkpoints import base64_of
from shared.evidence.stagedoor_verify import HASH, Archive, Checkpoint, Key, Wrong
from shared.evidence.verification import Pruned


async def pages(services: Connection, after: int, until: int) -> AsyncIterator[pb.EvidencePage]:
    """Pages without a gap; refuses an answer that has one."""
    request = pb.ReadEvidenceRequest(after=after, until=until)
    async for page in services.stream(services.ledger.ReadEvidence, request):
        if page.after != after or len(page.tree) != (page.until - after) * HASH:
            raise Wrong("the ledger left something out of its answer")
        after = page.until
        yield page
    if after != until:
        raise Wrong("the ledger left something out of its answer")


def events_of(page: pb.EvidencePage) -> Iterator[dict[str, Any]]:
    """The events of a page, with the hashes that the tree has there; of those that are missing these alone."""
    at = 0
    for position in range(page.after + 1, page.until + 1):
        leaf = page.tree[(position - page.after - 1) * HASH : (position - page.after) * HASH].hex()
        event = event_of(page.leaves[at], page.salts[at], page.data[at]) if at < len(page.leaves) else {}
        if event.get("position") == position:
            at += 1
            yield {**event, "leaf": leaf}
        else:
            yield {"position": position, "leaf": leaf}


async def inclusion(services: Connection, position: int, size: int) -> list[str]:
    """What proves that an event is in a tree, in base64."""
    request = pb.ProveInclusionRequest(position=position, size=size)
    answer = await services.ask(services.ledger.ProveInclusion, request)
    return [base64_of(one) for one in answer.hashes]


async def growth(services: Connection, since: Checkpoint, size: int) -> dict[str, Any]:
    """What proves that a log of `size` events goes on from an earlier one."""
    if since.size > size:
        raise Wrong(f"the log has {size} events, and a checkpoint says that it had {since.size}")
    request = pb.ProveConsistencyRequest(**{"from": since.size, "to": size})
    answer = await services.ask(services.ledger.ProveConsistency, request)
    return {"consistent_from": since.size, "consistency": [base64_of(one) for one in answer.hashes]}


async def archives(services: Connection, key: Key) -> list[Pruned]:
    """What has left the log, as the ledger has signed it; raises `Wrong` where it has not."""
    found = []
    async for one in services.stream(services.ledger.ReadArchives, pb.ReadArchivesRequest()):
        try:
            archive = Archive.open(one.note, key)
        except Wrong as wrong:
            stretch = f"{one.pruned.first} to {one.pruned.last}"
            raise Wrong(f"it does not say what was archived of {stretch}: {wrong}", one.pruned.record) from None
        found.append(Pruned(archive, one.note, one.pruned.record))
    return found


async def gone(services: Connection, key: Key, first: int, last: int) -> list[Pruned]:
    """What has left the log between two positions."""
    known = await archives(services, key)
    return [one for one in known if one.archive.first <= last and one.archive.last >= first]
