"""The identity service over gRPC: users and their sessions. The rules are in `domain`; here is only translation."""
# ruff: noqa: N802, ARG002  (gRPC names its methods so, and gives each a context)

from collections.abc import Mapping
from typing import Any

import grpc

from protos.stagedoor.identity.v1 import identity_pb2 as pb
from protos.stagedoor.identity.v1.identity_pb2_grpc import IdentityServicer
from services.identity import messages
from services.identity.accounts import Accounts, NewUser
from services.identity.consents import Consents
from services.identity.domain.names import normalised
from services.identity.domain.user import UserIsErased
from services.identity.erasure import Erasure
from services.identity.events import Role, SessionEndReason, UserKind
from services.identity.own_second_factor import OwnSecondFactor
from services.identity.read_model import Questions, UserRow
from services.identity.sessions import Sessions
from shared.errors import Kind, Refusal, Unavailable
from shared.ids import same
from shared.log.log import Log
from shared.rate_limit import Budget, RateLimit
from shared.rpc import caller
from shared.rpc.caller import Rule
from shared.telemetry import logger

_log = logger(__name__)

SERVICE = "stagedoor.identity.v1.Identity"

_NOT_THE_CONSOLES = frozenset({"Bootstrap", "WithdrawConsent"})
RULES: Mapping[str, Rule] = {
    f"/{SERVICE}/{method.name}": Rule(
        callers=frozenset({"operator"} if method.name in _NOT_THE_CONSOLES else {"operator", "service/console"}),
        role=None if method.name == "Bootstrap" else frozenset({Role.ADMINISTRATOR.value}),
    )
    for method in pb.DESCRIPTOR.services_by_name["Identity"].methods
}
"""Management: an operator's client or the console calls, with the token of an administrator. The first has none yet."""

DEPLOY_SECRET_LENGTH = 32
"""A deploy secret that is shorter is not accepted: it could be guessed."""

_CLAIMS = Budget(burst=5, fade_seconds=10)
"""Wrong deploy secrets at once, at one process."""

_Call = grpc.aio.ServicerContext[Any, Any]


