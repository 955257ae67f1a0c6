"""Calls to the services in the name of who is signed in.

Writes carry an idempotency key, so that one whose answer was lost is repeated and happens once. A token that is about
to end is refreshed before it is used, under the profile's lock.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from uuid import uuid4

import grpc
from google.protobuf.message import Message

from protos.stagedoor.identity.v1.identity_pb2_grpc import IdentityStub
from protos.stagedoor.ledger.v1.ledger_pb2_grpc import LedgerStub
from protos.stagedoor.readmodels.v1.readmodels_pb2_grpc import ReadModelsStub
from protos.stagedoor.registry.v1.installation_pb2_grpc import InstallationStub
from protos.stagedoor.registry.v1.registration_pb2_grpc import RegistrationStub
from protos.stagedoor.registry.v1.registry_pb2_grpc import RegistryStub
from protos.stagedoor.tokens.v1.tokens_pb2_grpc import LogoutsStub, TokensStub
from services.cli import oauth, profile
from services.cli.profile import Profile
from shared.errors import Kind, Refusal, Unavailable
from shared.rpc.client import channel, translate
from shared.telemetry import correlation, new_correlation
from stagedoor.validation.v1.validation_pb2_grpc import ValidationStub

A = TypeVar("A", bound=Message)

_EARLY: Final = 30
"""Seconds before its end at which a token is not used any more."""
_ATTEMPTS: Final = 3
_LONGEST_PAUSE: Final = 2.0


class Connection:
    """The services of one instance, while it is entered."""

    def __init__(self, path: Path, known: Profile | None = None) -> None:
        """`known`: use this and leave the file alone; for what happens before there is a profile."""
        self._path = path
        self._profile = known or profile.read(path)
        self._kept = known is None
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def __aenter__(self) -> Self:
        correlation.set(new_correlation())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for open_one in self._channels.values():
            await open_one.close(None)

    @property
    def profile(self) -> Profile:
        """As it is now."""
        return self._profile

    @property
    def registry(self) -> RegistryStub:
        """Applications and resources."""
        return RegistryStub(self._channel("registry"))

    @property
    def registration(self) -> RegistrationStub:
        """Who may register applications by program."""
        return RegistrationStub(self._channel("registry"))

    @property
    def installation(self) -> InstallationStub:
        """Applications as their vendors describe them."""
        return InstallationStub(self._channel("registry"))

    @property
    def identity(self) -> IdentityStub:
        """Users and sessions."""
        return IdentityStub(self._channel("identity"))

    @property
    def tokens(self) -> TokensStub:
        """Grants and revocation."""
        return TokensStub(self._channel("token_issuer"))

    @property
    def logouts(self) -> LogoutsStub:
        """Logouts that are not delivered yet."""
        return LogoutsStub(self._channel("token_issuer"))

    @property
    def validation(self) -> ValidationStub:
        """Verdicts."""
        return ValidationStub(self._channel("token_issuer"))

    @property
    def ledger(self) -> LedgerStub:
        """The log."""
        return LedgerStub(self._channel("ledger"))

    def read_models(self, service: str) -> ReadModelsStub:
        """The read models of a service."""
        return ReadModelsStub(self._channel(service))

    async def ask(self, method: Callable[..., Any], request: Message, *, as_person: bool = True) -> Any:
        """Call a method; refuses what it refuses. Repeats a call that nobody answered, under one idempotency key."""
        key = str(uuid4())
        renewed = False
        for attempt in range(1, _ATTEMPTS + 1):
            metadata = [("idempotency-key", key)]
            token = await self._token() if as_person else ""
            if token:
                metadata.append(("authorization", f"Bearer {token}"))
            try:
                return await method(request, metadata=tuple(metadata))
            except grpc.aio.AioRpcError as error:
                refusal = translate(error)
            if isinstance(refusal, Unavailable) and attempt < _ATTEMPTS:
                await asyncio.sleep(min(refusal.retry_after, _LONGEST_PAUSE))
            elif refusal.kind is Kind.UNAUTHENTICATED and token and not renewed:
                renewed = True
                await self._renew(token)
            else:
                raise refusal
        raise Unavailable("not_answered", "the service did not answer")

    async def pages(self, method: Callable[..., Any], request: Any) -> AsyncIterator[Any]:
        """The pages of a list, one after the other to the last one."""
        while True:
            page = await self.ask(method, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def stream(self, method: Callable[..., Any], request: Message) -> AsyncIterator[Any]:
        """The answers of a method, as they come. One that has begun is not begun again."""
        begun = renewed = False
        while True:
            token = await self._token()
            try:
                async for answer in method(request, metadata=(("authorization", f"Bearer {token}"),)):
                    begun = True
                    yield answer
            except grpc.aio.AioRpcError as error:
                refusal = translate(error)
            else:
                return
            if begun or renewed or refusal.kind is not Kind.UNAUTHENTICATED:
                raise refusal
            renewed = True
            await self._renew(token)

    async def _token(self) -> str:
        if not self._profile.signed_in:
            raise Refusal(Kind.UNAUTHENTICATED, "not_signed_in", "nobody is signed in; sign in: stagedoor login")
        if self._profile.expires_at - _EARLY <= time.time():
            await self._renew(self._profile.access_token)
        return self._profile.access_token

    async def _renew(self, used: str) -> None:
        """Have other tokens than `used`: those that another command got meanwhile, or fresh ones."""
        if not self._kept:
            self._profile = await oauth.refresh(self._profile)
            return
        async with profile.locked(self._path):
            self._profile = profile.read(self._path)
            if self._profile.access_token == used:
                self._profile = await oauth.refresh(self._profile)
                profile.write(self._path, self._profile)

    def _channel(self, service: str) -> grpc.aio.Channel:
        if service not in self._channels:
            address = self._profile.grpc.get(service)
            if address is None:
                raise Refusal(Kind.PRECONDITION, "bad_profile", f"the profile has no address for {service}")
            self._channels[service] = channel(address, self._profile.tls(), service)
        return self._channels[service]
