"""The modules of OpenID's conformance plans for logout, by their names, against the running system.

`oidcc-rp-initiated-logout-certification-test-plan` and `oidcc-backchannel-rp-initiated-logout-certification-test-plan`.
Where a module asks for a page, it is for a person to look at; here it is a page of ours, and the browser goes nowhere.
"""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import jwt
import pytest
import pytest_asyncio

from infra.local.sign_in import CodeFlow, Visitor
from infra.local.system import System
from tests.support.browsing import Page
from tests.support.command import stagedoor
from tests.support.receiver import Receiver, receiving
from tests.support.work import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

CALLBACK = "http://localhost:8499/callback"
AFTERWARDS = "http://localhost:8499/post_logout_redirect"
FREDDIE = ("freddie", "a-kind-of-magic-1986")


@dataclass
class Suite:
    """The application that the suite is."""

    system: System
    client_id: str
    client_secret: str
    receiver: Receiver

    @property
    def end(self) -> str:
        return f"{self.system.ports.issuer}/connect/endsession"

    async def metadata(self) -> dict[str, Any]:
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"{self.system.ports.issuer}/.well-known/openid-configuration")
        return dict(answer.json())

    def flow(self, **more: str) -> CodeFlow:
        return CodeFlow(self.system.ports.issuer, self.client_id, CALLBACK, "openid", more)

    @asynccontextmanager
    async def signed_in(self) -> AsyncIterator[tuple[Visitor, str]]:
        """A browser that somebody has signed in with, and the ID token."""
        flow = self.flow()
        async with Visitor(*FREDDIE) as freddie:
            tokens = await flow.redeem(flow.code(await freddie.go(flow.address)), client_secret=self.client_secret)
            yield freddie, str(tokens["id_token"])

    async def leave(self, freddie: Visitor, **parameters: str) -> Page:
        """What the end session endpoint leads to: a page of the issuer's, or the way out."""
        answer = await freddie.browser.get(self.end, params=parameters)
        for _ in range(5):
            target = urljoin(str(answer.url), answer.headers.get("location", ""))
            if not answer.is_redirect or not target.startswith(self.system.ports.origin):
                break
            answer = await freddie.browser.get(target)
        return Page(answer)

    async def confirm(self, freddie: Visitor, page: Page) -> Page:
        """The person presses the button."""
        form = page.form
        answer = await freddie.browser.post(
            urljoin(page.url, form.action),
            data={**form.fields, "action": "sign_out"},
            headers={"Origin": self.system.ports.origin},
            follow_redirects=True,
        )
        return Page(answer)

    async def is_signed_in(self, freddie: Visitor) -> bool:
        """What an authorization request with `prompt=none` shows."""
        answer = await freddie.go(self.flow(prompt="none").address)
        return parse_qs(urlsplit(answer).query).get("error") != ["login_required"]


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def suite(system: System) -> AsyncIterator[Suite]:
    async with receiving() as receiver:
        client_id = f"org.openid/{secrets.token_hex(4)}"
        (registered,) = await stagedoor(
            *(system, "apps", "register", client_id, "--name", "Conformance", "--redirect-uri", CALLBACK),
            *("--post-logout-redirect-uri", AFTERWARDS, "--grant", "authorization_code"),
            *("--backchannel-logout-uri", receiver.uri, "--backchannel-logout-session-required"),
        )
        assert registered["backchannel_logout_uri"] == receiver.uri
        assert registered["backchannel_logout_session_required"] is True
        yield Suite(system, client_id, registered["client_secret"], receiver)


def led_back(page: Page) -> dict[str, list[str]]:
    """The parameters at the post-logout redirect URI."""
    assert page.status == 303
    assert page.location.partition("?")[0] == AFTERWARDS
    return parse_qs(urlsplit(page.location).query)


def unverified(token: str) -> dict[str, Any]:
    return dict(jwt.decode(token, options={"verify_signature": False}))


def stays(suite: Suite, page: Page) -> bool:
    return page.url.startswith(suite.system.ports.issuer) and "location" not in page.headers


async def test_discovery_endpoint_verification(suite: Suite) -> None:
    """oidcc-rp-initiated-logout-discovery-…, oidcc-backchannel-logout-discovery-endpoint-verification."""
    metadata = await suite.metadata()
    assert metadata["end_session_endpoint"] == suite.end
    assert metadata["backchannel_logout_supported"] is True
    assert metadata["backchannel_logout_session_supported"] is True


async def test_oidcc_rp_initiated_logout(suite: Suite) -> None:
    async with suite.signed_in() as (freddie, hint):
        page = await suite.leave(freddie, id_token_hint=hint, post_logout_redirect_uri=AFTERWARDS, state="5+6 ~é")
        assert led_back(page) == {"state": ["5+6 ~é"]}
        assert not await suite.is_signed_in(freddie)


