"""The issuer's part in a person's own page, for tests of the page: it keeps tokens in a list and checks nothing."""

from dataclasses import dataclass, field
from typing import Any

import grpc

from protos.stagedoor.tokens.v1 import tokens_pb2 as pb
from protos.stagedoor.tokens.v1.tokens_pb2_grpc import OwnAccessServicer
from shared.errors import Kind, Refusal
from shared.rpc.status import CODES, DETAILS, details

HUB = "com.backstagehub/app"
SCOPES = (
    pb.RequestedScope(name="read", description="see your tours"),
    pb.RequestedScope(name="update", description="change your tours"),
)
TOKEN = "stagedoor_pat_" + "T" * 49


@dataclass
class FakeOwnAccess(OwnAccessServicer):
    """Answers like the issuer, and remembers what it was asked."""

    offers: list[pb.Offer] = field(
        default_factory=lambda: [pb.Offer(client_id=HUB, display_name="BackstageHub", scopes=SCOPES)]
    )
    acting: list[pb.ConnectedApplication] = field(default_factory=list)
    references: list[pb.OwnReference] = field(default_factory=list)
    asked: list[pb.OverviewRequest] = field(default_factory=list)
    made: list[pb.IssueOwnReferenceRequest] = field(default_factory=list)
    revoked: list[pb.RevokeOwnReferenceRequest] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    refusal: Refusal | None = None
    """What it answers to everything, if set."""
    refusal_of_making: Refusal | None = None

    async def Overview(self, request: pb.OverviewRequest, context: Any) -> Any:  # noqa: N802
        await self._refuse(context)
        self.asked.append(request)
        known = {one.client_id for one in self.acting}
        consented = [
            pb.ConnectedApplication(
                client_id=one.client_id,
                display_name="BackstageHub" if one.client_id == HUB else one.client_id,
                scopes=[pb.RequestedScope(name=name, description=f"{name} your tours") for name in one.scopes],
                enabled=True,
            )
            for one in request.consents
            if one.client_id not in known
        ]
        return pb.OverviewResponse(
            applications=[*self.acting, *consented], references=self.references, offers=self.offers
        )

    async def IssueOwnReference(self, request: pb.IssueOwnReferenceRequest, context: Any) -> Any:  # noqa: N802
        await self._refuse(context)
        if self.refusal_of_making is not None:
            await abort(context, self.refusal_of_making)
        key = dict(context.invocation_metadata())["idempotency-key"]
        if key in self.keys:
            await abort(context, Refusal(Kind.ALREADY_EXISTS, "reference_exists", "made before"))
        self.keys.append(key)
        self.made.append(request)
        asked = request.reference
        return pb.IssueReferenceResponse(
            token=TOKEN, jti="j1", scopes=asked.scopes, expires_at=asked.expires_at, position=9
        )

    async def RevokeOwnReference(self, request: pb.RevokeOwnReferenceRequest, context: Any) -> Any:  # noqa: N802
        await self._refuse(context)
        self.revoked.append(request)
        return pb.RevokeReferenceResponse(position=10)

    async def _refuse(self, context: Any) -> None:
        if self.refusal is not None:
            await abort(context, self.refusal)


async def abort(context: grpc.aio.ServicerContext[Any, Any], refusal: Refusal) -> None:
    """Answer a call with a refusal, as a server of ours does."""
    code = CODES[refusal.kind]
    packed = details(code, refusal.code, refusal.message, "course", None)
    await context.abort(code, refusal.message, ((DETAILS, packed),))
