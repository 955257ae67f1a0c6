"""Envoy itself, with the configuration that is the example, before a resource that answers with what reached it."""

import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml
from envoy.service.auth.v3.external_auth_pb2_grpc import add_AuthorizationServicer_to_server

from infra.local.process import Process
from services.registry import events as registry
from services.token_issuer import envoy
from services.token_issuer.client_certificates import MutualTls
from services.token_issuer.gateway import Gateway
from shared.rpc.server import RpcServer
from tests.support.client_certificates import certificate, field_of, files, mutual_tls
from tests.support.dpop import ProofKey
from tests.support.issuing import API, HUB, ORIGIN, Stage
from tests.support.parties import Parties
from tests.support.ports import free_port
from tests.support.protected import echo, listens, served, token, token_of_a_certificate
from tests.support.protected import gateway as gateway  # noqa: PLC0414  (a fixture)
from tests.support.work import eventually

ROOT = Path(__file__).parents[3]
PROGRAM = ROOT / ".venv" / "envoy" / "envoy" / "_bin" / "envoy"
CONFIGURATION = ROOT / "infra" / "envoy" / "envoy.yaml"
METADATA = f"{ORIGIN}/.well-known/oauth-protected-resource/api"
DPOP = 'DPoP algs="ES256 RS256 PS256 EdDSA"'

pytestmark = pytest.mark.skipif(
    not PROGRAM.exists(), reason="Envoy is a wheel for Linux alone; there, `make test` installs infra/envoy.lock"
)


@dataclass
class Envoy:
    """It, and the token issuer that it asks."""

    port: int
    issuer: RpcServer

    async def ask(
        self, method: str = "GET", path: str = "/tours", *more: tuple[str, str], token: str | None = None
    ) -> httpx.Response:
        """The answer to a request whose path goes out as it is written here."""
        headers = [*more, *([] if token is None else [("authorization", f"Bearer {token}")])]
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            url = httpx.URL(scheme="http", host="127.0.0.1", port=self.port, raw_path=path.encode())
            return await client.request(method, url, headers=headers, content=b"x" if method == "POST" else None)


def configuration(parties: Parties, *, door: int, issuer: int, resource: int) -> str:
    """The example's, with what its head says is to be replaced."""
    shown = parties.authority.resource("tours")
    text = CONFIGURATION.read_text()
    for placeholder, value in (
        ("port_value: 8090", f"port_value: {door}"),
        ("port_value: 9403", f"port_value: {issuer}"),
        ("port_value: 9000", f"port_value: {resource}"),
        ("/etc/stagedoor/ca.pem", str(parties.authority.certificate)),
        ("/etc/stagedoor/resource-tours.pem", str(shown.certificate)),
        ("/etc/stagedoor/resource-tours.key", str(shown.key)),
        ('"https://api.example.com/tours"', f'"{API}"'),
    ):
        assert placeholder in text
        text = text.replace(placeholder, value)
    yaml.safe_load(text)
    return text


@pytest.fixture
def believing() -> MutualTls:
    return mutual_tls()


@pytest.fixture
async def door(gateway: Gateway, parties: Parties, tmp_path: Path) -> AsyncIterator[Envoy]:
    async with running(gateway, parties, tmp_path, lambda text: text) as door:
        yield door


@pytest.fixture
async def secure_door(gateway: Gateway, parties: Parties, tmp_path: Path) -> AsyncIterator[Envoy]:
    async with running(gateway, parties, tmp_path, lambda text: over_tls(text, parties)) as door:
        yield door


