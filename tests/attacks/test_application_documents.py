"""What a vendor could have the registry fetch (SSRF), and what a document could make of itself.

That no address inside a network is reached is a matter of `Reach`, and tried in `test_client_key_addresses.py`; here is
that documents are fetched by it, too.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from protos.stagedoor.registry.v1 import installation_pb2 as pb
from protos.stagedoor.registry.v1 import registry_pb2
from services.registry.installing import LONGEST, Installing
from shared.errors import Refusal
from shared.http.outgoing import Outgoing, Reach
from tests.support.assertions import ClientKey
from tests.support.documents import JSON, Vendor, described, vendor
from tests.support.parties import parties as parties  # noqa: PLC0414  (a fixture, as are the others)
from tests.support.registry import MASTER, ORIGIN, Running
from tests.support.registry import clock as clock  # noqa: PLC0414
from tests.support.registry import log as log  # noqa: PLC0414
from tests.support.registry import registry as registry  # noqa: PLC0414
from tests.support.web import web

DEMO = True
"""So that documents of this machine are fetched; that they are not otherwise is tried by a registry of its own."""


@pytest.fixture
async def by() -> AsyncIterator[Vendor]:
    async with vendor() as running:
        yield running


@pytest.fixture(autouse=True)
async def scopes(registry: Running) -> None:
    owned = [registry_pb2.Scope(name=name, description=f"{name} your tours") for name in ("read", "update")]
    settings = registry_pb2.ResourceSettings(display_name="Tours", scopes=owned)
    await registry(registry_pb2.RegisterResourceRequest(identifier=f"{ORIGIN}/api", settings=settings))


async def refused(asking: Any) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        await asking
    return refusal.value


async def read(registry: Running, document: str) -> pb.ReadDocumentResponse:
    answer: pb.ReadDocumentResponse = await registry(pb.ReadDocumentRequest(document=document))
    return answer


async def test_nothing_inside_is_fetched(registry: Running, by: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by its address, nor by a name that leads there: what is judged is the address that is connected."""
    inside = ("127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1", "::1", "fd00::1", "::ffff:127.0.0.1")

    def leading_to(address: str) -> Any:
        return lambda _host, port, **_: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    outgoing = Outgoing(Reach(), at_once=4, seconds=5.0)
    installing = Installing(registry.log, MASTER, outgoing)
    try:
        for address in inside:
            with monkeypatch.context() as patched:
                patched.setattr(socket, "getaddrinfo", leading_to(address))
                failure = await refused(installing.read("https://rebound.example/x"))
                assert failure.code == "document_unreachable"
                assert "no public address" in failure.message
        port = by.document.split(":")[2]
        for uri in (by.document, f"https://127.0.0.1:{port}", f"https://localhost:{port}", f"https://[::1]:{port}"):
            assert (await refused(installing.read(uri))).code == "invalid_document_address"
    finally:
        await outgoing.close()
    assert by.web.asked == 0


async def test_redirects_are_not_followed(registry: Running, by: Vendor) -> None:
    async with web() as elsewhere:
        for status in (301, 302, 303, 307, 308):
            elsewhere.answer(status, b"", b"Location: %b\r\n" % by.document.encode() + JSON)
            failure = await refused(read(registry, elsewhere.uri))
            assert (failure.code, "redirects are not followed" in failure.message) == ("document_unreachable", True)
    assert by.web.asked == 0


NOT_JSON: tuple[Any, ...] = (
    b"",
    b"Content-Type: text/html\r\n",
    b"Content-Type: text/plain; application/json\r\n",
    b"Content-Type: application/jsonp\r\n",
    b"Content-Type: image/svg+xml\r\n",
    JSON + b"Content-Type: text/html\r\n",
)


async def test_what_is_no_document(registry: Running, by: Vendor) -> None:
    """Of another kind, so that nobody makes one of what a host shows for others: an upload, an error that repeats.

    Or too long, or late, or none at all.
    """
    for headers in NOT_JSON:
        by.web.answer(200, json.dumps(described()).encode(), headers)
        assert "not application/json" in (await refused(read(registry, by.document))).message
    by.web.answer(200, by.web.body, b"content-type: Application/JSON ; charset=utf-8\r\n")
    assert (await read(registry, by.document)).client_id == "example.setlist/app"
    by.describe(client_uri="x" * LONGEST)
    assert "longer than" in (await refused(read(registry, by.document))).message
    by.describe()
    by.web.free.clear()
    impatient = Outgoing(Reach(loopback=True), at_once=1, seconds=0.2)
    installing = Installing(registry.log, MASTER, impatient, demo=True)
    assert "in time" in (await refused(installing.read(by.document))).message
    await impatient.close()
    by.web.free.set()
    for status in (204, 404, 500):
        by.web.answer(status, by.web.body, JSON)
        assert (await refused(read(registry, by.document))).code == "document_unreachable"
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert (await refused(read(registry, f"http://127.0.0.1:{port}/x"))).code == "document_unreachable"
    server.close()
    await server.wait_closed()
    assert (await refused(read(registry, f"http://127.0.0.1:{port}/x"))).code == "document_unreachable"


