"""`stagedoor.tokens.v1.Logouts`: administrators see which applications could not be told, and have it tried again."""
# ruff: noqa: N802, ARG002  (gRPC names its methods so, and gives each a context)

from collections.abc import Mapping
from typing import Any

import grpc

from protos.stagedoor.tokens.v1 import tokens_pb2 as pb
from protos.stagedoor.tokens.v1.tokens_pb2_grpc import LogoutsServicer
from services.identity.events import Role
from services.token_issuer.backchannel.tables import LogoutQuestions, Undelivered
from services.token_issuer.paging import page_size, page_start, page_token
from services.token_issuer.references.messages import check_ids, invalid
from shared.errors import Kind, Refusal
from shared.rpc import caller
from shared.rpc.caller import Rule
from shared.telemetry import logger

_log = logger(__name__)

LOGOUTS = "stagedoor.tokens.v1.Logouts"
RULES: Mapping[str, Rule] = {
    f"/{LOGOUTS}/{method.name}": Rule(frozenset({"operator"}), frozenset({Role.ADMINISTRATOR.value}))
    for method in pb.DESCRIPTOR.services_by_name["Logouts"].methods
}
_MOST_IDS = 1000

_Call = grpc.aio.ServicerContext[Any, Any]


class LogoutsService(LogoutsServicer):
    """The servicer."""

    def __init__(self, questions: LogoutQuestions) -> None:
        self._questions = questions

    async def ListLogouts(self, request: pb.ListLogoutsRequest, context: _Call) -> pb.ListLogoutsResponse:
        """What is still to be delivered, newest first."""
        size = page_size(request.page_size)
        found = await self._questions.undelivered(
            _client(request.client_id),
            given_up=request.given_up_only,
            before=page_start(request.page_token),
            limit=size + 1,
        )
        page = found[:size]
        return pb.ListLogoutsResponse(
            logouts=map(_message, page),
            next_page_token=page_token(page[-1].delivery_id) if len(found) > size else "",
        )

    async def RetryLogouts(self, request: pb.RetryLogoutsRequest, context: _Call) -> pb.RetryLogoutsResponse:
        """Let some be tried at once."""
        ids, client_id = list(request.delivery_ids), _client(request.client_id)
        if not ids and client_id is None and not request.all:
            raise invalid("say which: some ids, an application, or all")
        if request.all and (ids or client_id is not None):
            raise invalid("all are all: name nothing else")
        if len(ids) > _MOST_IDS:
            raise invalid(f"at most {_MOST_IDS} ids are named at once")
        retried = await self._questions.again(ids or None, client_id)
        if ids and not retried:
            raise Refusal(Kind.NOT_FOUND, "logout_not_found", "there is no such logout to try again")
        _log.info("logouts_retried", by=caller.context().actor, deliveries=retried)
        return pb.RetryLogoutsResponse(retried=retried)


def _client(client_id: str) -> str | None:
    if client_id:
        check_ids(client_id)
    return client_id or None


def _message(one: Undelivered) -> pb.UndeliveredLogout:
    message = pb.UndeliveredLogout(
        delivery_id=one.delivery_id,
        client_id=one.client_id,
        sub=one.sub,
        sid=one.sid,
        state="waiting" if one.due_at is not None else "given_up",
        attempts=one.attempts,
        failure=one.failure or "",
        position=one.position,
    )
    if one.failed_at is not None:
        message.failed_at.FromDatetime(one.failed_at)
    if one.due_at is not None:
        message.due_at.FromDatetime(one.due_at)
    return message
