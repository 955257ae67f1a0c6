"""Calls to the other services, each with the access token of the person who asks: what they refuse is refused."""

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Final
from uuid import UUID

import grpc
from google.protobuf.message import Message

from protos.stagedoor.identity.v1.identity_pb2_grpc import IdentityStub
from protos.stagedoor.ledger.v1.ledger_pb2_grpc import LedgerStub
from protos.stagedoor.registry.v1.registry_pb2_grpc import RegistryStub
from protos.stagedoor.tokens.v1.tokens_pb2_grpc import TokensStub
from services.console.sessions import SignedIn
from shared.errors import Kind, Refusal, Unavailable
from shared.rpc.client import translate
from stagedoor.validation.v1.validation_pb2 import ValidateRequest, ValidateResponse
from stagedoor.validation.v1.validation_pb2_grpc import ValidationStub

PAGE_SIZE: Final = 50
"""Rows of one page of a list."""


class Calls:
    """The services."""

    def __init__(self, channels: Mapping[str, grpc.aio.Channel]) -> None:
        self.registry = RegistryStub(channels["registry"])
        self.identity = IdentityStub(channels["identity"])
        self.tokens = TokensStub(channels["token_issuer"])
        self.validation = ValidationStub(channels["token_issuer"])
        self.ledger = LedgerStub(channels["ledger"])

    async def ask(
        self, who: SignedIn, method: Callable[..., Any], request: Message, *, once: UUID | None = None
    ) -> Any:
        """The answer of a method; refuses what it refuses. `once`: however often it is asked, it is done once."""
        metadata = [("authorization", f"Bearer {who.access_token}")]
        if once is not None:
            metadata.append(("idempotency-key", str(once)))
        try:
            return await method(request, metadata=tuple(metadata))
        except grpc.aio.AioRpcError as error:
            raise translate(error) from None

    async def stream(self, who: SignedIn, method: Callable[..., Any], request: Message) -> AsyncGenerator[Any]:
        """The answers of a method, as they come. Whoever does not want all of them closes this."""
        call = method(request, metadata=(("authorization", f"Bearer {who.access_token}"),))
        try:
            async for answer in call:
                yield answer
        except grpc.aio.AioRpcError as error:
            raise translate(error) from None
        finally:
            call.cancel()

    async def verdict(self, request: ValidateRequest) -> ValidateResponse:
        """What the issuer says of a token; it is asked by the console's certificate, no person is behind it."""
        try:
            return await self.validation.Validate(request)
        except grpc.aio.AioRpcError as error:
            raise translate(error) from None


def lacks_the_role(refusal: Refusal) -> bool:
    """Whether the person is known and may not do this at all."""
    return refusal.kind is Kind.FORBIDDEN and refusal.code in {"role_missing", "insufficient_scope"}


def is_signed_out(refusal: Refusal) -> bool:
    """Whether the token is not accepted any more: signed out, disabled, or less than before."""
    return refusal.kind is Kind.UNAUTHENTICATED and not isinstance(refusal, Unavailable)
