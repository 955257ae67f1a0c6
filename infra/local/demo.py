"""Sets the demo up as an operator would: claims the first administrator, signs in, registers over gRPC.

What is there already is left as it is, so it goes on where an interrupted run ended. Whoever loses `demo.json` gets
another one, with new secrets: the old ones are nowhere to be read.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from infra.local import demo_data, services
from infra.local.certificates import Authority
from infra.local.demo_data import ADMINISTRATOR, SCOPES, DemoApplication, DemoUser
from infra.local.failure import SystemFailure
from infra.local.home import Home
from infra.local.nats import password_file
from infra.local.ports import LOOPBACK, SERVICES, Ports
from infra.local.sign_in import Visitor
from protos.stagedoor.identity.v1 import identity_pb2, identity_pb2_grpc
from protos.stagedoor.registry.v1 import registration_pb2, registration_pb2_grpc, registry_pb2, registry_pb2_grpc
from services.cli import oauth, profile
from services.cli.profile import Profile
from services.registry.events import GrantType
from shared.errors import Kind, Refusal
from shared.rpc.client import channel, translate

VALIDATION_CLIENT = "stagehands"
"""An outside resource server that may have tokens for the API validated."""
PURPOSE = "The demo"
"""Of the demo's initial access token."""
REFRESH_GRACE_SECONDS = 10
_PATIENCE_SECONDS = 45.0
_AGAIN_SECONDS = 0.5


def backstagehub_secret(home: Home) -> Path:
    """The file with BackstageHub's client secret."""
    return home.path / "secrets" / "backstagehub.client"


async def seed(home: Home, ports: Ports) -> None:
    """Register the demo if `demo.json` is missing, and leave a profile for the `stagedoor` command.

    Begins again, for a while, where a service could not answer in time: what is registered by then is found.
    """
    deadline = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
    while True:
        try:
            await _seed(home, ports)
        except Refusal as refusal:
            if refusal.kind is Kind.UNAVAILABLE and asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            raise SystemFailure(f"the demo cannot be set up: {refusal.message} ({refusal.code})") from refusal
        return


async def _seed(home: Home, ports: Ports) -> None:
    try:
        if home.demo.exists():
            await _stay_signed_in(home, ports)
        else:
            await _register(home, ports)
    except grpc.aio.AioRpcError as error:
        raise translate(error) from error


async def _register(home: Home, ports: Ports) -> None:
    nobody = _nobody(home, ports)
    async with _identity(nobody) as identity:
        await _bootstrap(home, identity)
    brian = await _sign_in(nobody)
    profile.write(home.path / "profile.toml", brian)

    metadata = (("authorization", f"Bearer {brian.access_token}"),)
    async with _registry(brian) as registry, _identity(brian) as identity, _registration(brian) as registration:
        operator = _Operator(registry, identity, registration, metadata)
        users = await asyncio.gather(*(operator.user(user) for user in (ADMINISTRATOR, *demo_data.USERS)))
        await operator.resource(f"{ports.origin}/api")
        found = await asyncio.gather(*(operator.application(one) for one in demo_data.applications(ports)))
        token = await operator.initial_access_token()
    hub = next(one for one in found if one["client_id"] == demo_data.BACKSTAGEHUB)
    home.write_private(backstagehub_secret(home), f"{hub['client_secret']}\n")
    home.write_private(home.demo, json.dumps(_document(home, ports, users, found, token), indent=2) + "\n")


def _nobody(home: Home, ports: Ports) -> Profile:
    """The command's profile before anybody has signed in, and its certificate."""
    Authority(home.certificates).operator()
    return profile.local(home.path, ports.base)


async def _bootstrap(home: Home, identity: Any) -> None:
    """Make Brian the first administrator, unless an earlier run did."""
    request = identity_pb2.BootstrapRequest(
        deploy_secret=services.deploy_secret(home).read_text().strip(),
        user_name=ADMINISTRATOR.name,
        password=ADMINISTRATOR.password,
        profile=_profile(ADMINISTRATOR),
    )
    try:
        await identity.Bootstrap(request)
    except grpc.aio.AioRpcError as error:
        if translate(error).kind not in {Kind.ALREADY_EXISTS, Kind.PRECONDITION}:
            raise


