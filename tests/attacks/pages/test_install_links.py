"""An install link that somebody else brings to an administrator's browser, and whoever else follows one."""

from collections.abc import Mapping
from urllib.parse import quote

import pytest

from protos.stagedoor.registry.v1 import registry_pb2
from services.identity.events import Role, UserKind
from tests.attacks.pages.test_clickjacking import policy, strict
from tests.attacks.pages.test_csrf import FOREIGN
from tests.attacks.pages.test_script_injection import EVIL, harmless
from tests.support.browsing import Browser, Page
from tests.support.fake_installation import DOCUMENT, SETLIST, described
from tests.support.identity_service import ISSUER, PASSWORD, Identity, sign_in

INSTALL = f"/id/install?document={quote(DOCUMENT, safe='')}"
UNINSTALL = f"/id/uninstall?client_id={quote(SETLIST, safe='')}"
OTHER = "https://evil.example/stagedoor.json"
LINKS = [(INSTALL, "install"), (UNINSTALL, "uninstall")]


async def signed_in(identity: Identity, user_name: str, *roles: Role, kind: UserKind = UserKind.INTERNAL) -> Browser:
    await identity.register(user_name, PASSWORD, kind, *roles)
    return await again(identity, user_name)


async def again(identity: Identity, user_name: str) -> Browser:
    browser = identity.browser()
    await browser.submit(await browser.get("/id/signin"), user_name=user_name, password=PASSWORD)
    return browser


@pytest.fixture
async def brian(identity: Identity) -> Browser:
    return await signed_in(identity, "brian", Role.ADMINISTRATOR)


def nothing_was_done(identity: Identity) -> bool:
    registry = identity.issuer.installation
    return registry.installed == registry.uninstalled == []


async def post(browser: Browser, page: Page, headers: Mapping[str, str] | None = None, /, **fields: str) -> Page:
    return await browser.send(
        "POST", page.form.action, data={**page.form.fields, **fields}, headers=dict(headers or {})
    )


@pytest.mark.parametrize(("link", "yes"), LINKS)
async def test_following_a_link_does_nothing(identity: Identity, brian: Browser, link: str, yes: str) -> None:
    for more in ("", f"&decision={yes}", "&once=1&digest=1&form=1"):
        await brian.get(link + more)
    assert nothing_was_done(identity)


@pytest.mark.parametrize(("link", "yes"), LINKS)
async def test_a_form_that_another_site_sends(identity: Identity, brian: Browser, link: str, yes: str) -> None:
    page = await brian.get(link)
    for headers in FOREIGN:
        assert (await post(brian, page, headers, decision=yes)).status == 403
    for form in (
        "",
        "1",
        page.form.fields["form"][::-1],
        (await brian.get("/id/account/password")).form.fields["form"],
    ):
        assert (await post(brian, page, decision=yes, form=form)).status == 403
    assert nothing_was_done(identity)


async def test_a_form_about_something_else(identity: Identity, brian: Browser) -> None:
    """What is approved is what was shown: no part of it can be exchanged for another."""
    identity.issuer.installation.documents[OTHER] = described(display_name="Evil", scopes=["read", "update"])
    mine, theirs = await brian.get(INSTALL), await brian.get(f"/id/install?document={quote(OTHER, safe='')}")
    for name in ("document", "digest", "once", "form"):
        assert (await post(brian, mine, decision="install", **{name: theirs.form.fields[name]})).status == 403, name
    both = {name: theirs.form.fields[name] for name in ("document", "digest", "once")}
    assert (await post(brian, mine, decision="install", **both)).status == 403
    ending = await brian.get(UNINSTALL)
    assert (await post(brian, ending, decision="uninstall", client_id="com.backstagehub/app")).status == 403
    assert (await post(brian, ending, decision="install")).status == 400
    assert nothing_was_done(identity)


async def test_a_form_of_another_session(identity: Identity, brian: Browser) -> None:
    roger = await signed_in(identity, "roger", Role.ADMINISTRATOR)
    page = await roger.get(INSTALL)
    assert (await post(brian, page, decision="install")).status == 403
    later = await again(identity, "brian")
    page = await brian.get(INSTALL)
    assert (await post(later, page, decision="install")).status == 403
    assert nothing_was_done(identity)


async def test_a_document_that_is_changed_while_it_is_looked_at(identity: Identity, brian: Browser) -> None:
    registry = identity.issuer.installation
    page = await brian.get(INSTALL)
    registry.documents[DOCUMENT] = described(scopes=["read", "update"], redirect_uris=["https://evil.example/cb"])
    page = await brian.submit_once(page, decision="install")
    assert page.status == 409
    assert registry.installed == []
    assert "The description was changed since you looked at it" in page.text
    assert "https://evil.example/cb" in page.text
    registry.documents[DOCUMENT] = described(display_name="Setlist 3")
    page = await brian.submit_once(page, decision="install")
    assert (page.status, registry.installed) == (409, [])
    assert "Install Setlist 3" in page.text
    page = await brian.submit_once(page, decision="install")
    assert (page.status, registry.installed) == (303, [SETLIST])


async def test_an_approval_that_is_sent_again(identity: Identity, brian: Browser) -> None:
    page = await brian.get(INSTALL)
    for _ in range(3):
        answer = await brian.submit_once(page, decision="install")
        assert answer.status == 303
    assert identity.issuer.installation.installed == [SETLIST]
    assert len(set(identity.issuer.installation.keys)) == 1
    identity.clock.forward(minutes=10, seconds=1)
    assert "/signin?then=install" in (await brian.submit_once(page, decision="install")).location


