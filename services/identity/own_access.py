"""What a person sees and stops of their own access, asked of the token issuer in the session that they are in.

This service never holds such a token: one that is made passes through, on its way to the page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from protos.stagedoor.tokens.v1 import tokens_pb2 as pb
from protos.stagedoor.tokens.v1.tokens_pb2_grpc import OwnAccessStub
from services.identity.issuer import translated
from services.identity.read_model import SessionRow


@dataclass(frozen=True, slots=True)
class NewToken:
    """A personal access token that somebody fills in the form for."""

    client_id: str
    scopes: tuple[str, ...]
    label: str
    expires_at: datetime
    once: UUID
    """Names the form, so that one which is sent twice makes one token."""


class OwnAccess:
    """The calls. All raise `Unavailable` if the issuer cannot be reached."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = OwnAccessStub(channel)

    async def overview(
        self, session: SessionRow, consents: Mapping[str, Sequence[str]], position: int
    ) -> pb.OverviewResponse:
        """The applications that may act for the person, their tokens, and what others they could make.

        `position`: the issuer answers from after it.
        """
        request = pb.OverviewRequest(
            session=_session(session, position),
            consents=[pb.Allowed(client_id=client_id, scopes=scopes) for client_id, scopes in consents.items()],
        )
        return await translated(self._stub.Overview(request))

    async def make(self, session: SessionRow, wanted: NewToken, position: int) -> pb.IssueReferenceResponse:
        """Make a token; the answer is the only place where it ever stands."""
        expires_at = Timestamp()
        expires_at.FromDatetime(wanted.expires_at)
        reference = pb.IssueReferenceRequest(
            kind="pat",
            client_id=wanted.client_id,
            scopes=wanted.scopes,
            expires_at=expires_at,
            label=wanted.label,
        )
        request = pb.IssueOwnReferenceRequest(session=_session(session, position), reference=reference)
        return await translated(
            self._stub.IssueOwnReference(request, metadata=(("idempotency-key", str(wanted.once)),))
        )

    async def revoke(self, session: SessionRow, jti: str, position: int) -> None:
        """Take one of the person's tokens back. Raises `Refusal` if there is none."""
        request = pb.RevokeOwnReferenceRequest(session=_session(session, position), jti=jti)
        await translated(self._stub.RevokeOwnReference(request))


def _session(session: SessionRow, position: int) -> pb.OpenSession:
    return pb.OpenSession(sid=session.sid, sub=session.user.sub, minimum_position=position)
