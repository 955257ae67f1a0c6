"""The edge for administrators of dynamic client registration: translate, call, translate the answer."""
# ruff: noqa: N802, ARG002  (gRPC names its methods so, and gives each a context)

from collections.abc import Mapping
from typing import Any

import grpc

from protos.stagedoor.registry.v1 import registration_pb2 as pb
from protos.stagedoor.registry.v1.registration_pb2_grpc import RegistrationServicer
from services.identity.events import Role
from services.registry import messages, read_model, registration_rows
from services.registry.access_tokens import InitialAccessTokens, shown_again
from services.registry.answering import answering, reached
from services.registry.carry_out import of_application, of_initial_access
from services.registry.domain import application, initial_access
from services.registry.domain.refusals import invalid
from services.registry.events import (
    GrantType,
    InitialAccessTokenIssued,
    InitialAccessTokenRevoked,
    RegistrationAccessTokenRevoked,
)
from services.registry.registration_rows import InitialAccessRow
from shared.clock import Clock
from shared.keys import MasterKey
from shared.log.event import Event
from shared.log.log import Log
from shared.rpc import caller
from shared.rpc.caller import Rule

SERVICE = "stagedoor.registry.v1.Registration"

RULES: Mapping[str, Rule] = {
    f"/{SERVICE}/{method.name}": Rule(callers=frozenset({"operator"}), role=frozenset({Role.ADMINISTRATOR.value}))
    for method in pb.DESCRIPTOR.services_by_name["Registration"].methods
}
"""Every method is management: an operator's client calls, with the token of an administrator."""

_USUAL_GRANTS = (GrantType.AUTHORIZATION_CODE, GrantType.REFRESH_TOKEN)
_Call = grpc.aio.ServicerContext[Any, Any]


class RegistrationService(RegistrationServicer):
    """`stagedoor.registry.v1.Registration`."""

    def __init__(self, log: Log, master: MasterKey, clock: Clock) -> None:
        self._log = log
        self._tokens = InitialAccessTokens(master)
        self._names = master.derive("names")
        self._clock = clock

    async def IssueInitialAccessToken(
        self, request: pb.IssueInitialAccessTokenRequest, context: _Call
    ) -> pb.IssueInitialAccessTokenResponse:
        """Let programs register applications; the token is in this answer and nowhere else."""
        origin = caller.context()
        token = self._tokens.of(origin.command_id)
        wanted = _wanted(request, token.token_id, token.digest)

        async def command() -> initial_access.Command:
            known = await read_model.known_scopes(self._log.pool)
            return initial_access.Issue(**wanted, known_scopes=known, now=self._clock())

        def is_it(event: Event) -> bool:
            return isinstance(event, InitialAccessTokenIssued) and event == InitialAccessTokenIssued(**wanted)

        handled = answering(await of_initial_access(self._log, token.token_id, command, origin), is_it)
        row = await registration_rows.issued(self._log.pool, token.token_id)
        if row is None:
            raise initial_access.not_found()
        shown = handled.appended is not None or shown_again(row.issued_at, self._clock())
        return pb.IssueInitialAccessTokenResponse(
            token=_message(row),
            initial_access_token=token.text if shown else "",
            position=handled.position,
        )

    async def ListInitialAccessTokens(
        self, request: pb.ListInitialAccessTokensRequest, context: _Call
    ) -> pb.ListInitialAccessTokensResponse:
        """A page of tokens, by id."""
        size, after = messages.page_size(request.page_size), messages.page_start(request.page_token)
        await reached(self._log, request.minimum_position)
        rows = await registration_rows.tokens(self._log.pool, after, size + 1)
        page = rows[:size]
        return pb.ListInitialAccessTokensResponse(
            tokens=[_message(row) for row in page],
            next_page_token=messages.page_token(page[-1].token_id) if len(rows) > size else "",
        )

    async def RevokeInitialAccessToken(
        self, request: pb.RevokeInitialAccessTokenRequest, context: _Call
    ) -> pb.RevokeInitialAccessTokenResponse:
        """Let nothing more be registered with a token."""
        token_id = request.token_id
        initial_access.check_token_id(token_id)

        def is_it(event: Event) -> bool:
            return isinstance(event, InitialAccessTokenRevoked) and event.token_id == token_id

        command = initial_access.Revoke(token_id)
        handled = answering(await of_initial_access(self._log, token_id, command, caller.context()), is_it)
        return pb.RevokeInitialAccessTokenResponse(position=handled.position)

    async def RevokeRegistrationAccessToken(
        self, request: pb.RevokeRegistrationAccessTokenRequest, context: _Call
    ) -> pb.RevokeRegistrationAccessTokenResponse:
        """Let an application not manage itself any more."""
        client_id = request.client_id

        def is_it(event: Event) -> bool:
            return isinstance(event, RegistrationAccessTokenRevoked)

        command = application.RevokeRegistrationAccessToken(client_id)
        handled = answering(await of_application(self._log, self._names, client_id, command, caller.context()), is_it)
        return pb.RevokeRegistrationAccessTokenResponse(position=handled.position)


def _wanted(request: pb.IssueInitialAccessTokenRequest, token_id: str, token_digest: str) -> dict[str, Any]:
    if not request.HasField("expires_at"):
        raise invalid("an initial access token has an end", "invalid_time")
    if request.unlimited and request.uses:
        raise invalid("an initial access token has a number of uses, or no limit")
    return {
        "token_id": token_id,
        "token_digest": token_digest,
        "purpose": request.purpose,
        "expires_at": messages.moment(request.expires_at),
        "uses": None if request.unlimited else request.uses or 1,
        "client_id_prefix": request.client_id_prefix or initial_access.USUAL_PREFIX,
        "scopes": tuple(request.scopes),
        "grants": messages.words_of(GrantType, request.grants, "a grant") or _USUAL_GRANTS,
    }


def _message(row: InitialAccessRow) -> pb.InitialAccessToken:
    return pb.InitialAccessToken(
        token_id=row.token_id,
        purpose=row.purpose,
        issued_at=messages.timestamp(row.issued_at),
        expires_at=messages.timestamp(row.expires_at),
        uses=row.uses or 0,
        used=row.used,
        client_id_prefix=row.client_id_prefix,
        scopes=row.scopes,
        grants=row.grants,
        position=row.position,
    )
