"""Cross-site request forgery: a form that another site has somebody's browser send."""

import pytest

from protos.stagedoor.tokens.v1 import tokens_pb2 as pb
from tests.support.browsing import Browser, Form, Page
from tests.support.identity_service import PASSWORD, Identity, authorization, sign_in

FOREIGN = [
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "none"},
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:8480"},
    {"origin": "http://127.0.0.1:8400.evil.example"},
    {"origin": "https://127.0.0.1:8400"},
    {"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1:8400"},
    {"sec-fetch-site": "same-origin", "origin": "https://evil.example"},
]
OWN = [{}, {"sec-fetch-site": "same-origin"}, {"origin": "http://127.0.0.1:8400", "sec-fetch-site": "same-origin"}]


@pytest.fixture
async def freddie(identity: Identity) -> Browser:
    await identity.register()
    return identity.browser()


async def post(browser: Browser, page: Page, headers: dict[str, str] | None = None, **fields: str) -> Page:
    return await browser.send("POST", page.form.action, data={**page.form.fields, **fields}, headers=headers or {})


def refused(page: Page) -> bool:
    return page.status == 403 and "location" not in page.headers and "set-cookie" not in page.headers


async def test_signing_in_from_another_site(identity: Identity, freddie: Browser) -> None:
    page = await freddie.get(authorization())
    before = identity.parts.passwords.verifications
    for headers in FOREIGN:
        assert refused(await post(freddie, page, headers, user_name="freddie", password=PASSWORD)), headers
    assert identity.parts.passwords.verifications == before
    assert await identity.facts("SessionStarted") == []


async def test_signing_in_from_here(identity: Identity, freddie: Browser) -> None:
    for headers in OWN:
        page = await freddie.get("/id/signin")
        assert (await post(freddie, page, headers, user_name="freddie", password=PASSWORD)).status == 303, headers
    assert len(await identity.facts("SessionStarted")) == 1
    assert len(await identity.facts("SessionReauthenticated")) == len(OWN) - 1


async def test_consenting_from_another_site(identity: Identity, freddie: Browser) -> None:
    page = await sign_in(freddie)
    for headers in FOREIGN:
        for decision in ("allow", "deny"):
            assert refused(await post(freddie, page, headers, decision=decision)), headers
    assert await identity.facts("ConsentGiven") == []
    assert identity.issuer.issued == []
    assert identity.issuer.refused == []


async def test_signing_out_from_another_site(identity: Identity, freddie: Browser) -> None:
    await sign_in(freddie)
    page = await freddie.get("/id/connect/endsession")
    for headers in FOREIGN:
        assert refused(await post(freddie, page, headers, action="sign_out")), headers
    assert await identity.facts("SessionEnded") == []


async def test_a_password_from_another_site(identity: Identity, freddie: Browser) -> None:
    await sign_in(freddie)
    page = await freddie.get("/id/account/password")
    new = {"new_password": "crazy-little-thing", "new_password_again": "crazy-little-thing"}
    for headers in FOREIGN:
        assert refused(await post(freddie, page, headers, current_password=PASSWORD, **new)), headers
    assert await identity.facts("PasswordChanged") == []


OWN_PAGE = [
    ("/account/applications/stop", {"client_id": "com.backstagehub/app"}),
    ("/account/sessions/end", {}),
    ("/account/tokens/revoke", {"jti": "jti-1"}),
    ("/account/tokens/new", {"label": "x", "days": "7", "scope:read": "on"}),
]


async def own_page(identity: Identity, freddie: Browser, path: str) -> tuple[Page, Form]:
    """The form of Freddie's own page that leads to `path`."""
    await freddie.submit_once(await sign_in(freddie), decision="allow")
    identity.issuer.own.references.append(pb.OwnReference(reference=pb.Reference(jti="jti-1", state="active")))
    page = await freddie.get("/id/account/tokens/new" if path.endswith("new") else "/id/account")
    (form,) = [form for form in page.forms if form.action == f"/id{path}"]
    return page, form


async def nothing_happened(identity: Identity) -> bool:
    own = identity.issuer.own
    facts = [*await identity.facts("ConsentWithdrawn"), *await identity.facts("SessionEnded")]
    return not (facts or own.made or own.revoked)


@pytest.mark.parametrize(("path", "fields"), OWN_PAGE)
async def test_ones_own_page_from_another_site(
    identity: Identity, freddie: Browser, path: str, fields: dict[str, str]
) -> None:
    _, form = await own_page(identity, freddie, path)
    for headers in FOREIGN:
        page = await freddie.send("POST", form.action, data={**form.fields, **fields}, headers=headers)
        assert refused(page), headers
    assert await nothing_happened(identity)


