"""The console at a running system: what administrators and auditors do there."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import httpx
import pytest

from infra.local.sign_in import CodeFlow, Visitor
from infra.local.system import System
from tests.support.console import AUDITOR, BRIAN, FREDDIE, Desk, Someone, desk
from tests.support.work import eventually


def _name() -> str:
    return f"com.example/{uuid4().hex}"


@pytest.fixture
async def brian(console: str) -> AsyncIterator[Desk]:
    async with desk(console, BRIAN) as one:
        await one.sign_in()
        yield one


async def _registered(brian: Desk, client_id: str, **fields: str) -> str:
    """Its secret."""
    wanted = {"client_id": client_id, "display_name": "Of a test", "redirect_uris": "https://app.example/cb", **fields}
    form = await brian.get("/applications/register")
    page = await brian.press_once(form, "/applications/register", scopes="read", **wanted)
    assert page.status == 200, page.text
    assert page.headers["cache-control"] == "no-store"
    secret = re.search(r'<output class="secret" id="secret">([^<]+)</output>', page.response.text)
    assert secret is not None, page.text
    return secret.group(1)


async def _token_of(system: System, client_id: str, secret: str) -> httpx.Response:
    """What the issuer says to the application itself."""
    async with httpx.AsyncClient(trust_env=False) as client:
        form = {"grant_type": "client_credentials", "scope": "read"}
        return await client.post(f"{system.ports.issuer}/connect/token", data=form, auth=(client_id, secret))


async def test_an_application_from_its_registration_to_its_end(system: System, brian: Desk) -> None:
    client_id = _name()
    secret = await _registered(brian, client_id, **{"grants:client_credentials": "yes"})
    show = f"/applications/show?id={client_id}"

    async def gets_tokens() -> bool:
        return (await _token_of(system, client_id, secret)).is_success

    async def gets_none() -> bool:
        return not await gets_tokens()

    await eventually(gets_tokens)
    page = await brian.get(show)
    assert secret not in page.response.text
    assert "Of a test" in page.text

    changed = await brian.press(
        await brian.get(f"/applications/change?id={client_id}"),
        "/applications/change",
        display_name="Another name",
        redirect_uris="https://app.example/cb\r\nhttps://app.example/other",
    )
    assert "The application is changed." in changed.text
    assert "Another name" in changed.text
    assert "https://app.example/other" in changed.text

    disabled = await brian.press(changed, "/applications/disable", reason="of a test")
    assert "Disabled" in disabled.text
    await eventually(gets_none)
    enabled = await brian.press(disabled, "/applications/enable")
    assert "The application is enabled" in enabled.text
    await eventually(gets_tokens)

    added = await brian.press_once(enabled, "/applications/add-secret")
    assert 'id="secret"' in added.response.text
    two = await brian.get(show)
    assert sum(form.action.endswith("/revoke-secret") for form in two.forms) == 2
    revoked = await brian.press(two, "/applications/revoke-secret")
    assert "The secret is not accepted any more." in revoked.text

    unsure = await brian.press(revoked, "/applications/uninstall", typed="com.example/other")
    assert unsure.status == 400
    assert "Another name" in (await brian.get(show)).text
    gone = await brian.press(await brian.get(show), "/applications/uninstall", typed=client_id)
    assert "The application is uninstalled." in gone.text
    missing = await brian.get(show)
    assert (missing.status, "application_not_found" in missing.text) == (404, True)


async def test_what_a_service_refuses_is_told_in_its_words_and_nothing_typed_is_lost(brian: Desk) -> None:
    form = await brian.get("/applications/register")
    wanted = {"client_id": "com.stagedoor/mine", "display_name": "Mine", "redirect_uris": "https://mine.example/cb"}
    page = await brian.press_once(form, "/applications/register", scopes="read", **wanted)
    assert page.status == 422
    assert "the names below com.stagedoor/ are the system's own" in page.text.lower()
    assert page.forms[0].fields["client_id"] == "com.stagedoor/mine"
    assert "https://mine.example/cb" in page.response.text


async def test_a_form_sent_twice_counts_once(brian: Desk) -> None:
    client_id = _name()
    form = await brian.get("/applications/register")
    wanted = {"client_id": client_id, "display_name": "Twice", "redirect_uris": "https://app.example/cb"}
    pages = [await brian.press_once(form, "/applications/register", scopes="read", **wanted) for _ in range(2)]
    assert [page.status for page in pages] == [200, 200]
    shown = [re.search(r'id="secret">([^<]+)<', page.response.text) for page in pages]
    assert all(shown)
    assert len({found.group(1) for found in shown if found}) == 1


async def test_what_somebody_else_changed_meanwhile_is_not_undone(brian: Desk) -> None:
    client_id = _name()
    await _registered(brian, client_id)
    early, late = [await brian.get(f"/applications/change?id={client_id}") for _ in range(2)]
    assert "is changed" in (await brian.press(early, "/applications/change", contact="first")).text
    refused = await brian.press_once(late, "/applications/change", contact="second")
    assert refused.status == 409
    assert "first" in (await brian.get(f"/applications/show?id={client_id}")).text


async def test_resources(brian: Desk) -> None:
    name = uuid4().hex
    identifier = f"https://{name}.example/api"
    form = await brian.get("/resources/register")
    wrong = await brian.press_once(form, "/resources/register", identifier=identifier, display_name="X", scopes=name)
    assert wrong.status == 422
    scopes = f"{name}=see what a test sees"
    page = await brian.press(
        form, "/resources/register", identifier=identifier, display_name="X", scopes=scopes, callers="operator"
    )
    assert "see what a test sees" in page.text
    change = await brian.get(f"/resources/change?id={identifier}")
    page = await brian.press(change, "/resources/change", display_name="Y", scopes=scopes, callers="service/console")
    assert "service/console" in page.text
    gone = await brian.press(page, "/resources/remove", typed=identifier)
    assert "The resource is removed." in gone.text
    assert identifier not in gone.text


async def test_a_user_from_beginning_to_end(brian: Desk) -> None:
    name = f"roger-{uuid4().hex[:12]}"
    roger = await Someone.added(brian, name)
    assert name not in (await brian.get("/users")).url
    found = await brian.press(await brian.get("/users"), "/users/find", user_name=name)
    assert found.url.endswith(f"/users/show?id={roger.sub}")

    change = await brian.get(f"/users/change?id={roger.sub}")
    changed = await brian.press(change, "/users/change", given_name="Roger", locale="en-GB", **{"roles:auditor": "yes"})
    assert "Roger" in changed.text
    assert "auditor" in changed.text

    unlike = await brian.press(
        changed, "/users/reset-password", password="radio-ga-ga-1984", password_again="something-else-1984"
    )
    assert unlike.status == 400
    password = "i-am-in-love-1975"
    show = f"/users/show?id={roger.sub}"
    again = {"password": password, "password_again": password}
    assert "has another password" in (await brian.press(await brian.get(show), "/users/reset-password", **again)).text

    async with desk(brian.console, (name, password)) as his:
        assert "The administrators" in (await his.sign_in()).text
        page = await brian.get(show)
        ended = await brian.press(page, "/users/end-session")
        assert "That session has ended." in ended.text

        async def out() -> bool:
            return (await his.get("/log")).path == "/id/signin"

        await eventually(out)

    disabled = await brian.press(await brian.get(show), "/users/disable", reason="of a test")
    assert "The user is disabled" in disabled.text
    assert "The user is enabled" in (await brian.press(disabled, "/users/enable")).text
    kept = await brian.press(await brian.get(show), "/users/erase", typed="somebody")
    assert kept.status == 400
    gone = await brian.press(await brian.get(show), "/users/erase", typed=name)
    assert "The user is erased." in gone.text
    assert (await brian.get(show)).status == 404


async def test_tokens_grants_and_keys(system: System, brian: Desk) -> None:
    hub = next(one for one in system.demo["applications"] if one["client_id"] == "com.backstagehub/app")
    flow = CodeFlow(system.ports.issuer, hub["client_id"], hub["redirect_uris"][0], "openid read")
    async with Visitor(*FREDDIE) as freddie:
        code = flow.code(await freddie.go(flow.address))
    token = str((await flow.redeem(code, client_secret=hub["client_secret"]))["access_token"])

    tokens = await brian.get("/tokens")
    audience = f"{system.ports.origin}/api"

    async def look(text: str) -> str:
        page = await brian.press_once(tokens, "/tokens/look", token=text, audience=audience)
        assert page.status == 200, page.text
        assert text not in page.response.text
        assert text not in page.url
        return page.response.text

    async def accepted() -> bool:
        return "It is accepted" in await look(token)

    await eventually(accepted)
    answer = await look(token)
    jti = re.search(r"<dt>jti</dt><dd><bdi>([^<]+)<", answer)
    gid = re.search(r"<dt>gid</dt><dd><bdi>([^<]+)<", answer)
    assert jti
    assert gid
    assert "It is refused" in await look(f"{token[:-20]}{token[-10:]}")

    # Explained by its id, then taken back, and explained once more.
    explained = await brian.get(f"/log/explain?jti={jti.group(1)}")
    assert "Accepted" in explained.text
    assert "token_issuer.AccessTokenIssued" in explained.text or "token_issuer.CodeRedeemed" in explained.text
    assert "It is revoked" in (await brian.press(tokens, "/tokens/revoke", token=token)).text

    async def denied() -> bool:
        return "denied_token" in await look(token)

    await eventually(denied)
    assert "Refused" in (await brian.get(f"/log/explain?jti={jti.group(1)}")).text
    nothing = await brian.press_once(await brian.get("/tokens"), "/tokens/revoke", token="stagedoor_nothing")
    assert nothing.status in (400, 404)

    sub = re.search(r"<dt>sub</dt><dd><bdi>([^<]+)<", answer)
    assert sub
    grants = await brian.get(f"/grants?client_id={hub['client_id']}&sub={sub.group(1)}")
    form = next(form for form in grants.forms if form.fields.get("gid") == gid.group(1))
    ended = await brian.once("POST", "/grants/end", data=form.fields)
    assert "The grant has ended" in (await brian.follow(ended)).text

    assert (await brian.get("/references")).status == 200
    keys = await brian.get("/keys")
    assert "active" in keys.text
    kid = next(form.fields["kid"] for form in keys.forms if "kid" in form.fields)
    assert (await brian.press(keys, "/keys/compromise", typed="another")).status == 400
    assert kid in (await brian.get("/keys")).text


async def test_the_log_newest_first_and_narrowed(brian: Desk) -> None:
    client_id = _name()
    await _registered(brian, client_id)
    await brian.press(
        await brian.get(f"/applications/show?id={client_id}"), "/applications/disable", reason="seen later"
    )
    page = await brian.get(f"/log?client_ids={client_id}")
    types = re.findall(r'data-field="type">([^<]+)<', page.response.text)
    assert types == ["registry.ApplicationDisabled", "registry.SecretAdded", "registry.ApplicationRegistered"]
    assert "seen later" in page.text
    page = await brian.get(f"/log?client_ids={client_id}&types=registry.SecretAdded&since=2020-01-01")
    assert re.findall(r'data-field="type">([^<]+)<', page.response.text) == ["registry.SecretAdded"]
    assert "No such events there." in (await brian.get(f"/log?client_ids={client_id}&before=2020-01-01")).text
    for wrong in ("since=yesterday", "until=-1", "until=x"):
        assert (await brian.get(f"/log?{wrong}")).status == 400
    everything = await brian.get("/log")
    older = next(link for link in everything.links if "until=" in link) if "Older" in everything.text else ""
    assert not older or (await brian.get(older.removeprefix("/console"))).status == 200


@asynccontextmanager
async def _following(who: Desk, path: str, headers: dict[str, str]) -> AsyncIterator[AsyncIterator[str]]:
    async with who.browser.stream("GET", f"{who.console}{path}", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield answer.aiter_lines()


async def test_events_are_seen_as_they_happen_and_taken_up_where_they_were_left(brian: Desk) -> None:
    client_id = _name()
    live = await brian.get(f"/log/live?client_ids={client_id}")
    source = next(given["data-source"] for _, given in live.tags if "data-source" in given).removeprefix("/console")
    seen: list[tuple[int, str]] = []

    async def until(lines: AsyncIterator[str], wanted: str) -> None:
        position = 0
        async for line in lines:
            if line.startswith("id: "):
                position = int(line[4:])
            if line.startswith("data: {"):
                seen.append((position, json.loads(line[6:])["type"]))
                if seen[-1][1] == wanted:
                    return

    async with asyncio.timeout(60):
        async with _following(brian, source, {}) as lines:
            await _registered(brian, client_id)
            await until(lines, "registry.SecretAdded")
        first = seen[0][0]
        seen.clear()
        async with _following(brian, source, {"Last-Event-ID": str(first)}) as lines:
            await until(lines, "registry.SecretAdded")
    assert [kind for _, kind in seen] == ["registry.SecretAdded"]


async def test_an_auditor_sees_the_log_and_nothing_else(console: str) -> None:
    async with desk(console, AUDITOR) as auditor:
        page = await auditor.sign_in()
        assert {link.removeprefix("/console") for link in page.links} == {"/log", "/log/explain", "/log/live"}
        assert (await auditor.get("/log")).status == 200
        assert (await auditor.get("/log/explain")).status == 200


async def test_signing_out_is_out_everywhere(console: str, brian: Desk) -> None:
    page = await brian.press(await brian.get("/"), "/sign-out")
    assert page.url == f"{console}/signed-out"
    assert (await brian.get("/users")).path == "/id/signin"


async def test_a_restart_costs_nobody_a_password(system: System, brian: Desk) -> None:
    before = dict(brian.cookies)
    await system.stop_part("console")
    await system.start_part("console")

    async def there() -> bool:
        try:
            answer = await brian.once("GET", "/users")
        except httpx.HTTPError:
            return False
        return answer.status < 500

    await eventually(there, 60)
    page = await brian.get("/users")
    assert page.path == "/console/users"
    assert brian.cookies["stagedoor_console"] != before["stagedoor_console"]