@asynccontextmanager
async def running(
    gateway: Gateway, parties: Parties, tmp_path: Path, changed: Callable[[str], str]
) -> AsyncIterator[Envoy]:
    """Envoy with the example's configuration, or what is made of it."""
    server = RpcServer("127.0.0.1:0", parties.service("token_issuer"), envoy.RULES)
    server.add(add_AuthorizationServicer_to_server, envoy.EnvoyService(gateway), envoy.SERVICE, raw=envoy.RAW)
    await server.start()
    port = free_port()
    async with served(resource=echo) as ports:
        file = tmp_path / "envoy.yaml"
        file.write_text(changed(configuration(parties, door=port, issuer=server.port, resource=ports["resource"])))
        command = [str(PROGRAM), "-c", str(file), "--disable-hot-restart", "--concurrency", "1", "-l", "warning"]
        process = Process("envoy", command, {"PATH": os.environ.get("PATH", os.defpath)}, tmp_path / "envoy.log")
        await process.start()
        try:
            await eventually(lambda: listens(port))
            assert process.running, process.last_words()
            yield Envoy(port, server)
        finally:
            await process.stop()
            await server.stop(None)


async def test_it_lets_through_and_says_who_it_is(stage: Stage, door: Envoy) -> None:
    shown = await token(stage, scope="read update")
    spoofed = [("x-stagedoor-sub", "brian"), ("x-stagedoor-roles", "administrator"), ("x-stagedoor-sub", "freddie")]
    for method in ("GET", "HEAD", "POST"):
        answer = await door.ask(method, "/tours/1?year=1986", *spoofed, token=shown)
        assert answer.status_code == 200, answer.text
        if method == "HEAD":
            continue
        seen = answer.json()["headers"]
        assert (seen["x-stagedoor-sub"], seen["x-stagedoor-client-id"]) == (HUB, HUB)
        assert seen["x-stagedoor-scope"] == "read update"
        assert seen["x-stagedoor-position"].isdigit()
        assert not {"authorization", "x-api-key", "x-stagedoor-roles"} & seen.keys()
        assert answer.json()["body"] == ("x" if method == "POST" else "")


async def test_it_refuses_with_a_challenge(stage: Stage, door: Envoy) -> None:
    shown = await token(stage)
    none = await door.ask()
    assert (none.status_code, none.headers["www-authenticate"]) == (
        401,
        f'Bearer resource_metadata="{METADATA}", {DPOP}',
    )
    wrong = await door.ask(token=f"{shown[:-4]}AAAA")
    assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_token")
    for method in ("POST", "PUT", "DELETE"):
        short = await door.ask(method, token=shown)
        assert (short.status_code, short.json()["error"]) == (403, "insufficient_scope")
        assert 'scope="update"' in short.headers["www-authenticate"]
    assert (await door.ask("HEAD", token=shown)).status_code == 200


async def test_it_admits_one_credential_in_a_header(stage: Stage, door: Envoy) -> None:
    shown = await token(stage)
    twice = await door.ask("GET", "/tours", ("authorization", f"Bearer {shown}"), token=shown)
    both = await door.ask("GET", "/tours", ("x-api-key", "stagedoor_pat_x"), token=shown)
    query = await door.ask("GET", f"/tours?access_token={shown}", token=shown)
    for answer in (twice, both, query):
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "path",
    [
        "/admin",
        "/tours/../admin",
        "//tours",
        "/tours%2f..%2fadmin",
        "/tours/%2e%2e/admin",
        "/TOURS",
        "/",
        "/tours\\..\\x",
    ],
)
async def test_no_spelling_of_a_path_goes_around_the_question(stage: Stage, door: Envoy, path: str) -> None:
    """With and without a token: what is not one of the routes has no answer, and the resource does not hear of it."""
    shown = await token(stage)
    for bearer in (None, shown):
        answer = await door.ask("GET", path, token=bearer)
        assert answer.status_code in {400, 401, 404}, answer.text


async def test_it_hears_of_a_revocation_at_once(stage: Stage, door: Envoy) -> None:
    shown = await token(stage)
    assert (await door.ask(token=shown)).status_code == 200
    position = await stage.of_application(registry.ApplicationDisabled(client_id=HUB, reason="tried out"))
    await eventually(lambda: stage.guard.view.position >= position)
    assert (await door.ask(token=shown)).status_code == 401