async def _stay_signed_in(home: Home, ports: Ports) -> None:
    """Keep whoever is signed in at the command; where that has ended, it is Brian again."""
    path = home.path / "profile.toml"
    try:
        async with profile.locked(path):
            profile.write(path, await oauth.refresh(profile.read(path)))
    except Refusal:
        brian = await _sign_in(_nobody(home, ports))
        async with profile.locked(path):
            profile.write(path, brian)


async def _sign_in(nobody: Profile) -> Profile:
    """The profile with Brian signed in: the command's own way, with a browser that has no window."""
    visits: list[asyncio.Task[None]] = []
    trust = ssl.create_default_context(cafile=nobody.ca_file)

    async def visit(address: str) -> None:
        async with Visitor(ADMINISTRATOR.name, ADMINISTRATOR.password, trust) as brian:
            await brian.browser.get(await brian.go(address))

    signing_in = asyncio.create_task(
        oauth.sign_in(nobody, lambda address: visits.append(asyncio.create_task(visit(address))))
    )
    try:
        while not signing_in.done():
            await asyncio.wait([signing_in, *visits], return_when=asyncio.FIRST_COMPLETED, timeout=0.1)
            for done in [one for one in visits if one.done()]:
                visits.remove(done)
                done.result()
        return signing_in.result()
    finally:
        for task in (signing_in, *visits):
            task.cancel()
        await asyncio.gather(signing_in, *visits, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class _Operator:
    """Brian at work."""

    registry: Any
    identity: Any
    registration: Any
    metadata: tuple[tuple[str, str], ...]

    async def user(self, user: DemoUser) -> dict[str, object]:
        """Add somebody who is not there yet; answers what `demo.json` says of them."""
        key = identity_pb2.UserKey(user_name=user.name)
        try:
            there = await self.identity.GetUser(identity_pb2.GetUserRequest(user=key), metadata=self.metadata)
            sub = there.user.sub
        except grpc.aio.AioRpcError as error:
            if translate(error).kind is not Kind.NOT_FOUND:
                raise
            request = identity_pb2.RegisterUserRequest(
                user_name=user.name,
                kind=user.kind,
                profile=_profile(user),
                roles=user.roles,
                password=user.password,
            )
            sub = (await self.identity.RegisterUser(request, metadata=self.metadata)).sub
        return {"name": user.name, "password": user.password, "kind": user.kind, "sub": sub}

    async def resource(self, identifier: str) -> None:
        """Register the API, unless it is."""
        settings = registry_pb2.ResourceSettings(
            display_name="Tours and merchandise",
            scopes=[registry_pb2.Scope(name=name, description=description) for name, description in SCOPES],
            callers=["service/resource", f"resource/{VALIDATION_CLIENT}", "service/console", "operator"],
        )
        request = registry_pb2.RegisterResourceRequest(identifier=identifier, settings=settings)
        try:
            await self.registry.RegisterResource(request, metadata=self.metadata)
        except grpc.aio.AioRpcError as error:
            if translate(error).kind is not Kind.ALREADY_EXISTS:
                raise

    async def application(self, wanted: DemoApplication) -> dict[str, object]:
        """Register an application, or give one that is there another secret; answers what `demo.json` says of it."""
        settings = registry_pb2.ApplicationSettings(
            display_name=wanted.display_name,
            type=wanted.type,
            redirect_uris=wanted.redirect_uris,
            post_logout_redirect_uris=wanted.post_logout_redirect_uris,
            backchannel_logout_uri=wanted.backchannel_logout_uri,
            scopes=wanted.scopes,
            grants=wanted.grants,
            auth_method=wanted.auth_method,
            reference_tokens=wanted.reference_tokens,
        )
        request = registry_pb2.RegisterApplicationRequest(client_id=wanted.client_id, settings=settings)
        try:
            secret = (await self.registry.RegisterApplication(request, metadata=self.metadata)).client_secret
        except grpc.aio.AioRpcError as error:
            if translate(error).kind is not Kind.ALREADY_EXISTS:
                raise
            secret = await self._another_secret(wanted)
        return {
            "client_id": wanted.client_id,
            **({"client_secret": secret} if wanted.confidential else {}),
            "auth_method": wanted.auth_method,
            "grants": list(wanted.grants),
            "scopes": list(wanted.scopes),
            "redirect_uris": list(wanted.redirect_uris),
            "post_logout_redirect_uris": list(wanted.post_logout_redirect_uris),
        }

    async def initial_access_token(self) -> str:
        """One for whoever wants to register an application by program, in the place of those that nobody can read."""
        asked = registration_pb2.ListInitialAccessTokensRequest(page_size=1000)
        there = await self.registration.ListInitialAccessTokens(asked, metadata=self.metadata)
        for token in there.tokens:
            if token.purpose == PURPOSE:
                request = registration_pb2.RevokeInitialAccessTokenRequest(token_id=token.token_id)
                await self.registration.RevokeInitialAccessToken(request, metadata=self.metadata)
        ends = Timestamp()
        ends.FromDatetime(datetime.now(UTC) + timedelta(days=365))
        wanted = registration_pb2.IssueInitialAccessTokenRequest(
            purpose=PURPOSE,
            expires_at=ends,
            unlimited=True,
            scopes=[name for name, _ in SCOPES],
            grants=[grant.value for grant in GrantType],
        )
        issued = await self.registration.IssueInitialAccessToken(wanted, metadata=self.metadata)
        return str(issued.initial_access_token)

    async def _another_secret(self, wanted: DemoApplication) -> str:
        """A new secret in the place of those that nobody can read any more."""
        if not wanted.confidential:
            return ""
        client_id = wanted.client_id
        there = await self.registry.GetApplication(
            registry_pb2.GetApplicationRequest(client_id=client_id), metadata=self.metadata
        )
        for secret in there.application.secrets:
            request = registry_pb2.RevokeSecretRequest(client_id=client_id, secret_id=secret.secret_id)
            await self.registry.RevokeSecret(request, metadata=self.metadata)
        added = await self.registry.AddSecret(
            registry_pb2.AddSecretRequest(client_id=client_id), metadata=self.metadata
        )
        return str(added.client_secret)


def _profile(user: DemoUser) -> identity_pb2.Profile:
    return identity_pb2.Profile(given_name=user.given_name, display_name=user.given_name)


def _document(
    home: Home, ports: Ports, users: list[Any], applications: list[Any], initial_access_token: str
) -> dict[str, object]:
    """What stands in `demo.json`."""
    authority = Authority(home.certificates)
    client = authority.resource(VALIDATION_CLIENT)
    nats = password_file(home, "resource_server").read_text().strip()
    return {
        "issuer": ports.issuer,
        "origin": ports.origin,
        **({"mtls_origin": ports.mtls_origin} if ports.tls else {}),
        "ca": str(authority.certificate),
        "nats": f"nats://resource_server:{nats}@{LOOPBACK}:{ports.nats}",
        "grpc": {service: ports.grpc_address(service) for service in SERVICES},
        "validation_client": {"certificate": str(client.certificate), "key": str(client.key)},
        "initial_access_token": initial_access_token,
        "refresh_grace_seconds": REFRESH_GRACE_SECONDS,
        "resources": [{"identifier": f"{ports.origin}/api", "scopes": [name for name, _ in SCOPES]}],
        "applications": applications,
        "users": users,
    }


@asynccontextmanager
async def _registry(whose: Profile) -> AsyncIterator[registry_pb2_grpc.RegistryStub]:
    async with channel(whose.grpc["registry"], whose.tls(), "registry") as open_channel:
        yield registry_pb2_grpc.RegistryStub(open_channel)


@asynccontextmanager
async def _registration(whose: Profile) -> AsyncIterator[registration_pb2_grpc.RegistrationStub]:
    async with channel(whose.grpc["registry"], whose.tls(), "registry") as open_channel:
        yield registration_pb2_grpc.RegistrationStub(open_channel)


@asynccontextmanager
async def _identity(whose: Profile) -> AsyncIterator[identity_pb2_grpc.IdentityStub]:
    async with channel(whose.grpc["identity"], whose.tls(), "identity") as open_channel:
        yield identity_pb2_grpc.IdentityStub(open_channel)