NO_DESCRIPTIONS: tuple[Any, ...] = (
    b"",
    b"null",
    b"[]",
    b'"com.example/app"',
    b"{}",
    b'{"client_id": 1}',
    b'{"client_id": null}',
    b'{"client_id": ["example.setlist/app"]}',
    b"\xff\xfe{}",
    b"[" * 30_000,
    b'{"client_id": "example.setlist/app", "client_id": "com.backstagehub/app"}',
    b'{"client_id": "example.setlist/app", "default_max_age": NaN}',
)


REFUSED: tuple[Any, ...] = (
    {"scope": "openid sec"},
    {"scope": "read sec update"},
    {"scope": "launch"},
    {"scope": "claim:email"},
    {"token_endpoint_auth_method": None, "jwks_uri": None},
    {"token_endpoint_auth_method": "client_secret_basic", "jwks_uri": None},
    {"token_endpoint_auth_method": "client_secret_post", "jwks_uri": None},
    {"token_endpoint_auth_method": "tls_client_auth"},
    {"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": None},
    {"jwks_uri": None, "jwks": {"keys": [{**ClientKey().jwk, "d": "AA"}]}},
    {"jwks_uri": "https://127.0.0.1/keys", "jwks": {"keys": []}},
    {"jwks_uri": "javascript:alert(1)"},
    {"redirect_uris": ["javascript:alert(1)"]},
    {"redirect_uris": ["https://setlist.example/*"]},
    {"redirect_uris": ["http://setlist.example/callback"]},
    {"redirect_uris": ["https://setlist.example/callback#x"]},
    {"redirect_uris": "https://setlist.example/callback"},
    {"initiate_login_uri": "javascript:alert(1)"},
    {"initiate_login_uri": "https://evil.example/"},
    {"initiate_login_uri": 1},
    {"logo_uri": "data:text/html,<script>alert(1)</script>"},
    {"client_name": "evil\u202egnp"},
    {"client_name": "B\u0430ckstageHub"},
    {"client_name": "x" * 101},
    {"client_name": 1},
    {"contacts": ["x" * 201]},
    {"grant_types": ["password"]},
    {"grant_types": ["implicit"]},
    {"software_statement": "a.b.c"},
    {"client_id": "com.stagedoor/cli"},
    {"client_id": "com.stagedoor/install"},
    {"client_id": "com.stagedoor/evil"},
    {"client_id": "Example.setlist/app"},
    {"client_id": "example.setlist/app\u0000"},
    {"client_id": "https://setlist.example/stagedoor.json"},
)


async def test_what_no_description_says(registry: Running, by: Vendor) -> None:
    for body in NO_DESCRIPTIONS:
        by.web.answer(200, body, JSON)
        assert (await refused(read(registry, by.document))).code == "invalid_client_metadata"
    for metadata in REFUSED:
        by.describe(**metadata)
        failure = await refused(read(registry, by.document))
        assert failure.code in ("invalid_client_metadata", "invalid_redirect_uri", "invalid_scope", "name_taken") or (
            failure.code == "unapproved_software_statement"
        )
    assert "registry.ApplicationInstalled" not in await registry.events()


async def test_what_a_description_says_of_itself_beyond_that(registry: Running, by: Vendor) -> None:
    """Members that no vendor can decide are as if they were not there (RFC 7591 section 2)."""
    by.describe(
        first_party=True,
        reference_tokens="authenticated_users",
        service_account="somebody",
        require_pkce=False,
        user_kinds=["internal", "community", "service"],
        access_token_seconds=86400,
        refresh_token_seconds=31536000,
        enabled=True,
        client_secret="chosen-by-the-vendor",
    )
    shown = await read(registry, by.document)
    found = (await registry(pb.InstallRequest(document=by.document, digest=shown.digest))).application
    assert found.settings == shown.settings
    settings = found.settings
    assert (settings.first_party, settings.reference_tokens, settings.service_account) == (False, "none", "")
    assert (settings.require_pkce, list(settings.user_kinds)) == (True, ["internal"])
    assert (settings.access_token_seconds, settings.refresh_token_seconds, len(found.secrets)) == (0, 0, 0)


async def test_a_name_that_somebody_else_has(registry: Running, by: Vendor) -> None:
    settings = registry_pb2.ApplicationSettings(
        display_name="BackstageHub",
        type="confidential",
        redirect_uris=["https://hub.example/callback"],
        scopes=["read"],
        grants=["authorization_code"],
    )
    taken = registry_pb2.RegisterApplicationRequest(client_id="com.backstagehub/app", settings=settings)
    await registry(taken)
    by.describe("com.backstagehub/app")
    assert (await refused(read(registry, by.document))).code == "name_taken"
    await registry(registry_pb2.UninstallApplicationRequest(client_id="com.backstagehub/app"))
    assert (await refused(read(registry, by.document))).code == "name_taken"


async def test_one_approval_that_is_sent_twenty_times_at_once(registry: Running, by: Vendor) -> None:
    shown = await read(registry, by.document)
    request = pb.InstallRequest(document=by.document, digest=shown.digest)
    answers = await asyncio.gather(*(registry(request) for _ in range(20)), return_exceptions=True)
    refusals = [answer for answer in answers if isinstance(answer, Refusal)]
    assert len(refusals) == 19
    assert {one.code for one in refusals} <= {"name_taken", "document_unreachable", "busy"}
    assert (await registry.events()).count("registry.ApplicationInstalled") == 1