async def test_it_lets_nothing_through_when_nobody_can_know(stage: Stage, door: Envoy) -> None:
    shown = await token(stage)
    stage.guard.view.max_staleness = -1.0
    stale = await door.ask(token=shown)
    assert (stale.status_code, stale.headers["retry-after"]) == (503, "1")


async def test_it_lets_nothing_through_when_the_token_issuer_is_gone(stage: Stage, door: Envoy) -> None:
    shown = await token(stage)
    assert (await door.ask(token=shown)).status_code == 200
    await door.issuer.stop(None)
    assert (await door.ask(token=shown)).status_code == 503


async def test_a_bound_token_goes_through_with_its_proof(stage: Stage, door: Envoy) -> None:
    key = ProofKey()
    shown = await token(stage, key=key, scope="read update")
    for method in ("GET", "POST"):
        sent = list(key.headers(method, f"{ORIGIN}/tours", shown).items())
        answer = await door.ask(method, "/tours?year=1986", *sent)
        assert answer.status_code == 200, answer.text
        assert not {"authorization", "dpop"} & answer.json()["headers"].keys()
        again = await door.ask(method, "/tours?year=1986", *sent)
        assert 'DPoP error="invalid_dpop_proof"' in again.headers["www-authenticate"]
    for more in (
        ("x-forwarded-uri", "/elsewhere"),
        ("x-forwarded-host", "elsewhere.example"),
        ("x-original-method", "GET"),
    ):
        sent = list(key.headers("GET", f"{ORIGIN}/elsewhere", shown).items())
        assert (await door.ask("GET", "/tours", *sent, more)).status_code == 401
    several = [
        *key.headers("GET", f"{ORIGIN}/tours", shown).items(),
        ("DPoP", key.proof("GET", f"{ORIGIN}/tours", shown)),
    ]
    assert (await door.ask("GET", "/tours", *several)).status_code == 401
    assert (await door.ask("GET", "/tours", token=shown)).status_code == 401


def over_tls(text: str, parties: Parties) -> str:
    """The configuration with a listener that asks for a certificate, and takes any."""
    shown = parties.authority.door()
    context = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "tls_certificates": [
                {
                    "certificate_chain": {"filename": str(shown.certificate)},
                    "private_key": {"filename": str(shown.key)},
                }
            ],
            "validation_context": {
                "trusted_ca": {"filename": str(parties.authority.certificate)},
                "trust_chain_verification": "ACCEPT_UNTRUSTED",
            },
        },
    }
    whole = yaml.safe_load(text)
    (chain,) = whole["static_resources"]["listeners"][0]["filter_chains"]
    chain["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": context}
    return str(yaml.safe_dump(whole))


async def test_a_token_that_is_bound_to_a_certificate(
    stage: Stage, secure_door: Envoy, parties: Parties, tmp_path: Path
) -> None:
    own = certificate("own")
    bearer = {"Authorization": f"Bearer {await token_of_a_certificate(stage, own)}"}
    trust = {
        name: ssl.create_default_context(cafile=parties.authority.certificate) for name in ("own", "other", "none")
    }
    trust["own"].load_cert_chain(*files(tmp_path, "own", own))
    trust["other"].load_cert_chain(*files(tmp_path, "other", certificate("other")))
    forged = {"Client-Cert": field_of(own), "X-Forwarded-Client-Cert": f'Cert="{field_of(own)}"'}
    url = f"https://localhost:{secure_door.port}/tours"
    for name, status in {"own": 200, "other": 401, "none": 401}.items():
        async with httpx.AsyncClient(trust_env=False, timeout=10, verify=trust[name]) as client:
            for headers in (bearer, bearer | forged):
                answer = await client.get(url, headers=headers)
                assert answer.status_code == status, answer.text
                assert status == 200 or answer.json()["error"] == "invalid_token"