class IdentityService(IdentityServicer):
    """`stagedoor.identity.v1.Identity`."""

    def __init__(  # noqa: PLR0913  (what it is made of)
        self,
        log: Log,
        *,
        accounts: Accounts,
        own_second_factor: OwnSecondFactor,
        erasure: Erasure,
        sessions: Sessions,
        consents: Consents,
        questions: Questions,
        deploy_secret: str | None,
    ) -> None:
        self._log = log
        self._accounts = accounts
        self._own_second_factor = own_second_factor
        self._erasure = erasure
        self._sessions = sessions
        self._consents = consents
        self._questions = questions
        self._deploy_secret = deploy_secret
        self._claims = RateLimit(_CLAIMS)

    async def Bootstrap(self, request: pb.BootstrapRequest, context: _Call) -> pb.BootstrapResponse:
        """The first administrator, once."""
        self._claims.check(SERVICE)
        expected = self._deploy_secret or ""
        if len(expected) < DEPLOY_SECRET_LENGTH or not same(request.deploy_secret, expected):
            self._claims.failed(SERVICE)
            _log.warning("wrong_deploy_secret", caller=caller.current.get().caller.name)
            raise Refusal(Kind.UNAUTHENTICATED, "wrong_deploy_secret", "the deploy secret is not right, or none is set")
        sub, position = await self._accounts.register(
            NewUser(
                request.user_name,
                UserKind.INTERNAL,
                messages.profile(request.profile),
                (Role.ADMINISTRATOR,),
                request.password,
            ),
            caller.context(),
            bootstrap=True,
        )
        return pb.BootstrapResponse(sub=sub, position=position)

    async def RegisterUser(self, request: pb.RegisterUserRequest, context: _Call) -> pb.RegisterUserResponse:
        """A new user."""
        sub, position = await self._accounts.register(
            NewUser(
                request.user_name,
                messages.kind(request.kind),
                messages.profile(request.profile),
                messages.roles(request.roles),
                request.password or None,
            ),
            caller.context(),
        )
        return pb.RegisterUserResponse(sub=sub, position=position)

    async def GetUser(self, request: pb.GetUserRequest, context: _Call) -> pb.GetUserResponse:
        """One user."""
        await self._reached(request.minimum_position)
        return pb.GetUserResponse(user=messages.user_message(await self._find(request.user)))

    async def ListUsers(self, request: pb.ListUsersRequest, context: _Call) -> pb.ListUsersResponse:
        """A page of users, by name."""
        size, after = messages.page_size(request.page_size), messages.page_start(request.page_token)
        await self._reached(request.minimum_position)
        rows = await self._questions.users(after, size + 1)
        page = rows[:size]
        return pb.ListUsersResponse(
            users=[messages.user_message(row) for row in page],
            next_page_token=messages.page_token(page[-1].user_name) if len(rows) > size else "",
        )

    async def ChangeUser(self, request: pb.ChangeUserRequest, context: _Call) -> pb.ChangeUserResponse:
        """Other attributes or roles."""
        profile, roles = messages.changes(request)
        user = await self._find(request.user)
        position = await self._accounts.change(
            user.sub, caller.context(), profile=profile, roles=roles, by=_administrator()
        )
        changed = await self._find(pb.UserKey(sub=user.sub))
        return pb.ChangeUserResponse(user=messages.user_message(changed), position=position)

    async def DisableUser(self, request: pb.DisableUserRequest, context: _Call) -> pb.DisableUserResponse:
        """Nobody signs in as this user, and no token that names them is accepted."""
        user = await self._find(request.user)
        position = await self._accounts.disable(user.sub, request.reason, caller.context(), by=_administrator())
        return pb.DisableUserResponse(position=position)

    async def EnableUser(self, request: pb.EnableUserRequest, context: _Call) -> pb.EnableUserResponse:
        """Take that back."""
        user = await self._find(request.user)
        return pb.EnableUserResponse(position=await self._accounts.enable(user.sub, caller.context()))

    async def EraseUser(self, request: pb.EraseUserRequest, context: _Call) -> pb.EraseUserResponse:
        """Nothing is left that tells who they were."""
        if not messages.is_id(request.sub):
            raise Refusal(Kind.NOT_FOUND, "unknown_user", "there is no such user")
        position = await self._erasure.erase(request.sub, caller.context(), by=_administrator())
        return pb.EraseUserResponse(position=position)

    async def ResetPassword(self, request: pb.ResetPasswordRequest, context: _Call) -> pb.ResetPasswordResponse:
        """Set it for somebody; whatever their account gave before ends."""
        user = await self._find(request.user)
        position = await self._accounts.reset_password(user, request.password, caller.context())
        return pb.ResetPasswordResponse(position=position)

    async def ResetSecondFactor(
        self, request: pb.ResetSecondFactorRequest, context: _Call
    ) -> pb.ResetSecondFactorResponse:
        """Take it away for somebody; whatever their account gave before ends."""
        user = await self._find(request.user)
        return pb.ResetSecondFactorResponse(position=await self._own_second_factor.reset(user.sub, caller.context()))

    async def ListSessions(self, request: pb.ListSessionsRequest, context: _Call) -> pb.ListSessionsResponse:
        """A user's sessions that hold now."""
        user = await self._find(request.user)
        rows = await self._sessions.of(user.sub)
        return pb.ListSessionsResponse(sessions=[messages.session_message(row) for row in rows])

    async def EndSession(self, request: pb.EndSessionRequest, context: _Call) -> pb.EndSessionResponse:
        """End one session and what it gave."""
        if not messages.is_id(request.sid):
            raise Refusal(Kind.NOT_FOUND, "unknown_session", "there is no such session")
        position = await self._sessions.end(request.sid, SessionEndReason.ENDED_BY_ADMINISTRATOR, caller.context())
        return pb.EndSessionResponse(position=position)

    async def WithdrawConsent(self, request: pb.WithdrawConsentRequest, context: _Call) -> pb.WithdrawConsentResponse:
        """Stop an application for a user."""
        user = await self._find(request.user)
        position = await self._consents.withdraw(user.sub, request.client_id, caller.context())
        return pb.WithdrawConsentResponse(position=position)

    async def _find(self, key: pb.UserKey) -> UserRow:
        if bool(key.sub) == bool(key.user_name):
            raise messages.invalid("invalid_user", "a user is named by sub or by user_name, by one of them")
        if key.sub:
            found = await self._questions.user(key.sub)
        else:
            found = await self._questions.user_named(normalised(key.user_name[:1024]))
        if found is None and key.sub and await self._questions.erased(key.sub) is not None:
            raise UserIsErased
        if found is None:
            raise Refusal(Kind.NOT_FOUND, "unknown_user", "there is no such user")
        return found

    async def _reached(self, minimum_position: int) -> None:
        """Refuse to answer from before a position.

        The tables are written with the events, so they are complete up to the head, and there is nothing to wait
        for: a position past the head was never handed out by this log.
        """
        if minimum_position > 0 and minimum_position > (await self._log.head()).position:
            raise Unavailable("position_not_reached", "the log has not come to that position")


def _administrator() -> str:
    person = caller.current.get().person
    if person is None:
        raise LookupError("the rules of these methods ask for a person")
    return person.sub
