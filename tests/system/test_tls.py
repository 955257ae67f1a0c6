"""The whole system over https: what `make run TLS=1` starts."""

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio
from cryptography import x509

from infra.local.ports import LOOPBACK
from infra.local.sign_in import CodeFlow, Visitor
from infra.local.system import System
from services.cli import profile
from tests.story import Story
from tests.support import client_certificates, node
from tests.support.client_certificates import DAY, certificate
from tests.support.command import stagedoor
from tests.support.console import BRIAN, desk, started
from tests.support.documented import block, register, run
from tests.support.system import running_system

pytestmark = [pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="module")]

HUB = "com.backstagehub/app"
FREDDIE = ("freddie", "a-kind-of-magic-1986")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def secure() -> AsyncIterator[System]:
    async with running_system(tls=True) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def client(secure: System) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=30, verify=secure.trust()) as opened:
        yield opened


async def test_the_whole_story(secure: System) -> None:
    await Story(secure).play()


async def test_everything_public_is_https(secure: System, client: httpx.AsyncClient) -> None:
    ports, demo = secure.ports, secure.demo
    assert ports.origin == f"https://localhost:{ports.base + 43}"
    assert (demo["origin"], demo["issuer"]) == (ports.origin, f"{ports.origin}/id")
    for address in (
        f"{ports.issuer}/.well-known/openid-configuration",
        f"{ports.origin}/.well-known/oauth-authorization-server/id",
        f"{ports.origin}/.well-known/oauth-protected-resource/api",
    ):
        said = (await client.get(address)).json()
        places = [value for name, value in said.items() if name == "issuer" or name.endswith(("_endpoint", "_uri"))]
        places += said.get("authorization_servers", [])
        assert places
        assert all(place.startswith(f"{ports.origin}/") for place in places), places
    assert demo["resources"][0]["identifier"] == f"{ports.origin}/api"


async def test_the_consoles_cookies_go_by_https_and_to_the_console_alone(secure: System) -> None:
    async with desk(await started(secure), BRIAN, secure.trust()) as brian:
        assert (await brian.sign_in("/users")).status == 200
        kept = {one.name: one for one in brian.browser.cookies.jar if "console" in one.name}
    assert set(kept) == {"__Secure-stagedoor_console"}
    cookie = kept["__Secure-stagedoor_console"]
    assert (cookie.secure, cookie.path, cookie.domain_specified) == (True, "/console", False)


async def test_only_who_knows_the_authority_believes_the_certificate(secure: System) -> None:
    known = ssl.create_default_context(cafile=secure.demo["ca"])
    async with httpx.AsyncClient(trust_env=False, verify=known) as there:
        assert (await there.get(f"{secure.ports.origin}/readyz")).status_code == 200
        assert (await there.get(f"https://{LOOPBACK}:{secure.ports.door}/readyz")).status_code == 421
    async with httpx.AsyncClient(trust_env=False) as stranger:
        with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
            await stranger.get(f"{secure.ports.origin}/readyz")


async def test_nothing_is_answered_over_plain_http(secure: System) -> None:
    async with httpx.AsyncClient(trust_env=False) as plain:
        answer = await plain.get(f"http://localhost:{secure.ports.door}/id/.well-known/openid-configuration")
        assert answer.status_code == 400
        assert "issuer" not in answer.text
        for answer in (
            await plain.get(f"http://{LOOPBACK}:{secure.ports.base}/id/.well-known/openid-configuration"),
            await plain.post(f"http://{LOOPBACK}:{secure.ports.base}/id/connect/token", data={"grant_type": "x"}),
            await plain.get(f"http://localhost:{secure.ports.base}/api/tours"),
        ):
            assert (answer.status_code, answer.json()["error"]) == (426, "invalid_request")
            assert "TLS" in answer.headers["upgrade"]
            assert "location" not in answer.headers
        for path in ("/healthz", "/readyz"):
            assert (await plain.get(f"http://{LOOPBACK}:{secure.ports.base}{path}")).status_code == 200


async def test_cookies_are_for_this_host_over_https_alone(secure: System) -> None:
    redirect_uri = f"http://localhost:{secure.ports.backstagehub}/callback"
    flow = CodeFlow(secure.ports.issuer, HUB, redirect_uri, "openid read")
    headers: list[str] = []

    async def note(response: httpx.Response) -> None:
        headers.extend(response.headers.get_list("set-cookie"))
        assert "strict-transport-security" not in response.headers

    async with Visitor(*FREDDIE, secure.trust()) as freddie:
        freddie.browser.event_hooks["response"].append(note)
        flow.code(await freddie.go(flow.address))
    names = {header.partition("=")[0] for header in headers}
    assert names >= {"__Host-stagedoor_session", "__Host-stagedoor_form", "__Host-stagedoor_device"}
    for header in headers:
        attributes = {part.strip().lower() for part in header.split(";")[1:]}
        assert header.startswith("__Host-")
        assert {"secure", "httponly", "path=/", "samesite=lax"} <= attributes
        assert not any(attribute.startswith("domain") for attribute in attributes)


