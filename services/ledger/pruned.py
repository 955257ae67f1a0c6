"""What has left the log, as readers are told of it."""

from collections.abc import Sequence
from typing import Any, Final

from protos.stagedoor.ledger.v1 import ledger_pb2 as messages
from shared.log.log import Log
from shared.questions import ask

HIGHEST: Final = 2**63 - 1
"""No position is greater."""


async def pruned(log: Log, after: int, until: int) -> Sequence[Any]:
    """Stretches that are not whole any more and have something after a position and up to another, in order.

    Whoever asks after having read rows misses none: rows and stretch leave and come in one transaction.
    """
    found: Sequence[Any] = await ask(log.pool.fetch("SELECT * FROM log.pruned_between($1, $2)", after, until))
    return found


def pruned_message(one: Any) -> messages.Pruned:
    """One stretch."""
    return messages.Pruned(first=one["first"], last=one["last"], events=one["events"], record=one["record"])
