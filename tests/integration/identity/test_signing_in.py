from urllib.parse import parse_qs, urlsplit

import pytest

from services.identity.events import SessionReauthenticated, SessionStarted, UserKind
from tests.support.fake_issuer import CALLBACK
from tests.support.identity_service import PASSWORD, Identity, authorization, sign_in


async def test_the_way_of_freddie(identity: Identity) -> None:
    sub = await identity.register(display_name="Freddie")
    browser = identity.browser()

    page = await browser.get(authorization())
    assert (page.status, page.path) == (200, "/id/signin")
    assert "BackstageHub" in page.text

    page = await browser.submit(page, user_name="Freddie", password=PASSWORD, action="sign_in")
    assert (page.status, page.path) == (200, "/id/consent")
    assert "see your tours" in page.text

    page = await browser.submit(page, decision="allow")
    assert page.status == 303
    assert page.location.startswith(CALLBACK)
    assert page.answer == {"code": "code-1", "state": "st4te"}

    (issued,) = identity.issuer.issued
    (started,) = await identity.facts("SessionStarted")
    (given,) = await identity.facts("ConsentGiven")
    assert isinstance(started.event, SessionStarted)
    assert (issued.sub, issued.sid) == (sub, started.event.sid)
    assert list(issued.consented_scopes) == ["openid", "read"]
    assert list(issued.amr) == ["pwd"]
    assert issued.auth_time.ToDatetime(identity.clock.now.tzinfo) == identity.clock.now
    assert issued.minimum_position == given.position
    assert started.actor == given.actor == f"user:{sub}"


async def test_the_request_reaches_the_issuer_as_it_came(identity: Identity) -> None:
    await identity.browser().get("/id/connect/authorize?b=2&a=1&b=3&empty=&plus=a+b&percent=%C3%A9")
    assert identity.issuer.begun == [
        [("b", "2"), ("a", "1"), ("b", "3"), ("empty", ""), ("plus", "a b"), ("percent", "é")]
    ]


async def test_a_second_application_needs_no_second_sign_in(identity: Identity) -> None:
    await identity.register()
    browser = identity.browser()
    await browser.submit(await sign_in(browser), decision="allow")
    page = await browser.get(authorization())
    assert page.location.startswith(CALLBACK)
    assert page.answer["code"] == "code-2"
    assert len(await identity.facts("SessionStarted")) == 1


async def test_a_request_by_post_comes_to_the_same_end(identity: Identity) -> None:
    await identity.register()
    browser = identity.browser()
    await browser.submit(await sign_in(browser), decision="allow")
    query = parse_qs(urlsplit(authorization()).query)
    # A browser sends no SameSite cookie with a form of another site, so the session must not be looked for yet.
    posted = await browser.send("POST", "/id/connect/authorize", data=query)
    assert posted.status == 303
    assert urlsplit(posted.location).path == "/id/consent"
    page = await browser.get(posted.location)
    assert page.answer["code"] == "code-2"


async def test_community_users_sign_in(identity: Identity) -> None:
    await identity.register("fan", PASSWORD, UserKind.COMMUNITY)
    page = await sign_in(identity.browser(), "fan")
    assert page.path == "/id/consent"


async def test_the_name_is_read_as_it_was_meant(identity: Identity) -> None:
    await identity.register("freddie")
    for written in ("FREDDIE", " freddie ", "ｆreddie"):  # noqa: RUF001  (full width, on purpose)
        assert (await sign_in(identity.browser(), written)).path == "/id/consent"


async def test_what_the_issuer_refuses_is_shown_and_leads_nowhere(identity: Identity) -> None:
    page = await identity.browser().get(authorization(redirect_uri="https://evil.example/"))
    assert page.status == 400
    assert "location" not in page.headers
    assert "redirect_uri is not registered here" in page.text
    assert "evil.example" not in page.response.text


async def test_what_belongs_to_the_application_goes_back_to_it(identity: Identity) -> None:
    page = await identity.browser().get(authorization(response_type="token"))
    assert page.status == 303
    assert page.answer["error"] == "unsupported_response_type"


async def test_login_hint_fills_in_the_name(identity: Identity) -> None:
    page = await identity.browser().get(authorization(login_hint="freddie"))
    assert page.form.fields["user_name"] == "freddie"


async def test_cancelling_goes_back_with_nothing(identity: Identity) -> None:
    browser = identity.browser()
    page = await browser.get(authorization())
    page = await browser.submit(page, action="cancel")
    assert page.answer == {"error": "access_denied", "state": "st4te"}


async def test_signing_in_without_an_application_leads_to_the_account(identity: Identity) -> None:
    await identity.register(given_name="Farrokh", family_name="Bulsara")
    browser = identity.browser()
    page = await browser.get("/id/account/password")
    assert page.path == "/id/signin"
    page = await browser.submit(page, user_name="freddie", password=PASSWORD)
    assert page.path == "/id/account/password"
    page = await browser.get("/id/account")
    assert "Farrokh Bulsara" in page.text