async def test_backstagehub_signs_people_in(secure: System) -> None:
    hub = f"http://localhost:{secure.ports.backstagehub}"
    async with httpx.AsyncClient(base_url=hub, trust_env=False, timeout=30) as browser:
        leaving = (await browser.get("/login")).headers["location"]
        assert leaving.startswith(f"{secure.ports.issuer}/connect/authorize?")
        async with Visitor(*FREDDIE, secure.trust()) as freddie:
            back = await freddie.go(leaving)
        assert (await browser.get(back)).status_code == 303
        page = (await browser.get("/")).text
        assert "Freddie" in page
        found = re.search(r'name="csrf_token" value="([^"]+)"', page)
        assert found is not None
        synced = await browser.post("/sync", data={"csrf_token": found[1]})
        assert synced.status_code == 303
        assert "Wembley Stadium" in (await browser.get("/")).text
        out = await browser.post("/logout", data={"csrf_token": found[1]})
        assert urlsplit(out.headers["location"]).scheme == "https"


async def test_the_command_talks_to_it(secure: System) -> None:
    path = secure.home.path / "profile.toml"
    kept = profile.read(path)
    assert kept.issuer == secure.ports.issuer
    # A token that has ended is replaced, which takes the token endpoint.
    profile.write(path, kept.model_copy(update={"expires_at": 0}))
    (applications,) = await stagedoor(secure, "apps", "list")
    assert HUB in json.dumps(applications)
    assert profile.read(path).access_token != kept.access_token
    # And without a profile it finds the place by what ran in the folder.
    assert profile.local(secure.home.path, secure.ports.base).issuer == secure.ports.issuer


async def test_the_example_of_a_service_needs_to_be_told_the_authority_alone(
    secure: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISSUER", secure.ports.issuer)
    monkeypatch.setenv("API", f"{secure.ports.origin}/api")
    monkeypatch.setenv("SSL_CERT_FILE", secure.demo["ca"])
    monkeypatch.setenv("CLIENT_SECRET", await register(secure, "com.example/service"))
    example = run(block("python", "com.example/service"))
    with example["client"]:
        assert await asyncio.to_thread(example["tours"]) == []


@pytest.fixture
def certified(secure: System, tmp_path: Path) -> Callable[[str | None], httpx.AsyncClient]:
    """A client that opens its connections with the self-signed certificate of this name."""

    def made(name: str | None, **changes: Any) -> httpx.AsyncClient:
        trust = secure.trust()
        if name is not None:
            trust.load_cert_chain(*client_certificates.files(tmp_path, name, certificate(name, **changes)))
        return httpx.AsyncClient(trust_env=False, timeout=30, verify=trust)

    return made


async def test_the_example_of_a_certificate(
    secure: System, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, client: httpx.AsyncClient
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ISSUER", secure.ports.issuer)
    monkeypatch.setenv("API", f"{secure.ports.mtls_origin}/api")
    monkeypatch.setenv("SSL_CERT_FILE", secure.demo["ca"])
    example = run(block("python", "com.example/certified"))
    example["make"]()
    await register(secure, "com.example/certified")
    assert await asyncio.to_thread(example["tours"]) == []
    example["make"]()
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        await asyncio.to_thread(example["tours"])


async def test_a_certificate_and_whoever_claims_to_have_it(
    secure: System, certified: Callable[..., httpx.AsyncClient], tmp_path: Path
) -> None:
    """The door asks at one port, says there what it was shown, and drops at each what somebody else has said."""
    ports, client_id = secure.ports, "com.example/door"
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"keys": [client_certificates.jwk("own").model_dump(exclude_none=True)]}))
    bound = "--tls-client-certificate-bound-access-tokens"
    method = ("--auth-method", "self_signed_tls_client_auth", "--jwks", str(keys), bound)
    asked = ("--name", "Door", "--scope", "read", "--grant", "client_credentials", *method)
    await stagedoor(secure, "apps", "register", client_id, *asked)
    form = {"client_id": client_id, "grant_type": "client_credentials", "scope": "read"}
    async with certified("own") as own, certified("thief") as thief, certified(None) as none:
        shown = shown_by(tmp_path, "own")
        forged = {"Client-Cert": client_certificates.field_of(shown)}
        known = (await own.get(f"{ports.issuer}/.well-known/openid-configuration")).json()
        places = known["mtls_endpoint_aliases"]
        assert known["tls_client_certificate_bound_access_tokens"] is True
        assert {urlsplit(place).netloc for place in places.values()} == {f"localhost:{ports.mtls}"}
        given = await own.post(places["token_endpoint"], data=form)
        assert given.status_code == 200, given.text
        token = given.json()["access_token"]

        async with certified("own", since=-2 * DAY, until=-DAY) as expired:
            attempts = [(expired, places["token_endpoint"], {}), (own, known["token_endpoint"], forged)]
            for client, headers in ((none, {}), (none, forged), (thief, {}), (thief, forged)):
                attempts += [(client, places["token_endpoint"], headers), (client, known["token_endpoint"], headers)]
            for client, place, headers in attempts:
                refused = await client.post(place, data=form, headers=headers)
                assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
        plain = await none.post(f"http://{LOOPBACK}:{ports.base}/id/connect/token", data=form, headers=forged)
        assert plain.status_code == 426

        bearer = {"Authorization": f"Bearer {token}"}
        at, beside = f"{ports.mtls_origin}/api/tours", f"{ports.origin}/api/tours"
        for client, place, headers in _presented(own, thief, none, at, beside, bearer, forged):
            answer = await client.get(place, headers=headers)
            assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
        assert (await own.get(at, headers=bearer | forged)).status_code == 200
        told = (await own.post(places["introspection_endpoint"], data={"client_id": client_id, "token": token})).json()
        assert told["cnf"] == {"x5t#S256": client_certificates.thumbprint(shown)}
        for place in ("/id/signin", "/id/connect/authorize", "/id/connect/register", "/id/connect/jwks", "/readyz"):
            assert (await own.get(f"{ports.mtls_origin}{place}")).status_code == 404
        assert (await none.get(f"https://{LOOPBACK}:{ports.mtls}/api/tours")).status_code == 421


