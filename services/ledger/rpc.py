"""Reads of the log, for auditors and administrators (stagedoor.ledger.v1). Each is a fact before it is answered."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing

from protos.stagedoor.ledger.v1 import ledger_pb2 as messages
from services.ledger.events import Question
from services.ledger.looking_back import Histories, LookingBack
from services.ledger.past import Past
from services.ledger.permission import QUIET_SECONDS, ROLES, Permission
from services.ledger.proving import Proving
from services.ledger.pruned import pruned
from services.ledger.queries import in_words, record
from services.ledger.reading import COLUMNS, Page, Reading
from services.ledger.reporting import Reporting
from shared.evidence.keeping import Evidence
from shared.history import History
from shared.log.log import Log
from shared.log.row import EventFilter
from shared.questions import ask
from shared.rpc.caller import Rule
from shared.rpc.guard import Authenticate, RpcContext
from shared.wake import Wake

SERVICE = "stagedoor.ledger.v1.Ledger"
_AUDITORS = Rule(frozenset({"operator"}), ROLES)
_CONSOLES = Rule(frozenset({"operator", "service/console"}), ROLES)
RULES: Mapping[str, Rule] = {
    **{f"{SERVICE}/{method.name}": _AUDITORS for method in messages.DESCRIPTOR.services_by_name["Ledger"].methods},
    **{f"{SERVICE}/{name}": _CONSOLES for name in ("Read", "GetHead", "Explain")},
}

_PAGE = 2000
"""Events of one statement, at the most."""
_STRETCH = 20_000
"""Positions that one statement looks through, so that a filter that few events match makes no long statement."""


class LedgerService(Proving, LookingBack, Reporting):
    """The servicer."""

    def __init__(
        self,
        log: Log,
        wake: Wake,
        authenticate: Authenticate,
        evidence: Evidence | None,
        histories: Sequence[History],
    ) -> None:
        """`log` knows the facts of all services; `histories` say what they come to."""
        permission, past, known = Permission(authenticate), Past(log, log.catalogue), Histories(histories)
        Proving.__init__(self, log, evidence, permission)
        LookingBack.__init__(self, past, known, permission)
        Reporting.__init__(self, past, known, permission)
        self._wake = wake

    async def GetHead(  # noqa: N802  (the name is the protocol's)
        self, _request: messages.GetHeadRequest, _context: RpcContext
    ) -> messages.GetHeadResponse:
        """How far the log has come."""
        row = await ask(self._log.pool.fetchrow("SELECT epoch, position, recorded_at FROM log.head"))
        answer = messages.GetHeadResponse(position=row["position"], epoch=row["epoch"])
        if row["position"] > 0:
            answer.recorded_at.FromDatetime(row["recorded_at"])
        return answer

    async def Read(  # noqa: N802  (as above)
        self, request: messages.ReadRequest, context: RpcContext
    ) -> AsyncIterator[messages.ReadResponse]:
        """Events in order, by keyset; with `follow`, also those that are appended from now on.

        How far has been looked is said as `complete_to`: at the end, and about once a second while there is nothing
        else to say. A reader whose token stops being accepted is cut off. Without `follow` it ends before the fact that
        somebody reads. What has left the log is said, whatever was asked for: it might have matched.
        """
        reading = Reading.of(request)
        question = Question.EVENTS_AS_THEY_COME if reading.follow else Question.EVENTS
        asked = await record(self._log, question, reading.after, reading.until, in_words(reading.matching))
        still_allowed = self._permission.watch(context)
        told = -1
        while True:
            mark = self._wake.mark
            head = (await self._log.head()).position if reading.follow else asked.position - 1
            async with aclosing(self._events(reading, reading.bound(head))) as events:
                async for message in events:
                    yield message
                    await still_allowed()
            if reading.done:
                break
            if reading.after != told:
                yield messages.ReadResponse(complete_to=reading.after)
                told = reading.after
            await self._wake.after(mark, QUIET_SECONDS)
            await still_allowed()
        yield messages.ReadResponse(complete_to=reading.after)

    async def _events(self, reading: Reading, bound: int) -> AsyncGenerator[messages.ReadResponse]:
        """What matches up to a position; afterwards `reading` is there, unless its limit came first."""
        coming = self._next(reading, bound)
        try:
            while coming is not None:
                page = await coming
                reading.looked(page)
                # The next page is on its way while this one is sent.
                coming = self._next(reading, bound)
                for message in reading.answers(page):
                    yield message
        finally:
            if coming is not None:
                coming.cancel()

    def _next(self, reading: Reading, bound: int) -> "asyncio.Task[Page] | None":
        """Begin to fetch what comes next; None if there is nothing more to look at."""
        if reading.after >= bound or reading.full:
            return None
        until = min(bound, reading.after + _STRETCH)
        return asyncio.create_task(self._page(reading.after, until, reading.page(_PAGE), reading.matching))

    async def _page(self, after: int, until: int, limit: int, matching: EventFilter) -> Page:
        found = await self._log.read_records(COLUMNS, after, limit, until, matching)
        seen = found.events[-1]["position"] if found.full else until
        return Page(seen, found.events, await pruned(self._log, after, seen))
