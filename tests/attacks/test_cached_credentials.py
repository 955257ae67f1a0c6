"""Tokens and codes that a cache, a history or the next site sees (RFC 6749 section 5.1, RFC 9700 section 4.2)."""

from urllib.parse import parse_qs, urlsplit

import httpx

from infra.local.sign_in import Visitor
from tests.support.doors import FREDDIE, HUB, Doors


def kept_by_nobody(answer: httpx.Response) -> bool:
    return answer.headers["cache-control"] == "no-store" and answer.headers["referrer-policy"] in (
        "no-referrer",
        "same-origin",
    )


async def test_no_answer_with_a_secret_in_it_is_kept_or_told(doors: Doors) -> None:
    seen: list[httpx.Response] = []

    async def note(answer: httpx.Response) -> None:
        seen.append(answer)

    flow = doors.flow("openid profile")
    async with Visitor(*FREDDIE) as freddie:
        freddie.browser.event_hooks["response"].append(note)
        code = flow.code(await freddie.go(flow.address))
    assert len(seen) > 2
    assert all(kept_by_nobody(answer) for answer in seen)
    assert [answer.status_code for answer in seen if answer.request.method == "POST"] == [303] * sum(
        answer.request.method == "POST" for answer in seen
    )
    (last,) = [answer for answer in seen if code in answer.headers.get("location", "")]
    assert last.headers["referrer-policy"] == "no-referrer"
    # Nothing but what the protocol has is in the addresses.
    assert set(parse_qs(urlsplit(last.headers["location"]).query)) == {"code", "state", "iss"}
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": flow.redirect_uri,
        "code_verifier": flow.verifier,
    }
    token = await doors.http.post(f"{doors.issuer}/connect/token", data=form, auth=doors.secret())
    bearer = {"Authorization": f"Bearer {token.json()['access_token']}"}
    for answer in (
        token,
        await doors.http.post(f"{doors.issuer}/connect/token", data=form, auth=doors.secret()),
        await doors.http.post(f"{doors.issuer}/connect/introspect", data={"token": "x"}, auth=doors.secret()),
        await doors.http.get(f"{doors.issuer}/connect/userinfo", headers=bearer),
        await doors.http.get(f"{doors.origin}/api/tours", headers=doors.bearer),
    ):
        assert kept_by_nobody(answer), answer.url


async def test_every_answer_refuses_frames_and_guesses_about_its_type(doors: Doors) -> None:
    """Clickjacking, and what browsers make of JSON."""
    for address in (
        f"{doors.issuer}/signin",
        f"{doors.issuer}/nowhere",
        f"{doors.issuer}/.well-known/openid-configuration",
        f"{doors.issuer}/connect/jwks",
        f"{doors.issuer}/connect/token",
        f"{doors.issuer}/connect/userinfo",
        f"{doors.issuer}/connect/authorize?client_id={HUB}",
        f"{doors.origin}/api/tours",
    ):
        answer = await doors.http.get(address)
        assert answer.headers["x-frame-options"] == "DENY", address
        assert answer.headers["x-content-type-options"] == "nosniff", address
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"], address
