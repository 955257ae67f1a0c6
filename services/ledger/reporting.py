"""Reports over gRPC. Part of `LedgerService`."""

import time
from collections.abc import AsyncIterator
from datetime import datetime

from protos.stagedoor.ledger.v1 import ledger_pb2 as messages
from services.ledger.events import Question
from services.ledger.looking_back import Histories, as_json, then
from services.ledger.past import Past, check_id, time_of
from services.ledger.permission import QUIET_SECONDS, Permission
from services.ledger.reports.access import Access
from services.ledger.reports.actions import Actions
from services.ledger.reports.applications import Applications
from services.ledger.reports.changes import Changes
from services.ledger.reports.failed_sign_ins import FailedSignIns
from services.ledger.reports.references import References
from services.ledger.reports.report import Report
from shared.errors import Kind, Refusal
from shared.rpc.guard import RpcContext

_LONGEST_DAYS = 36_500


class Reporting:
    """The method that tells of many things at once."""

    def __init__(self, past: Past, histories: Histories, permission: Permission) -> None:
        self._past = past
        self._histories = histories
        self._permission = permission

    async def Report(  # noqa: N802  (the name is the protocol's)
        self, request: messages.ReportRequest, context: RpcContext
    ) -> AsyncIterator[messages.ReportResponse]:
        """A report, row by row. A reader whose token stops being accepted is cut off."""
        report = _wanted(request, self._histories)
        moment = await self._past.ask(Question.REPORT, request.moment, report.about)
        still_allowed = self._permission.watch(context)
        begins = messages.ReportBegins(
            columns=report.columns, then=then(moment), pruned_before=await self._past.pruned_before()
        )
        yield messages.ReportResponse(begins=begins)
        said = time.monotonic()
        async for one in report.rows(self._past, moment):
            if not isinstance(one, int):
                yield messages.ReportResponse(row=as_json(one))
            elif time.monotonic() - said >= QUIET_SECONDS:
                yield messages.ReportResponse(looked_to=one)
                said = time.monotonic()
            await still_allowed()


def _wanted(request: messages.ReportRequest, histories: Histories) -> Report:
    """The report that is asked for; refuses what is none."""
    match request.WhichOneof("report"):
        case "access":
            asked = request.access
            return Access(histories, _optional(asked.sub, "a sub"), _optional(asked.client_id, "a client_id"))
        case "actions":
            acted = request.actions
            if bool(acted.sub) == bool(acted.client_id):
                raise Refusal(Kind.INVALID, "invalid_argument", "actions are those of one user or of one application")
            since = _since(acted)
            return Actions(_optional(acted.sub, "a sub"), _optional(acted.client_id, "a client_id"), since)
        case "applications":
            return Applications(histories)
        case "changes":
            return Changes(histories, check_id(request.changes.client_id, "a client_id"))
        case "references":
            days = request.references.unused_days
            if not 0 <= days <= _LONGEST_DAYS:
                raise Refusal(Kind.INVALID, "invalid_argument", f"days are 0 to {_LONGEST_DAYS}")
            return References(histories, days)
        case "failed_sign_ins":
            failed = request.failed_sign_ins
            return FailedSignIns(_optional(failed.sub, "a sub"), _since(failed))
        case _:
            raise Refusal(Kind.INVALID, "invalid_argument", "a report has to be named")


def _optional(value: str, what: str) -> str:
    return check_id(value, what) if value else ""


def _since(asked: messages.ActionsReport | messages.FailedSignInsReport) -> datetime | None:
    return time_of(asked.since) if asked.HasField("since") else None
