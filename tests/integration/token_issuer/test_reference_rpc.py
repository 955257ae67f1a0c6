"""Reference tokens over gRPC: for administrators, and for people by way of the identity service."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import grpc
import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp

from protos.stagedoor.tokens.v1 import tokens_pb2 as pb
from protos.stagedoor.tokens.v1.tokens_pb2_grpc import (
    OwnAccessStub,
    TokensStub,
    add_OwnAccessServicer_to_server,
    add_TokensServicer_to_server,
)
from services.identity import events as identity
from services.identity.events import Role, UserKind
from services.registry import events as registry
from services.registry.events import ReferenceTokens
from services.token_issuer.events import ReferenceEndReason, ReferenceKind, ReferenceTokenIssued, ReferenceTokenRevoked
from services.token_issuer.references.rpc import OWN_ACCESS, RULES, OwnAccessService
from services.token_issuer.references.texts import text_of
from services.token_issuer.rpc import RULES as TOKEN_RULES
from services.token_issuer.rpc import TOKENS, TokensService
from shared.ids import new_id
from shared.management import Management
from shared.rpc.client import channel, translate
from shared.rpc.server import RpcServer
from shared.rpc.tls import Tls
from tests.integration.token_issuer.test_authorization import CLI, NATIVE
from tests.support.issuing import HUB, SPA, Stage
from tests.support.parties import Parties
from tests.support.references import judge, open_hub

if TYPE_CHECKING:
    from protos.stagedoor.tokens.v1.tokens_pb2_grpc import OwnAccessAsyncStub, TokensAsyncStub


@dataclass
class Serving:
    address: str
    parties: Parties

    channels: list[grpc.aio.Channel] = field(default_factory=list)
    """Kept, because a stub alone does not keep its channel open."""

    def own(self, tls: Tls | None = None) -> "OwnAccessAsyncStub":
        return OwnAccessStub(self._channel(tls or self.parties.service("identity")))

    def tokens(self, tls: Tls | None = None) -> "TokensAsyncStub":
        return TokensStub(self._channel(tls or self.parties.operator()))

    def _channel(self, tls: Tls) -> grpc.aio.Channel:
        self.channels.append(channel(self.address, tls, "token_issuer"))
        return self.channels[-1]


@pytest_asyncio.fixture
async def serving(stage: Stage, parties: Parties) -> AsyncIterator[Serving]:
    rules = {**RULES, **{method: rule for method, rule in TOKEN_RULES.items() if TOKENS in method}}
    server = RpcServer("127.0.0.1:0", parties.service("token_issuer"), rules, Management(stage.guard).authenticate)
    server.add(add_TokensServicer_to_server, TokensService(stage.issuer), TOKENS)
    server.add(add_OwnAccessServicer_to_server, OwnAccessService(stage.issuer), OWN_ACCESS)
    await server.start()
    yield Serving(f"127.0.0.1:{server.port}", parties)
    await server.stop(None)


async def refused(call: grpc.aio.UnaryUnaryCall[Any, Any]) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return translate(error.value).code


async def brian(stage: Stage) -> tuple[tuple[str, str], ...]:
    cli = await stage.register(NATIVE, CLI)
    cli.redirect_uri = "http://127.0.0.1:51004/callback"
    body = await stage.tokens(cli, await stage.user(UserKind.INTERNAL, Role.ADMINISTRATOR), scope="sec")
    return (("authorization", f"Bearer {body['access_token']}"),)


def later(days: float = 30) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(datetime.now(UTC) + timedelta(days=days))
    return message


def asked(**changes: Any) -> pb.IssueReferenceRequest:
    plain = {"kind": "pat", "client_id": HUB, "scopes": ["read"], "expires_at": later(), "label": "the van's laptop"}
    return pb.IssueReferenceRequest(
        **{name: value for name, value in {**plain, **changes}.items() if value is not None}
    )


async def session(stage: Stage, sub: str, **changes: Any) -> pb.OpenSession:
    person, position = await stage.sign_in(sub)
    return pb.OpenSession(**{"sid": person.sid, "sub": sub, "minimum_position": position, **changes})


class TestAdministrators:
    async def test_the_life_of_one(self, stage: Stage, serving: Serving) -> None:
        await open_hub(stage)
        metadata, stub = await brian(stage), serving.tokens()
        made = await stub.IssueReference(asked(), metadata=metadata)
        service = await stub.IssueReference(asked(kind="sat", scopes=[]), metadata=metadata)
        assert (await judge(stage, made.token)).claims["jti"] == made.jti
        assert (await judge(stage, service.token)).claims["sub"] == HUB
        assert made.expires_at.ToDatetime().microsecond == 0
        found = await stub.ListReferences(pb.ListReferencesRequest(client_id=HUB), metadata=metadata)
        assert [(one.jti, one.kind, one.state, one.label) for one in found.references] == [
            (service.jti, "sat", "active", "the van's laptop"),
            (made.jti, "pat", "active", "the van's laptop"),
        ]
        assert not found.references[0].HasField("last_used_at")
        await stub.RevokeReference(pb.RevokeReferenceRequest(jti=made.jti), metadata=metadata)
        assert (await judge(stage, made.token)).reason == "denied_token"
        await stub.RevokeToken(pb.RevokeTokenRequest(token=service.token), metadata=metadata)
        assert (await judge(stage, service.token)).reason == "denied_token"
        third = await stub.IssueReference(asked(), metadata=metadata)
        await stub.RevokeToken(pb.RevokeTokenRequest(jti=third.jti), metadata=metadata)
        assert (await judge(stage, third.token)).reason == "denied_token"
        reasons = [fact.reason for fact in await stage.facts(ReferenceTokenRevoked)]  # type: ignore[attr-defined]
        assert reasons == [ReferenceEndReason.BY_ADMINISTRATOR] * 3

    async def test_page_by_page(self, stage: Stage, serving: Serving) -> None:
        await open_hub(stage)
        metadata, stub = await brian(stage), serving.tokens()
        made = [(await stub.IssueReference(asked(), metadata=metadata)).jti for _ in range(5)]
        seen, token = [], ""
        while True:
            request = pb.ListReferencesRequest(page_size=2, page_token=token)
            page = await stub.ListReferences(request, metadata=metadata)
            seen += [one.jti for one in page.references]
            token = page.next_page_token
            if not token:
                break
        assert seen == made[::-1]

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"kind": "xat"}, "invalid_request"),
            ({"kind": ""}, "invalid_request"),
            ({"client_id": ""}, "invalid_request"),
            ({"client_id": "a b"}, "invalid_request"),
            ({"client_id": "com.mallory/app"}, "application_not_found"),
            ({"expires_at": None}, "invalid_expiry"),
            ({"expires_at": later(-1)}, "invalid_expiry"),
            ({"expires_at": later(367)}, "invalid_expiry"),
            ({"expires_at": Timestamp(seconds=10**15)}, "invalid_expiry"),
            ({"label": ""}, "invalid_label"),
            ({"scopes": ["sec"]}, "invalid_scope"),
        ],
    )
    async def test_what_is_refused(self, stage: Stage, serving: Serving, changes: dict[str, Any], code: str) -> None:
        await open_hub(stage)
        metadata = await brian(stage)
        assert await refused(serving.tokens().IssueReference(asked(**changes), metadata=metadata)) == code
        assert await stage.facts(ReferenceTokenIssued) == []

    async def test_a_repeated_call_is_told_so(self, stage: Stage, serving: Serving) -> None:
        await open_hub(stage)
        metadata, stub = await brian(stage), serving.tokens()
        same = (*metadata, ("idempotency-key", str(uuid4())))
        await stub.IssueReference(asked(), metadata=same)
        assert await refused(stub.IssueReference(asked(), metadata=same)) == "reference_exists"

    async def test_nobody_else(self, stage: Stage, serving: Serving) -> None:
        hub = await open_hub(stage)
        plain = (("authorization", f"Bearer {(await stage.tokens(hub, await stage.user()))['access_token']}"),)
        stub = serving.tokens()
        calls: list[Any] = [
            (stub.IssueReference, asked()),
            (stub.ListReferences, pb.ListReferencesRequest()),
            (stub.RevokeReference, pb.RevokeReferenceRequest(jti="x")),
        ]
        for method, request in calls:
            assert await refused(method(request)) == "missing_token"
            assert await refused(method(request, metadata=plain)) == "wrong_audience"

    async def test_a_reference_token_manages_nothing(self, stage: Stage, serving: Serving) -> None:
        await open_hub(stage)
        stub = serving.tokens()
        made = await stub.IssueReference(asked(), metadata=await brian(stage))
        bearer = (("authorization", f"Bearer {made.token}"),)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.ListReferences(pb.ListReferencesRequest(), metadata=bearer)
        assert error.value.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


class TestLeaks:
    async def test_whoever_has_it_ends_it(self, stage: Stage, serving: Serving) -> None:
        await open_hub(stage)
        made = await serving.tokens().IssueReference(asked(), metadata=await brian(stage))
        finder = serving.tokens(serving.parties.resource("stagehands"))
        first = await finder.ReportLeaked(pb.ReportLeakedRequest(token=made.token))
        again = await finder.ReportLeaked(pb.ReportLeakedRequest(token=made.token))
        assert first.position == again.position > made.position
        assert (await judge(stage, made.token)).reason == "denied_token"
        (fact,) = await stage.facts(ReferenceTokenRevoked)
        assert fact.reason is ReferenceEndReason.REPORTED_LEAKED  # type: ignore[attr-defined]
        rows = [row for row in await stage.issuer.log.read_rows(0, limit=1000) if row.position == first.position]
        assert rows[0].actor == "resource:stagehands"

    async def test_what_nobody_made(self, stage: Stage, serving: Serving) -> None:
        await open_hub(stage)
        stub = serving.tokens()
        unknown = await stub.ReportLeaked(pb.ReportLeakedRequest(token=text_of(ReferenceKind.PERSONAL, 7)))
        assert unknown.position == 0
        for token in ("", "x", "stagedoor_pat_" + "0" * 49):
            assert await refused(stub.ReportLeaked(pb.ReportLeakedRequest(token=token))) == "malformed"


class TestPeople:
    async def test_one_makes_sees_and_revokes_ones_own(self, stage: Stage, serving: Serving) -> None:
        await open_hub(stage)
        freddie, stub = await stage.user(), serving.own()
        here = await session(stage, freddie)
        made = await stub.IssueOwnReference(pb.IssueOwnReferenceRequest(session=here, reference=asked()))
        assert (await judge(stage, made.token)).claims["sub"] == freddie
        found = await stub.Overview(pb.OverviewRequest(session=here))
        (own,) = found.references
        assert (own.reference.jti, own.display_name, own.reference.label) == (
            made.jti,
            "BackstageHub",
            "the van's laptop",
        )
        (offer,) = found.offers
        assert [(scope.name, scope.description) for scope in offer.scopes] == [
            ("read", "read your tours"),
            ("update", "update your tours"),
        ]
        await stub.RevokeOwnReference(pb.RevokeOwnReferenceRequest(session=here, jti=made.jti))
        assert (await judge(stage, made.token)).reason == "denied_token"
        assert not (await stub.Overview(pb.OverviewRequest(session=here))).references
        (fact,) = await stage.facts(ReferenceTokenRevoked)
        assert fact.reason is ReferenceEndReason.BY_OWNER  # type: ignore[attr-defined]
        actors = {row.actor for row in await stage.issuer.log.read_rows(0, limit=1000) if "ReferenceToken" in row.type}
        assert actors == {f"user:{freddie}"}

    async def test_other_peoples_are_not_there(self, stage: Stage, serving: Serving) -> None:
        await open_hub(stage)
        freddie, mary, stub = await stage.user(), await stage.user(), serving.own()
        hers, his = await session(stage, mary), await session(stage, freddie)
        made = await stub.IssueOwnReference(pb.IssueOwnReferenceRequest(session=hers, reference=asked()))
        assert not (await stub.Overview(pb.OverviewRequest(session=his))).references
        revoke = pb.RevokeOwnReferenceRequest(session=his, jti=made.jti)
        assert await refused(stub.RevokeOwnReference(revoke)) == "reference_not_found"
        assert (await judge(stage, made.token)).allowed

    async def test_the_session_has_to_be_open_and_theirs(self, stage: Stage, serving: Serving) -> None:
        await open_hub(stage)
        freddie, mary, stub = await stage.user(), await stage.user(), serving.own()
        good = await session(stage, freddie)
        made = await stub.IssueOwnReference(pb.IssueOwnReferenceRequest(session=good, reference=asked()))
        others = pb.OpenSession(sid=(await session(stage, mary)).sid, sub=freddie)
        made_up = pb.OpenSession(sid=new_id(), sub=freddie)
        over = await session(stage, freddie)
        await stage.write(
            stage.identity,
            f"session-{over.sid}",
            identity.SessionEnded(
                sub=freddie,
                sid=over.sid,
                reason=identity.SessionEndReason.SIGNED_OUT,
                tokens_end_at=stage.clock() + timedelta(days=1),
            ),
        )
        over.minimum_position = (await stage.issuer.log.head()).position
        for wrong in (others, made_up, over):
            assert await refused(stub.Overview(pb.OverviewRequest(session=wrong))) == "session_over"
            issue = pb.IssueOwnReferenceRequest(session=wrong, reference=asked())
            assert await refused(stub.IssueOwnReference(issue)) == "session_over"
            revoke = pb.RevokeOwnReferenceRequest(session=wrong, jti=made.jti)
            assert await refused(stub.RevokeOwnReference(revoke)) == "session_over"
        for malformed in (pb.OpenSession(), pb.OpenSession(sid="x", sub="y", minimum_position=-1)):
            assert await refused(stub.Overview(pb.OverviewRequest(session=malformed))) == "invalid_request"
        assert (await judge(stage, made.token)).allowed

    async def test_no_service_token(self, stage: Stage, serving: Serving) -> None:
        await open_hub(stage)
        here = await session(stage, await stage.user())
        request = pb.IssueOwnReferenceRequest(session=here, reference=asked(kind="sat"))
        assert await refused(serving.own().IssueOwnReference(request)) == "invalid_request"

    async def test_only_the_identity_service_asks(self, stage: Stage, serving: Serving) -> None:
        here = await session(stage, await stage.user())
        parties = serving.parties
        for tls in (parties.operator(), parties.service("registry"), parties.resource("stagehands")):
            stub = serving.own(tls)
            assert await refused(stub.Overview(pb.OverviewRequest(session=here))) == "caller_not_allowed"
            issue = pb.IssueOwnReferenceRequest(session=here, reference=asked())
            assert await refused(stub.IssueOwnReference(issue)) == "caller_not_allowed"

    async def test_the_switch_refuses_identity(self, stage: Stage, serving: Serving) -> None:
        await open_hub(stage)
        here = await session(stage, await stage.user())
        closed = replace(stage.issuer, policy=replace(stage.issuer.policy, issue_for_identity=False))
        server = RpcServer("127.0.0.1:0", serving.parties.service("token_issuer"), RULES)
        server.add(add_OwnAccessServicer_to_server, OwnAccessService(closed), OWN_ACCESS)
        await server.start()
        stub = Serving(f"127.0.0.1:{server.port}", serving.parties).own()
        calls: list[Any] = [
            stub.Overview(pb.OverviewRequest(session=here)),
            stub.IssueOwnReference(pb.IssueOwnReferenceRequest(session=here, reference=asked())),
            stub.RevokeOwnReference(pb.RevokeOwnReferenceRequest(session=here, jti="j")),
        ]
        for call in calls:
            assert await refused(call) == "identity_refused"
        await server.stop(None)

    async def test_what_acts_for_one(self, stage: Stage, serving: Serving) -> None:
        hub = await open_hub(stage)
        freddie, stub = await stage.user(), serving.own()
        here = await session(stage, freddie)
        consents = [pb.Allowed(client_id=HUB, scopes=["update"]), pb.Allowed(client_id=SPA, scopes=["read"])]

        async def seen() -> list[tuple[str, list[str], bool, bool]]:
            here.minimum_position = (await stage.issuer.log.head()).position
            found = await stub.Overview(pb.OverviewRequest(session=here, consents=consents))
            return [
                (one.display_name, [scope.name for scope in one.scopes], one.enabled, one.acting)
                for one in found.applications
            ]

        # What is not registered cannot be shown; consent alone does not act.
        assert await seen() == [("BackstageHub", ["update"], True, False)]
        await stage.tokens(hub, freddie)
        acting = ("BackstageHub", ["read", "update", "offline_access", "openid"], True, True)
        assert await seen() == [acting]
        await stage.of_application(registry.ApplicationDisabled(client_id=HUB, reason=""))
        assert await seen() == [(*acting[:2], False, True)]
        await stage.of_application(registry.ApplicationEnabled(client_id=HUB))
        consents.clear()
        await stage.write(stage.identity, f"consent-{new_id()}", identity.ConsentWithdrawn(sub=freddie, client_id=HUB))
        assert await seen() == []

    async def test_a_code_that_nobody_redeemed_acts_for_nobody_later(self, stage: Stage, serving: Serving) -> None:
        hub = await open_hub(stage)
        freddie, stub = await stage.user(), serving.own()
        here = await session(stage, freddie)
        await stage.code(hub, freddie)
        assert len((await stub.Overview(pb.OverviewRequest(session=here))).applications) == 1
        stage.clock.ahead += timedelta(minutes=5)
        assert not (await stub.Overview(pb.OverviewRequest(session=here))).applications

    async def test_offers_follow_the_policy(self, stage: Stage, serving: Serving) -> None:
        await open_hub(stage, reference_tokens=ReferenceTokens.ADMINISTRATORS_ONLY)
        mine = await session(stage, await stage.user(UserKind.INTERNAL, Role.ADMINISTRATOR))
        his = await session(stage, await stage.user())
        for here, offers in ((mine, 1), (his, 0)):
            assert len((await serving.own().Overview(pb.OverviewRequest(session=here))).offers) == offers
