"""The gRPC of the issuer: who may call what, and that the messages say what the rules decided."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import grpc
import jwt
import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp

from protos.stagedoor.tokens.v1 import tokens_pb2 as pb
from protos.stagedoor.tokens.v1.tokens_pb2_grpc import (
    AuthorizationStub,
    TokensStub,
    add_AuthorizationServicer_to_server,
    add_TokensServicer_to_server,
)
from services.identity.events import Role, UserKind
from services.token_issuer import signing
from services.token_issuer.events import KeyUse, SigningKeyCreated
from services.token_issuer.rpc import AUTHORIZATION, RULES, TOKENS, AuthorizationService, TokensService
from shared.management import Management
from shared.rpc.client import channel, translate
from shared.rpc.server import RpcServer
from shared.rpc.tls import Tls
from stagedoor import Denied
from tests.integration.token_issuer.test_authorization import CLI, NATIVE
from tests.support.issuing import CALLBACK, CHALLENGE, HUB, Stage, query
from tests.support.parties import Parties

if TYPE_CHECKING:
    from protos.stagedoor.tokens.v1.tokens_pb2_grpc import AuthorizationAsyncStub, TokensAsyncStub


@dataclass
class Serving:
    address: str
    parties: Parties

    def authorization(self, tls: Tls) -> "AuthorizationAsyncStub":
        return AuthorizationStub(channel(self.address, tls, "token_issuer"))

    def tokens(self, tls: Tls | None = None) -> "TokensAsyncStub":
        return TokensStub(channel(self.address, tls or self.parties.operator(), "token_issuer"))


@pytest_asyncio.fixture
async def serving(stage: Stage, parties: Parties) -> AsyncIterator[Serving]:
    server = RpcServer("127.0.0.1:0", parties.service("token_issuer"), RULES, Management(stage.guard).authenticate)
    server.add(add_AuthorizationServicer_to_server, AuthorizationService(stage.issuer), AUTHORIZATION)
    server.add(add_TokensServicer_to_server, TokensService(stage.issuer), TOKENS)
    await server.start()
    yield Serving(f"127.0.0.1:{server.port}", parties)
    await server.stop(None)


def request(**changes: str) -> pb.BeginAuthorizationRequest:
    parameters = {
        "client_id": HUB,
        "redirect_uri": CALLBACK,
        "response_type": "code",
        "scope": "openid read",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        "max_age": "60",
        **changes,
    }
    return pb.BeginAuthorizationRequest(
        parameters=[pb.Parameter(name=name, value=value) for name, value in parameters.items()]
    )


async def refused(call: grpc.aio.UnaryUnaryCall[Any, Any]) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return translate(error.value).code


async def test_a_sign_in_by_the_identity_service(stage: Stage, serving: Serving) -> None:
    hub = await stage.register(resources=True)
    stub = serving.authorization(serving.parties.service("identity"))
    answer = await stub.BeginAuthorization(request())
    assert answer.WhichOneof("outcome") == "proceed"
    proceed = answer.proceed
    assert (proceed.client_id, proceed.display_name, proceed.max_age) == (HUB, "BackstageHub", 60)
    assert [(scope.name, scope.description) for scope in proceed.scopes][1] == ("read", "read your tours")
    assert proceed.redirect_origin == "http://localhost:8480"
    person, position = await stage.sign_in(await stage.user())
    auth_time = Timestamp()
    auth_time.FromDatetime(person.auth_time)
    issue = pb.IssueCodeRequest(
        sealed_request=proceed.sealed_request,
        sid=person.sid,
        sub=person.sub,
        auth_time=auth_time,
        amr=["pwd"],
        consented_scopes=["openid", "read"],
        minimum_position=position,
    )
    issued = await stub.IssueCode(issue)
    assert issued.position > position
    assert (await stage.redeem(hub, query(issued.redirect)["code"])).status_code == 200
    no = await stub.RefuseAuthorization(
        pb.RefuseAuthorizationRequest(sealed_request=proceed.sealed_request, error="access_denied")
    )
    assert query(no.redirect)["error"] == "access_denied"
    issue.consented_scopes.append("update")
    assert await refused(stub.IssueCode(issue)) == "invalid_request"
    issue.ClearField("auth_time")
    assert await refused(stub.IssueCode(issue)) == "invalid_request"


async def test_the_other_outcomes(stage: Stage, serving: Serving) -> None:
    await stage.register(resources=True)
    stub = serving.authorization(serving.parties.service("identity"))
    unknown = await stub.BeginAuthorization(request(client_id="com.mallory/app"))
    assert unknown.refused.error == "invalid_client"
    wrong = await stub.BeginAuthorization(request(scope="erase"))
    assert query(wrong.redirect)["error"] == "invalid_scope"
    assert (await stub.BeginLogout(pb.BeginLogoutRequest())).logout == pb.Logout()
    hint = pb.Parameter(name="id_token_hint", value="a.b.c")
    assert (await stub.BeginLogout(pb.BeginLogoutRequest(parameters=[hint]))).refused.error == "invalid_request"
    plain = await stub.BeginAuthorization(request(max_age=""))
    assert not plain.proceed.HasField("max_age")


async def test_nobody_but_identity_signs_anybody_in(serving: Serving) -> None:
    parties = serving.parties
    for tls in (parties.operator(), parties.service("registry"), parties.service("resource"), parties.resource("x")):
        stub = serving.authorization(tls)
        assert await refused(stub.BeginAuthorization(request())) == "caller_not_allowed"
        assert await refused(stub.IssueCode(pb.IssueCodeRequest())) == "caller_not_allowed"


async def administrator(stage: Stage, *roles: Role) -> tuple[tuple[str, str], ...]:
    cli = await stage.register(NATIVE, CLI)
    cli.redirect_uri = "http://127.0.0.1:51004/callback"
    body = await stage.tokens(cli, await stage.user(UserKind.INTERNAL, *roles), scope="sec")
    return (("authorization", f"Bearer {body['access_token']}"),)


async def test_an_administrator_ends_and_revokes(stage: Stage, serving: Serving) -> None:
    hub = await stage.register(resources=True)
    sub = await stage.user()
    one, two, three = [await stage.tokens(hub, sub) for _ in range(3)]
    brian, stub = await administrator(stage, Role.ADMINISTRATOR), serving.tokens()
    claims = jwt.decode(one["access_token"], options={"verify_signature": False})
    ended = await stub.EndGrant(pb.EndGrantRequest(gid=claims["gid"]), metadata=brian)
    assert ended.position > claims["pos"]
    assert isinstance(await stage.validate(one["access_token"]), Denied)
    again = await stub.EndGrant(pb.EndGrantRequest(gid=claims["gid"]), metadata=brian)
    assert again.position == 0
    await stub.RevokeToken(pb.RevokeTokenRequest(token=two["refresh_token"]), metadata=brian)
    assert isinstance(await stage.validate(two["access_token"]), Denied)
    jti = jwt.decode(three["access_token"], options={"verify_signature": False})["jti"]
    await stub.RevokeToken(pb.RevokeTokenRequest(jti=jti), metadata=brian)
    assert isinstance(await stage.validate(three["access_token"]), Denied)
    assert await refused(stub.EndGrant(pb.EndGrantRequest(gid="x" * 22), metadata=brian)) == "grant_not_found"
    assert await refused(stub.RevokeToken(pb.RevokeTokenRequest(), metadata=brian)) == "invalid_request"


async def test_grants_are_listed_page_by_page(stage: Stage, serving: Serving) -> None:
    hub = await stage.register(resources=True)
    sub = await stage.user()
    for _ in range(5):
        await stage.tokens(hub, sub)
    brian, stub = await administrator(stage, Role.ADMINISTRATOR), serving.tokens()
    seen, token = [], ""
    while True:
        page = await stub.ListGrants(pb.ListGrantsRequest(sub=sub, page_size=2, page_token=token), metadata=brian)
        seen += [grant.position for grant in page.grants]
        assert {grant.state for grant in page.grants} == {"open"}
        token = page.next_page_token
        if not token:
            break
    assert len(seen) == 5
    assert seen == sorted(seen, reverse=True)
    other = await stub.ListGrants(pb.ListGrantsRequest(client_id=CLI), metadata=brian)
    assert [grant.client_id for grant in other.grants] == [CLI]
    for wrong in (pb.ListGrantsRequest(page_token="!"), pb.ListGrantsRequest(page_size=-1)):
        assert await refused(stub.ListGrants(wrong, metadata=brian)) == "invalid_request"


async def test_management_needs_an_administrator_now(stage: Stage, serving: Serving) -> None:
    hub = await stage.register(resources=True)
    auditor = await administrator(stage, Role.AUDITOR)
    plain = (("authorization", f"Bearer {(await stage.tokens(hub, await stage.user()))['access_token']}"),)
    stub, call = serving.tokens(), pb.ListGrantsRequest()
    assert await refused(stub.ListGrants(call)) == "missing_token"
    assert await refused(stub.ListGrants(call, metadata=plain)) == "wrong_audience"
    assert await refused(stub.ListGrants(call, metadata=auditor)) == "role_missing"
    identity = serving.tokens(serving.parties.service("identity"))
    assert await refused(identity.ListGrants(call, metadata=auditor)) == "caller_not_allowed"
    stage.clock.ahead += timedelta(hours=2)
    assert await refused(stub.ListGrants(call, metadata=auditor)) == "expired"


async def test_keys_are_listed_rotated_and_withdrawn(
    stage: Stage, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.token_issuer.key_changes.generate", signing.generate)
    await stage.register(resources=True)
    brian, stub = await administrator(stage, Role.ADMINISTRATOR), serving.tokens()
    first = {key.use: key for key in (await stub.ListKeys(pb.ListKeysRequest(), metadata=brian)).keys}
    assert {(use, key.state) for use, key in first.items()} == {(use.value, "active") for use in KeyUse}
    rotated = await stub.RotateKey(pb.RotateKeyRequest(use="id_token"), metadata=brian)
    position = await stub.CompromiseKey(pb.CompromiseKeyRequest(kid=first["id_token"].kid), metadata=brian)
    assert position.position > rotated.position
    keys = (await stub.ListKeys(pb.ListKeysRequest(), metadata=brian)).keys
    found = {key.kid: (key.use, key.state) for key in keys}
    assert found.pop(first["id_token"].kid) == ("id_token", "compromised")
    assert found.pop(rotated.kid) == ("id_token", "pending")
    assert sorted(found.values()) == sorted((use.value, "active") for use in KeyUse)
    (pending,) = (key for key in keys if key.state == "pending")
    assert pending.use_from == rotated.use_from
    assert not pending.HasField("activated_at")

    for use in ("", "refresh_token"):
        assert await refused(stub.RotateKey(pb.RotateKeyRequest(use=use), metadata=brian)) == "invalid_request"
    unknown, none = pb.CompromiseKeyRequest(kid="x" * 43), pb.CompromiseKeyRequest()
    assert await refused(stub.CompromiseKey(unknown, metadata=brian)) == "key_not_found"
    assert await refused(stub.CompromiseKey(none, metadata=brian)) == "invalid_request"


async def test_a_lost_answer_changes_the_keys_once(
    stage: Stage, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.token_issuer.key_changes.generate", signing.generate)
    await stage.register(resources=True)
    brian, stub = await administrator(stage, Role.ADMINISTRATOR), serving.tokens()
    said = (*brian, ("idempotency-key", str(uuid4())))
    kid = stage.issuer.keys.signer(KeyUse.ID_TOKEN).kid
    answers = [await stub.CompromiseKey(pb.CompromiseKeyRequest(kid=kid), metadata=said) for _ in range(2)]
    assert answers[0] == answers[1]
    assert len(await stage.facts(SigningKeyCreated)) == len(KeyUse) + 1
