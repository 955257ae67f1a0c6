"""`stagedoor.tokens.v1.OwnAccess`: what people do about their own access, by way of the identity service's page.

The identity service says in which session of whom it asks. The session has to be open here, too, so what it can do is
bounded by sessions that stand in the log. A token that is made acts as that person, and passes through the page once.
"""
# ruff: noqa: N802, ARG002  (gRPC names its methods so, and gives each a context)

from collections.abc import Mapping
from typing import Any

import grpc
from msgspec.structs import replace

from protos.stagedoor.tokens.v1 import tokens_pb2 as pb
from protos.stagedoor.tokens.v1.tokens_pb2_grpc import OwnAccessServicer
from services.token_issuer.events import ReferenceEndReason, ReferenceKind
from services.token_issuer.issuer import Issuer
from services.token_issuer.references import messages
from services.token_issuer.references.issuing import Maker, check_session, issue, revoke
from services.token_issuer.references.own import overview
from shared.log.append import Context
from shared.rpc import caller
from shared.rpc.caller import Rule

OWN_ACCESS = "stagedoor.tokens.v1.OwnAccess"
_IDENTITY = Rule(frozenset({"service/identity"}))
RULES: Mapping[str, Rule] = {
    f"/{OWN_ACCESS}/{method.name}": _IDENTITY for method in pb.DESCRIPTOR.services_by_name["OwnAccess"].methods
}

_MOST_CONSENTS = 1000

_Call = grpc.aio.ServicerContext[Any, Any]


class OwnAccessService(OwnAccessServicer):
    """The servicer."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer

    async def Overview(self, request: pb.OverviewRequest, context: _Call) -> pb.OverviewResponse:
        """What may act for the person."""
        if len(request.consents) > _MOST_CONSENTS:
            raise messages.invalid(f"there are {_MOST_CONSENTS} consents at most")
        person = _person(request.session)
        consented = {consent.client_id: tuple(consent.scopes) for consent in request.consents}
        found = await overview(self._issuer, person, consented, request.session.minimum_position)
        return pb.OverviewResponse(
            applications=[
                pb.ConnectedApplication(
                    client_id=one.client_id,
                    display_name=one.settings.display_name,
                    logo_uri=one.settings.logo_uri or "",
                    contact=one.settings.contact or "",
                    scopes=messages.abilities(one.abilities),
                    enabled=one.enabled,
                    acting=one.acting,
                )
                for one in found.connections
            ],
            references=[
                pb.OwnReference(
                    reference=messages.listed(one), display_name=found.names.get(one.reference.client_id, "")
                )
                for one in found.references
            ],
            offers=[
                pb.Offer(
                    client_id=one.client_id,
                    display_name=one.display_name,
                    scopes=messages.abilities(one.abilities),
                )
                for one in found.offers
            ],
        )

    async def IssueOwnReference(
        self, request: pb.IssueOwnReferenceRequest, context: _Call
    ) -> pb.IssueReferenceResponse:
        """A personal access token."""
        self._issuer.check_switch()
        person, wanted = _person(request.session), messages.wanted(request.reference)
        if wanted.kind is not ReferenceKind.PERSONAL:
            raise messages.invalid("a person makes tokens that act as them, and no others")
        await self._issuer.following.reach(request.session.minimum_position)
        return messages.made(await issue(self._issuer, wanted, person, _by(person)))

    async def RevokeOwnReference(
        self, request: pb.RevokeOwnReferenceRequest, context: _Call
    ) -> pb.RevokeReferenceResponse:
        """One of the person's own, taken back."""
        self._issuer.check_switch()
        person = _person(request.session)
        messages.check_ids(request.jti)
        await self._issuer.following.reach(request.session.minimum_position)
        known = await self._issuer.questions.known("", sub=person.sub, sid=person.sid)
        check_session(known, person, self._issuer.clock())
        position = await revoke(self._issuer, request.jti, ReferenceEndReason.BY_OWNER, person.sub, _by(person))
        return pb.RevokeReferenceResponse(position=position)


def _person(session: pb.OpenSession) -> Maker:
    messages.check_ids(session.sid, session.sub)
    if session.minimum_position < 0:
        raise messages.invalid("a position is not negative")
    return Maker(session.sub, session.sid)


def _by(person: Maker) -> Context:
    """It is the person who does this, though the identity service brings the message."""
    return replace(caller.context(), actor=f"user:{person.sub}")