async def test_oidcc_rp_initiated_logout_no_state(suite: Suite) -> None:
    async with suite.signed_in() as (freddie, hint):
        page = await suite.leave(freddie, id_token_hint=hint, post_logout_redirect_uri=AFTERWARDS)
        assert led_back(page) == {}
        assert not await suite.is_signed_in(freddie)


@pytest.mark.parametrize("with_state", [False, True])
async def test_oidcc_rp_initiated_logout_no_post_logout_redirect_uri(suite: Suite, with_state: bool) -> None:
    async with suite.signed_in() as (freddie, hint):
        more = {"state": "x"} if with_state else {}
        page = await suite.leave(freddie, id_token_hint=hint, **more)
        assert stays(suite, page)
        assert "You are signed out" in page.text
        assert not await suite.is_signed_in(freddie)


@pytest.mark.parametrize("parameters", [{}, {"state": "x"}])
async def test_oidcc_rp_initiated_logout_no_params_or_only_state(suite: Suite, parameters: dict[str, str]) -> None:
    async with suite.signed_in() as (freddie, _):
        page = await suite.leave(freddie, **parameters)
        assert stays(suite, page)
        assert "Sign out?" in page.text
        assert await suite.is_signed_in(freddie)
        page = await suite.confirm(freddie, page)
        assert "You are signed out" in page.text
        assert not await suite.is_signed_in(freddie)


async def test_oidcc_rp_initiated_logout_no_id_token_hint(suite: Suite) -> None:
    async with suite.signed_in() as (freddie, _):
        page = await suite.leave(freddie, post_logout_redirect_uri=AFTERWARDS, state="x")
        assert (page.status, stays(suite, page)) == (400, True)
        # With its name the application may have the person asked.
        named = {"client_id": suite.client_id, "post_logout_redirect_uri": AFTERWARDS, "state": "x"}
        page = await suite.leave(freddie, **named)
        assert stays(suite, page)
        assert "Conformance asks to sign you out" in page.text
        assert await suite.is_signed_in(freddie)


@pytest.mark.parametrize("uri", [f"{AFTERWARDS}/bad", f"{AFTERWARDS}?foo=bar"])
async def test_oidcc_rp_initiated_logout_bad_and_query_added_to_post_logout_redirect_uri(
    suite: Suite, uri: str
) -> None:
    async with suite.signed_in() as (freddie, hint):
        page = await suite.leave(freddie, id_token_hint=hint, post_logout_redirect_uri=uri, state="x")
        assert (page.status, stays(suite, page)) == (400, True)
        assert await suite.is_signed_in(freddie)


async def test_oidcc_rp_initiated_logout_modified_and_bad_id_token_hint(suite: Suite) -> None:
    async with suite.signed_in() as (freddie, hint):
        head, body, signature = hint.split(".")
        claims = unverified(hint)
        with_secret = jwt.encode(claims, suite.client_secret, algorithm="HS256")
        unsigned = jwt.encode(claims, "", algorithm="none")
        for bad in (f"{head}.{body}.{signature[::-1]}", f"{head}.{body[:-2]}.{signature}", with_secret, unsigned, "x"):
            page = await suite.leave(freddie, id_token_hint=bad, post_logout_redirect_uri=AFTERWARDS, state="x")
            assert (page.status, stays(suite, page)) == (400, True), bad
        assert await suite.is_signed_in(freddie)


async def test_oidcc_backchannel_rp_initiated_logout(suite: Suite) -> None:
    async with suite.signed_in() as (freddie, hint):
        page = await suite.leave(freddie, id_token_hint=hint, post_logout_redirect_uri=AFTERWARDS, state="x")
        assert led_back(page) == {"state": ["x"]}
        mine = unverified(hint)

        def arrived() -> list[str]:
            return [one for one in suite.receiver.tokens if unverified(one)["sid"] == mine["sid"]]

        await eventually(lambda: bool(arrived()), 30)
        (token,) = arrived()
        async with httpx.AsyncClient(trust_env=False) as client:
            jwks = jwt.PyJWKSet.from_dict((await client.get((await suite.metadata())["jwks_uri"])).json())
        key = jwks[jwt.get_unverified_header(token)["kid"]]
        claims = jwt.decode(token, key.key, algorithms=["RS256"], audience=suite.client_id, issuer=mine["iss"])
        assert claims["sub"] == mine["sub"]
        assert "nonce" not in claims
        assert list(claims["events"]) == ["http://schemas.openid.net/event/backchannel-logout"]
        assert not await suite.is_signed_in(freddie)
