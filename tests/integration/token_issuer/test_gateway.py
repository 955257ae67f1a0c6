"""What a proxy asks before it lets a request through, in Envoy's messages over gRPC."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import quote

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from envoy.config.core.v3.base_pb2 import HeaderMap, HeaderValue
from envoy.service.auth.v3 import external_auth_pb2 as pb
from envoy.service.auth.v3.attribute_context_pb2 import AttributeContext
from envoy.service.auth.v3.external_auth_pb2_grpc import AuthorizationStub, add_AuthorizationServicer_to_server
from google.rpc import code_pb2

from services.identity.events import UserDisabled
from services.registry import events as registry
from services.token_issuer import envoy
from services.token_issuer.client_certificates import MutualTls
from services.token_issuer.events import ReferenceKind
from services.token_issuer.gateway import Gateway, metadata_url
from services.token_issuer.references.texts import new_reference
from shared.rpc.client import channel, translate
from shared.rpc.server import RpcServer
from tests.support.client_certificates import certificate, field_of, mutual_tls
from tests.support.dpop import ProofKey
from tests.support.exchanging import TOURBUS
from tests.support.issuing import API, HUB, ORIGIN, Stage
from tests.support.parties import Parties
from tests.support.protected import gateway as gateway  # noqa: PLC0414  (a fixture)
from tests.support.protected import token, token_of_a_certificate, token_of_an_exchange
from tests.support.references import OPEN, make
from tests.support.work import eventually

METADATA = f"{ORIGIN}/.well-known/oauth-protected-resource/api"
DPOP = 'DPoP algs="ES256 RS256 PS256 EdDSA"'


@pytest.fixture
def believing() -> MutualTls:
    return mutual_tls()


@dataclass
class Envoy:
    """Asks as Envoy does."""

    address: str
    parties: Parties

    async def check(
        self,
        headers: dict[str, str],
        *,
        path: str = "/tours",
        name: str = "tours",
        method: str = "GET",
        raw: list[tuple[str, str]] | None = None,
        certificate: str = "",
        **extensions: str,
    ) -> pb.CheckResponse:
        request = AttributeContext.HttpRequest(method=method, path=path, headers=headers, host="mallory.example")
        if raw is not None:
            request = AttributeContext.HttpRequest(
                method=method,
                path=path,
                header_map=HeaderMap(headers=[HeaderValue(key=key, raw_value=value.encode()) for key, value in raw]),
            )
        asked = pb.CheckRequest(
            attributes=AttributeContext(
                source=AttributeContext.Peer(certificate=certificate),
                request=AttributeContext.Request(http=request),
                context_extensions=extensions or {"audience": API, "scopes": "read"},
            )
        )
        connection = channel(self.address, self.parties.resource(name), "token_issuer")
        try:
            answer: pb.CheckResponse = await AuthorizationStub(connection).Check(asked, timeout=10)
        finally:
            await connection.close(None)
        assert answer.HasField("status")
        assert (answer.status.code == code_pb2.OK) == (answer.WhichOneof("http_response") == "ok_response")
        return answer


@pytest.fixture
async def proxy(gateway: Gateway, parties: Parties) -> AsyncIterator[Envoy]:
    server = RpcServer("127.0.0.1:0", parties.service("token_issuer"), envoy.RULES)
    server.add(add_AuthorizationServicer_to_server, envoy.EnvoyService(gateway), envoy.SERVICE, raw=envoy.RAW)
    await server.start()
    yield Envoy(f"127.0.0.1:{server.port}", parties)
    await server.stop(None)


def set_by(answer: pb.CheckResponse) -> dict[str, str]:
    options = answer.ok_response.headers or answer.denied_response.headers
    assert all(option.append_action == option.OVERWRITE_IF_EXISTS_OR_ADD for option in options)
    assert not any(option.HasField("append") for option in options)
    return {option.header.key: option.header.value for option in options}


def status(answer: pb.CheckResponse) -> int:
    return int(answer.denied_response.status.code)


async def test_envoy_lets_through_and_says_who_it_is(stage: Stage, proxy: Envoy) -> None:
    shown = await token(stage)
    spoofed = {
        "authorization": f"Bearer {shown}",
        "x-stagedoor-sub": "brian",
        "x-stagedoor-roles": "administrator",
        "accept": "*/*",
    }
    answer = await proxy.check(spoofed)
    told = set_by(answer)
    assert told.pop("x-stagedoor-position").isdigit()
    assert told == {"x-stagedoor-sub": HUB, "x-stagedoor-client-id": HUB, "x-stagedoor-scope": "read"}
    removed = set(answer.ok_response.headers_to_remove)
    assert removed == {"authorization", "dpop", "x-api-key", "x-stagedoor-roles", "x-stagedoor-actors"}


async def test_envoy_says_who_acts_for_whom(stage: Stage, proxy: Envoy) -> None:
    shown = await token_of_an_exchange(stage)
    told = set_by(await proxy.check({"authorization": f"Bearer {shown}", "x-stagedoor-actors": "com.evil/app"}))
    assert (told["x-stagedoor-client-id"], told["x-stagedoor-actors"]) == (TOURBUS, f"{TOURBUS} {HUB}")


async def test_envoy_refuses_with_a_challenge(stage: Stage, proxy: Envoy) -> None:
    shown = await token(stage)
    none = await proxy.check({"accept": "*/*"})
    assert (status(none), none.status.code) == (401, code_pb2.UNAUTHENTICATED)
    assert set_by(none)["www-authenticate"] == f'Bearer resource_metadata="{METADATA}", {DPOP}'
    wrong = await proxy.check({"authorization": f"Bearer {shown[:-4]}AAAA"})
    assert status(wrong) == 401
    assert 'error="invalid_token"' in set_by(wrong)["www-authenticate"]
    short = await proxy.check({"authorization": f"Bearer {shown}"}, audience=API, scopes="read update")
    assert (status(short), short.status.code) == (403, code_pb2.PERMISSION_DENIED)
    challenge = set_by(short)["www-authenticate"]
    assert 'error="insufficient_scope"' in challenge
    assert 'scope="read update"' in challenge
    assert f'resource_metadata="{METADATA}"' in challenge
    assert json.loads(short.denied_response.body)["error"] == "insufficient_scope"
    elsewhere = await proxy.check({}, audience=API, resource_metadata="https://api.example.com/metadata")
    assert "https://api.example.com/metadata" in set_by(elsewhere)["www-authenticate"]


async def test_envoy_hears_of_denials_at_once(stage: Stage, proxy: Envoy) -> None:
    headers = {"authorization": f"Bearer {await token(stage)}"}
    assert (await proxy.check(headers)).status.code == code_pb2.OK
    position = await stage.of_application(registry.ApplicationDisabled(client_id=HUB, reason="tried out"))
    await eventually(lambda: stage.guard.view.position >= position)
    assert status(await proxy.check(headers)) == 401


async def test_envoy_is_told_when_nobody_can_know(stage: Stage, proxy: Envoy) -> None:
    headers = {"authorization": f"Bearer {await token(stage)}"}
    stage.guard.view.max_staleness = -1.0
    answer = await proxy.check(headers)
    assert (status(answer), answer.status.code) == (503, code_pb2.UNAVAILABLE)
    assert set_by(answer)["retry-after"] == "1"


@pytest.mark.parametrize(
    ("path", "raw"),
    [
        ("/tours?access_token=x", [("authorization", "Bearer {}")]),
        ("/tours", [("authorization", "Bearer {}"), ("authorization", "Bearer {}")]),
        ("/tours", [("Authorization", "Bearer {}"), ("x-api-key", "stagedoor_pat_x")]),
        ("/tours", [("authorization", "Bearer {}, Bearer {}")]),
        ("/tours", [("authorization", "Bearer ")]),
        ("//[?x", [("authorization", "Bearer a b")]),
    ],
)
async def test_envoy_admits_one_credential_in_a_header(
    stage: Stage, proxy: Envoy, path: str, raw: list[tuple[str, str]]
) -> None:
    shown = await token(stage)
    answer = await proxy.check({}, path=path, raw=[(name, value.replace("{}", shown)) for name, value in raw])
    assert (status(answer), answer.status.code) == (400, code_pb2.INVALID_ARGUMENT)


async def test_a_reference_token_in_either_header(stage: Stage, proxy: Envoy) -> None:
    await stage.register(OPEN)
    await stage.add_resources(callers=("resource/tours",))
    freddie = await stage.user()
    made = await make(stage, freddie)
    for headers in ({"x-api-key": made.token}, {"authorization": f"Bearer {made.token}"}):
        answer = await proxy.check(headers)
        assert answer.status.code == code_pb2.OK
        assert set_by(answer)["x-stagedoor-sub"] == freddie
        assert {"authorization", "x-api-key"} <= set(answer.ok_response.headers_to_remove)
    answer = await proxy.check({"x-api-key": made.token}, audience=API, scopes="update")
    assert status(answer) == 403
    assert 'scope="update"' in set_by(answer)["www-authenticate"]
    await stage.of_user(freddie, UserDisabled(sub=freddie, reason=""))
    await stage.validate(made.token)
    head = (await stage.issuer.log.head()).position
    await eventually(lambda: stage.guard.view.position >= head)
    assert status(await proxy.check({"x-api-key": made.token})) == 401


async def test_an_access_token_is_no_api_key(stage: Stage, proxy: Envoy) -> None:
    answer = await proxy.check({"x-api-key": await token(stage)})
    assert status(answer) == 401
    for unknown in ("stagedoor_pat_unknown", new_reference(ReferenceKind.PERSONAL)):
        assert status(await proxy.check({"x-api-key": unknown})) == 401
    assert status(await proxy.check({"authorization": "Basic abc"})) == 401


async def test_a_proxy_that_may_not_ask_lets_nothing_through(stage: Stage, proxy: Envoy, parties: Parties) -> None:
    headers = {"authorization": f"Bearer {await token(stage)}"}
    for answer in (
        await proxy.check(headers, name="stranger"),
        await proxy.check(headers, audience="https://api.example.com/unknown"),
        await proxy.check(headers, scopes="read"),
    ):
        assert (status(answer), answer.status.code) == (500, code_pb2.INTERNAL)
    operator = channel(proxy.address, parties.operator(), "token_issuer")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await AuthorizationStub(operator).Check(pb.CheckRequest(), timeout=10)
    await operator.close(None)
    assert translate(refused.value).code == "caller_not_allowed"


def test_the_usual_place_of_metadata() -> None:
    """RFC 9728 section 3.1, its example included."""
    assert metadata_url("https://resource.example.com/resource1") == (
        "https://resource.example.com/.well-known/oauth-protected-resource/resource1"
    )
    assert metadata_url("https://resource.example.com") == (
        "https://resource.example.com/.well-known/oauth-protected-resource"
    )


async def test_envoy_lets_a_bound_token_through_with_its_proof(stage: Stage, proxy: Envoy) -> None:
    key = ProofKey()
    shown = await token(stage, key=key)
    address = f"{ORIGIN}/tours"
    for path in ("/tours", "/tours?page=2"):
        sent = {name.lower(): value for name, value in key.headers("GET", address, shown).items()}
        answer = await proxy.check(sent, path=path)
        assert answer.status.code == code_pb2.OK, answer
        assert set(answer.ok_response.headers_to_remove) == {"authorization", "dpop", "x-api-key", "x-stagedoor-actors"}
        assert 'DPoP error="invalid_dpop_proof"' in set_by(await proxy.check(sent, path=path))["www-authenticate"]
    sent = {name.lower(): value for name, value in key.headers("GET", "https://tours.example.com/tours", shown).items()}
    assert (
        await proxy.check(sent, audience=API, scopes="read", origin="https://tours.example.com")
    ).status.code == code_pb2.OK


async def test_envoy_refuses_a_bound_token_otherwise(stage: Stage, proxy: Envoy) -> None:
    key = ProofKey()
    shown = await token(stage, key=key)

    def sent(method: str = "GET", address: str = f"{ORIGIN}/tours", held: ProofKey = key) -> dict[str, str]:
        return {name.lower(): value for name, value in held.headers(method, address, shown).items()}

    good = sent()
    for headers, error in (
        ({"authorization": f"Bearer {shown}"}, "invalid_token"),
        ({**good, "authorization": f"Bearer {shown}"}, "invalid_token"),
        ({"authorization": f"DPoP {shown}"}, "invalid_dpop_proof"),
        ({**good, "dpop": f"{good['dpop']},{sent()['dpop']}"}, "invalid_dpop_proof"),
        (sent("POST"), "invalid_dpop_proof"),
        (sent(address="http://mallory.example/tours"), "invalid_dpop_proof"),
        (sent(address=f"{ORIGIN}/tours/7"), "invalid_dpop_proof"),
        (sent(held=ProofKey()), "invalid_token"),
    ):
        answer = await proxy.check(headers)
        assert status(answer) == 401
        assert f'error="{error}"' in set_by(answer)["www-authenticate"], headers
    assert status(await proxy.check(good, method="")) == 401
    assert status(await proxy.check(good, path="tours")) == 401
    raw = [*good.items(), ("dpop", sent()["dpop"])]
    assert status(await proxy.check({}, raw=raw)) == 401
    assert (await proxy.check({}, raw=list(good.items()))).status.code == code_pb2.OK


async def test_a_reference_token_has_no_proof(stage: Stage, proxy: Envoy) -> None:
    await token(stage)
    key, kept = ProofKey(), new_reference(ReferenceKind.SERVICE)
    sent = {name.lower(): value for name, value in key.headers("GET", f"{ORIGIN}/tours", kept).items()}
    answer = await proxy.check(sent)
    assert 'DPoP error="invalid_token"' in set_by(answer)["www-authenticate"]


async def test_a_token_that_is_bound_to_a_certificate(stage: Stage, proxy: Envoy) -> None:
    own, other = certificate("own"), certificate("other")
    shown = await token_of_a_certificate(stage, own)
    bearer = {"authorization": f"Bearer {shown}"}
    assert (await proxy.check(bearer, certificate=escaped(own))).HasField("ok_response")
    for said in ("", escaped(other)):
        answer = await proxy.check(bearer, certificate=said)
        assert status(answer) == 401
        assert 'error="invalid_token"' in set_by(answer)["www-authenticate"]
    assert status(await proxy.check(bearer, certificate="nonsense")) == 400
    # What stands in headers is the client's, whatever they are called.
    claimed = {
        "client-cert": field_of(own),
        "x-forwarded-client-cert": f'Hash=x;Cert="{escaped(own)}"',
        "ssl-client-cert": escaped(own),
    }
    assert status(await proxy.check(bearer | claimed)) == 401
    assert status(await proxy.check(bearer | claimed, certificate=escaped(other))) == 401


def escaped(content: x509.Certificate) -> str:
    """As Envoy writes it: PEM, percent-encoded."""
    return quote(content.public_bytes(Encoding.PEM).decode(), safe="")