@pytest.mark.parametrize(("path", "fields"), OWN_PAGE)
async def test_ones_own_page_with_a_token_for_something_else(
    identity: Identity, freddie: Browser, path: str, fields: dict[str, str]
) -> None:
    """What was made for another form, another application, session or token is worth nothing."""
    page, form = await own_page(identity, freddie, path)
    tokens = {other.fields["form"] for other in page.forms if other.action != form.action} | {"", "x", "1.x"}
    for token in tokens:
        answer = await freddie.send("POST", form.action, data={**form.fields, **fields, "form": token})
        assert refused(answer), token
    for name in ("client_id", "sid", "jti", "application", "once"):
        if name in form.fields:
            other = "6f9619ff-8b86-d011-b42d-00c04fc964ff" if name == "once" else "com.mallory/app"
            answer = await freddie.send("POST", form.action, data={**form.fields, **fields, name: other})
            assert refused(answer), name
    assert await nothing_happened(identity)


class TestTokens:
    """Where the headers are missing, the token in the form is what counts."""

    async def test_made_up(self, identity: Identity, freddie: Browser) -> None:
        made_up = ["", "x", "1.x", f"{'9' * 20}.x", "é.x", "-1.x"]
        page = await freddie.get(authorization())
        for token in made_up:
            assert refused(await post(freddie, page, form=token, user_name="freddie", password=PASSWORD)), token
        page = await sign_in(freddie)
        for token in made_up:
            assert refused(await post(freddie, page, form=token, decision="allow")), token
        assert await identity.facts("ConsentGiven") == []

    async def test_of_the_attackers_own_browser(self, identity: Identity, freddie: Browser) -> None:
        attacker = identity.browser()
        theirs = await attacker.get(authorization())
        page = await freddie.get(authorization())
        form = theirs.form.fields["form"]
        assert refused(await post(freddie, page, form=form, user_name="freddie", password=PASSWORD))
        # Nor with everything of the attacker's but the cookie: being signed in to a stranger's account is a trap.
        assert refused(await post(freddie, theirs, user_name="attacker", password=PASSWORD))

    async def test_of_another_application(self, identity: Identity, freddie: Browser) -> None:
        page = await sign_in(freddie, scope="read")
        other = await freddie.get(authorization(scope="openid read update"))
        assert refused(await post(freddie, page, form=other.form.fields["form"], decision="allow"))
        assert refused(await post(freddie, page, request=other.form.fields["request"], decision="allow"))
        assert await identity.facts("ConsentGiven") == []

    async def test_of_another_form(self, identity: Identity, freddie: Browser) -> None:
        consent = await sign_in(freddie)
        password = await freddie.get("/id/account/password")
        assert refused(await post(freddie, consent, form=password.form.fields["form"], decision="allow"))
        assert await identity.facts("ConsentGiven") == []

    async def test_of_the_session_before(self, identity: Identity, freddie: Browser) -> None:
        page = await sign_in(freddie)
        again = await freddie.get(authorization(prompt="login"))
        await freddie.submit(again, user_name="freddie", password=PASSWORD)
        assert refused(await post(freddie, page, decision="allow"))
        assert await identity.facts("ConsentGiven") == []

    async def test_of_yesterday(self, identity: Identity, freddie: Browser) -> None:
        page = await sign_in(freddie)
        password = await freddie.get("/id/account/password")
        identity.clock.forward(minutes=61)
        answer = await post(freddie, page, decision="allow")
        assert answer.status == 400
        assert "expired" in answer.text
        assert refused(await post(freddie, password, current_password=PASSWORD))
        assert await identity.facts("ConsentGiven") == []

    async def test_without_the_cookie(self, identity: Identity, freddie: Browser) -> None:
        page = await freddie.get(authorization())
        freddie.client.cookies.clear()
        assert refused(await post(freddie, page, user_name="freddie", password=PASSWORD))
        assert await identity.facts("SessionStarted") == []


async def test_a_form_twice_in_one_is_no_form(identity: Identity, freddie: Browser) -> None:
    page = await sign_in(freddie)
    body = "decision=deny&decision=allow&" + "&".join(f"{name}={value}" for name, value in page.form.fields.items())
    answer = await freddie.send(
        "POST", "/id/consent", content=body, headers={"content-type": "application/x-www-form-urlencoded"}
    )
    assert answer.status == 400
    assert identity.issuer.issued == []


async def test_forms_of_another_kind(identity: Identity, freddie: Browser) -> None:
    page = await sign_in(freddie)
    body = "&".join(f"{name}={value}" for name, value in {**page.form.fields, "decision": "allow"}.items())
    for kind in ("text/plain", "application/json", "multipart/form-data; boundary=x", ""):
        headers = {"content-type": kind} if kind else {}
        answer = await freddie.send("POST", "/id/consent", content=body, headers=headers)
        assert answer.status == 415, kind
    assert identity.issuer.issued == []
