"""Cross-site scripting: what others wrote, on our pages."""

import pytest

from protos.stagedoor.tokens.v1 import tokens_pb2 as pb
from tests.support.browsing import Page
from tests.support.identity_service import PASSWORD, Identity, authorization, sign_in

EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{31337*7}}"


def harmless(page: Page) -> bool:
    tags = {tag for tag, _ in page.tags}
    handlers = [name for _, given in page.tags for name in given if name.startswith("on")]
    return "script" not in tags and not handlers and "219359" not in page.text


async def test_the_name_of_an_application(identity: Identity) -> None:
    await identity.register()
    identity.issuer.change(display_name=EVIL, contact=EVIL)
    browser = identity.browser()
    for page in (await browser.get(authorization()), await sign_in(browser)):
        assert harmless(page)
        assert "<script>alert(1)</script>" in page.text
    page = await browser.get("/id/connect/endsession", params={"client_id": "com.backstagehub/app"})
    assert harmless(page)


@pytest.mark.parametrize(
    "uri", ["javascript:alert(1)", "data:text/html,<script>", "http://evil.example/x.png", f"https://x/{EVIL}"]
)
async def test_the_logo_of_an_application(identity: Identity, uri: str) -> None:
    await identity.register()
    identity.issuer.change(logo_uri=uri)
    page = await sign_in(identity.browser())
    assert harmless(page)
    sources = [given["src"] for tag, given in page.tags if tag == "img"]
    assert all(source.startswith("https://") for source in sources)


async def test_the_name_of_a_person(identity: Identity) -> None:
    await identity.register(display_name=EVIL)
    browser = identity.browser()
    page = await sign_in(browser)
    assert harmless(page)
    assert harmless(await browser.get("/id/account"))


@pytest.mark.parametrize("name", [EVIL, "a\u202eb", "x" * 5000])
async def test_what_was_typed(identity: Identity, name: str) -> None:
    page = await identity.browser().get(authorization())
    page = await identity.browser().get(authorization(login_hint=name))
    assert harmless(page)
    browser = identity.browser()
    page = await browser.submit(await browser.get(authorization()), user_name=name, password=PASSWORD)
    assert harmless(page)
    assert PASSWORD not in page.response.text


async def test_what_stands_in_the_address(identity: Identity) -> None:
    browser = identity.browser()
    for path in (f"/id/{EVIL}", "/id/static/../main.py", "/id/static/..%2fmain.py", "/id/static/base.html"):
        page = await browser.send("GET", path)
        assert page.status == 404
        assert harmless(page)
        assert "alert(1)" not in page.response.text


async def test_what_ones_own_page_shows(identity: Identity) -> None:
    """Names of applications, of tokens and of browsers are other people's text."""
    await identity.register(display_name=EVIL)
    own = identity.issuer.own
    scope = pb.RequestedScope(name="read", description=EVIL)
    own.acting.append(
        pb.ConnectedApplication(
            client_id=EVIL,
            display_name=EVIL,
            contact=EVIL,
            logo_uri="javascript:alert(1)",
            scopes=[scope],
            enabled=True,
        )
    )
    own.references.append(
        pb.OwnReference(reference=pb.Reference(jti=EVIL, label=EVIL, scopes=[EVIL], state="active"), display_name=EVIL)
    )
    own.offers[:] = [pb.Offer(client_id=name, display_name=EVIL, scopes=[scope]) for name in ("a", EVIL)]
    browser = identity.browser()
    browser.client.headers["user-agent"] = EVIL
    await sign_in(browser)
    pages = [
        await browser.get("/id/account"),
        await browser.get("/id/account/tokens/new"),
        await browser.get("/id/account/tokens/new?application=a"),
    ]
    for page in pages:
        assert harmless(page)
        assert "<script>alert(1)</script>" in page.text
    made = await browser.submit_once(pages[-1], label=EVIL[:60], days="7", **{"scope:read": "on"})
    assert harmless(made)
    assert "<script>alert(1)</script>" in made.text
    for query in ("done=%3Cscript%3Ealert(1)%3C/script%3E", "application=%3Cscript%3E"):
        for path in ("/id/account", "/id/account/tokens/new"):
            assert harmless(await browser.get(f"{path}?{query}"))