class TestPrompts:
    @pytest.fixture(autouse=True)
    async def _freddie(self, identity: Identity) -> None:
        self.sub = await identity.register()
        self.browser = identity.browser()
        await self.browser.submit(await sign_in(self.browser), decision="allow")

    async def test_none_with_everything_there(self) -> None:
        page = await self.browser.get(authorization(prompt="none"))
        assert "code" in page.answer

    async def test_none_with_nobody(self, identity: Identity) -> None:
        page = await identity.browser().get(authorization(prompt="none"))
        assert page.answer == {"error": "login_required", "state": "st4te"}

    async def test_none_without_consent(self) -> None:
        page = await self.browser.get(authorization(prompt="none", scope="openid update"))
        assert page.answer["error"] == "consent_required"

    async def test_none_with_a_sign_in_that_is_too_old(self, identity: Identity) -> None:
        identity.clock.forward(minutes=5)
        page = await self.browser.get(authorization(prompt="none", max_age="60"))
        assert page.answer["error"] == "login_required"

    async def test_login_asks_again_within_the_session(self, identity: Identity) -> None:
        identity.clock.forward(minutes=5)
        page = await self.browser.get(authorization(prompt="login"))
        assert page.path == "/id/signin"
        assert page.form.fields["user_name"] == "freddie"
        page = await self.browser.submit(page, password=PASSWORD)
        assert "code" in page.answer
        (again,) = await identity.facts("SessionReauthenticated")
        (started,) = await identity.facts("SessionStarted")
        assert isinstance(again.event, SessionReauthenticated)
        assert isinstance(started.event, SessionStarted)
        assert again.event.sid == started.event.sid == identity.issuer.issued[-1].sid
        assert again.event.secret_digest != started.event.secret_digest
        assert identity.issuer.issued[-1].auth_time.ToDatetime(identity.clock.now.tzinfo) == identity.clock.now
        assert identity.issuer.issued[-1].minimum_position == again.position

    async def test_max_age(self, identity: Identity) -> None:
        identity.clock.forward(seconds=61)
        assert "code" in (await self.browser.get(authorization(max_age="61"))).answer
        page = await self.browser.get(authorization(max_age="60"))
        assert page.path == "/id/signin"
        identity.clock.forward(seconds=61)
        assert "code" in (await self.browser.submit(page, password=PASSWORD)).answer

    async def test_max_age_of_nothing_is_like_login_and_ends(self) -> None:
        page = await self.browser.get(authorization(max_age="0"))
        assert page.path == "/id/signin"
        assert "code" in (await self.browser.submit(page, password=PASSWORD)).answer

    async def test_consent_asks_always(self) -> None:
        page = await self.browser.get(authorization(prompt="consent"))
        assert page.path == "/id/consent"
        assert "code" in (await self.browser.submit(page, decision="allow")).answer

    async def test_select_account_with_the_one_there(self) -> None:
        page = await self.browser.get(authorization(prompt="select_account"))
        assert page.path == "/id/signin/choose"
        assert "code" in (await self.browser.submit(page)).answer

    async def test_select_account_with_another_one(self, identity: Identity) -> None:
        brian = await identity.register("brian", "red-special-1963")
        page = await self.browser.get(authorization(prompt="select_account"))
        page = await self.browser.get(page.links[0])
        page = await self.browser.submit(page, user_name="brian", password="red-special-1963")
        assert page.path == "/id/consent"
        await self.browser.submit(page, decision="allow")
        assert identity.issuer.issued[-1].sub == brian

    async def test_not_you(self, identity: Identity) -> None:
        brian = await identity.register("brian", "red-special-1963")
        page = await self.browser.get(authorization(prompt="consent"))
        page = await self.browser.get(page.links[0])
        assert page.path == "/id/signin"
        page = await self.browser.submit(page, user_name="brian", password="red-special-1963")
        await self.browser.submit(page, decision="allow")
        assert identity.issuer.issued[-1].sub == brian

    async def test_the_application_asked_for_somebody_else(self, identity: Identity) -> None:
        brian = await identity.register("brian", "red-special-1963")
        page = await self.browser.get(authorization(id_token_hint=brian))
        assert page.path == "/id/signin"
        before = self.browser.cookies()
        refused = await self.browser.submit(page, user_name="freddie", password=PASSWORD)
        assert refused.status == 422
        assert "another account" in refused.text
        assert self.browser.cookies() == before
        page = await self.browser.submit(refused, user_name="brian", password="red-special-1963")
        await self.browser.submit(page, decision="allow")
        assert identity.issuer.issued[-1].sub == brian

    async def test_somebody_else_without_a_page(self) -> None:
        page = await self.browser.get(authorization(id_token_hint="brian", prompt="none"))
        assert page.answer["error"] == "login_required"