@pytest.mark.parametrize(("link", "yes"), LINKS)
async def test_nobody_but_an_administrator(identity: Identity, brian: Browser, link: str, yes: str) -> None:
    page = await brian.get(link)
    for number, (kind, roles) in enumerate(
        ((UserKind.INTERNAL, ()), (UserKind.INTERNAL, (Role.AUDITOR,)), (UserKind.COMMUNITY, ()))
    ):
        name = f"somebody-{number}"
        browser = await signed_in(identity, name, *roles, kind=kind)
        answer = await browser.get(link)
        assert answer.status == 403
        assert "This is for administrators" in answer.text
        assert "Setlist" not in answer.text
        assert (await post(browser, page, decision=yes)).status == 403
    stranger = identity.browser()
    assert (await stranger.get(link)).path == "/id/signin"
    assert (await post(stranger, page, decision=yes)).status == 403
    assert len(identity.issuer.installation.tokens) == 1, "nothing is fetched for anybody else"
    assert nothing_was_done(identity)


@pytest.mark.parametrize(("link", "yes"), LINKS)
async def test_who_was_an_administrator_when_the_page_was_opened(identity: Identity, link: str, yes: str) -> None:
    sub = await identity.register("roger", PASSWORD, UserKind.INTERNAL, Role.ADMINISTRATOR)
    roger = await again(identity, "roger")
    page = await roger.get(link)
    await identity.parts.accounts.change(sub, identity.context(), profile=None, roles=(), by="nobody")
    assert (await post(roger, page, decision=yes)).status == 403
    assert (await roger.get(link)).status == 403
    assert nothing_was_done(identity)


@pytest.mark.parametrize(("link", "yes"), LINKS)
async def test_a_screen_that_was_left_unlocked(identity: Identity, brian: Browser, link: str, yes: str) -> None:
    page = await brian.get(link)
    identity.clock.forward(minutes=10, seconds=1)
    answer = await post(brian, page, decision=yes)
    assert answer.status == 303
    assert answer.location.startswith(f"{ISSUER}/signin?then={yes}%20")
    page = await brian.get(link)
    assert page.path == "/id/signin"
    assert "Please sign in once more" in page.text
    assert page.form.fields["user_name"] == "brian"
    assert nothing_was_done(identity)
    assert (await brian.submit(page, password=PASSWORD)).path == f"/id/{yes}"


async def test_where_the_issuer_finds_the_sign_in_too_old(identity: Identity, brian: Browser) -> None:
    page = await brian.get(INSTALL)
    identity.issuer.stale = True
    assert (await brian.get(INSTALL)).path == "/id/signin"
    assert "/signin?then=install" in (await post(brian, page, decision="install")).location
    assert nothing_was_done(identity)


async def test_what_a_vendor_writes(identity: Identity, brian: Browser) -> None:
    registry = identity.issuer.installation
    registry.start = "https://setlist.example/begin"
    registry.documents[DOCUMENT] = described(
        display_name=EVIL, contact=EVIL, redirect_uris=[EVIL], jwks_uri=EVIL, logo_uri="https://evil.example/x.png"
    )
    page = await brian.get(INSTALL)
    assert harmless(page)
    assert "evil.example" not in page.response.text
    assert "You are at 127.0.0.1:8400" in page.text
    done = await brian.submit(page, decision="install")
    assert done.path == "/id/install/done"
    assert harmless(done)
    assert harmless(await brian.get(UNINSTALL))


async def test_inside_another_page(brian: Browser) -> None:
    page = await brian.get(INSTALL)
    pages = [page, await brian.get(UNINSTALL), await brian.submit(page, decision="install")]
    assert [one.status for one in pages] == [200, 200, 200]
    for one in pages:
        assert strict(one)
        assert policy(one)["form-action"] == ["'self'"]


@pytest.mark.parametrize(
    "then",
    [
        "install //evil.example",
        "install https://evil.example/",
        "uninstall \\\\evil.example",
        "https://evil.example install",
        "install",
        "install \r\nLocation: https://evil.example",
        "token https://evil.example/",
        " https://evil.example/",
    ],
)
async def test_a_sign_in_that_leads_elsewhere(identity: Identity, then: str) -> None:
    await identity.register("brian", PASSWORD, UserKind.INTERNAL, Role.ADMINISTRATOR)
    browser = identity.browser()
    page = await browser.send("GET", "/id/signin", params={"then": then})
    answer = await browser.submit_once(page, user_name="brian", password=PASSWORD, then=then)
    assert answer.status in (303, 400)
    if answer.status == 303:
        assert answer.location.partition("?")[0] in {f"{ISSUER}/{path}" for path in ("install", "uninstall", "account")}


async def test_the_page_that_tells_what_was_installed_tells_nothing_else(identity: Identity, brian: Browser) -> None:
    for sealed in ("", "x", "A" * 200, "A" * 30_000):
        assert (await brian.get(f"/id/install/done?installed={sealed}")).status == 400
    settings = registry_pb2.ApplicationSettings(display_name="Evil")
    assert settings.display_name not in (await brian.get("/id/install/done?installed=x&display_name=Evil")).text
    done = await brian.submit(await brian.get(INSTALL), decision="install")
    # What another page sealed is not for this one.
    login = await sign_in(identity.browser(), "nobody")
    assert (await brian.get(f"/id/install/done?installed={login.form.fields['request']}")).status == 400
    assert (await identity.browser().get(done.url)).path == "/id/signin"
