"""Reference tokens of a world: made, taken back and asked about as their clients do it."""

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from google.protobuf.timestamp_pb2 import Timestamp

from protos.stagedoor.tokens.v1 import tokens_pb2 as pb
from services.identity.own_access import NewToken, OwnAccess
from services.identity.read_model import SessionRow
from services.token_issuer.references.uses import Uses
from stagedoor.feed import Answer
from stagedoor.presented import Possession

if TYPE_CHECKING:
    from tests.properties.token_life.world import World


class ReferenceDesk:
    """People come by the identity server's page, administrators by themselves."""

    def __init__(self, world: "World", channel: Any, uses: Uses) -> None:
        self._world = world
        self._own = OwnAccess(channel)
        self.uses = uses
        """What the issuer's replicas have seen."""

    async def make_own(self, row: SessionRow, client_id: str, scopes: Sequence[str], until: datetime) -> Any:
        wanted = NewToken(client_id, tuple(scopes), "Mary's laptop", until, uuid.uuid4())
        return await self._own.make(row, wanted, row.position)

    async def revoke_own(self, row: SessionRow, jti: str) -> None:
        await self._own.revoke(row, jti, row.position)

    async def make(self, client_id: str, scopes: Sequence[str], until: datetime) -> Any:
        """One that acts as the application, or its service account."""
        expires_at = Timestamp()
        expires_at.FromDatetime(until)
        request = pb.IssueReferenceRequest(
            kind="sat", client_id=client_id, scopes=scopes, expires_at=expires_at, label="the lighting desk"
        )
        return await self._world.at_issuer("IssueReference", request)

    async def revoke(self, jti: str) -> Any:
        return await self._world.at_issuer("RevokeReference", pb.RevokeReferenceRequest(jti=jti))

    async def report_leaked(self, token: str) -> Any:
        return await self._world.at_issuer("ReportLeaked", pb.ReportLeakedRequest(token=token))

    async def states(self) -> dict[str, str]:
        """Of all there are, by id."""
        listed = await self._world.at_issuer("ListReferences", pb.ListReferencesRequest(page_size=1000))
        return {one.jti: one.state for one in listed.references}

    async def write_uses(self) -> None:
        await self.uses.write()


class AsOfTheHead:
    """Whom a guard asks about what it does not know: `Validate`, by somebody who has heard of everything."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.refused: dict[str, datetime] = {}
        """When a token was last refused here."""

    async def validate(
        self,
        token: str,
        *,
        audience: str,
        scopes: Collection[str],
        min_position: int,
        with_claims: bool = False,
        proof: Possession | None = None,
    ) -> Answer:
        """Ask about one token, as of the head of the log at least."""
        del audience, scopes, proof
        position = max(min_position, await self._world.head())
        answer = await self._world.validate(token, position, with_claims=with_claims)
        if not answer.allowed:
            self.refused[token] = self._world.clock.now
        return Answer(answer.allowed, answer.reason, answer.position, answer.claims)