def _presented(
    own: httpx.AsyncClient,
    thief: httpx.AsyncClient,
    none: httpx.AsyncClient,
    at: str,
    beside: str,
    bearer: dict[str, str],
    forged: dict[str, str],
) -> list[tuple[httpx.AsyncClient, str, dict[str, str]]]:
    """The ways in which a bound token is not accepted: by others where a certificate is asked for, by all elsewhere."""
    return [
        (none, at, bearer),
        (none, at, bearer | forged),
        (thief, at, bearer),
        (thief, at, bearer | forged),
        (own, beside, bearer),
        (own, beside, bearer | forged),
    ]


async def test_userinfo_with_a_certificate(
    secure: System, certified: Callable[..., httpx.AsyncClient], tmp_path: Path
) -> None:
    ports, client_id, callback = secure.ports, "com.example/certified-spa", "http://localhost:8000/certified"
    bound = "--tls-client-certificate-bound-access-tokens"
    kind = ("--type", "public", "--redirect-uri", callback, "--grant", "authorization_code", bound)
    await stagedoor(secure, "apps", "register", client_id, "--name", "Single page", *kind)
    flow = CodeFlow(ports.issuer, client_id, callback, "openid profile")
    async with Visitor(*FREDDIE, secure.trust()) as freddie:
        code = flow.code(await freddie.go(flow.address))
    form = {"grant_type": "authorization_code", "client_id": client_id, "redirect_uri": callback}
    form |= {"code": code, "code_verifier": flow.verifier}
    async with certified("own") as own, certified("thief") as thief, certified(None) as none:
        forged = {"Client-Cert": client_certificates.field_of(shown_by(tmp_path, "own"))}
        without = await none.post(f"{ports.issuer}/connect/token", data=form, headers=forged)
        assert (without.status_code, without.json()["error"]) == (400, "invalid_request")
        given = await own.post(f"{ports.mtls_origin}/id/connect/token", data=form)
        assert given.status_code == 200, given.text
        bearer = {"Authorization": f"Bearer {given.json()['access_token']}"}
        at, beside = f"{ports.mtls_origin}/id/connect/userinfo", f"{ports.issuer}/connect/userinfo"
        for client, place, headers in _presented(own, thief, none, at, beside, bearer, forged):
            answer = await client.get(place, headers=headers)
            assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
        told = await own.get(at, headers=bearer)
        assert told.json().get("given_name") == "Freddie", told.text


def shown_by(folder: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())


async def test_a_library_for_node_needs_to_be_told_the_authority_alone(secure: System) -> None:
    async with Visitor(*FREDDIE, secure.trust()) as visitor:
        await node.run("secret", node.told(secure), {"visit": node.Person(visitor).visit}, secure.demo["ca"])
