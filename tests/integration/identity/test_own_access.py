"""A person's own page: what acts for them, where they are signed in, their tokens."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from protos.stagedoor.tokens.v1 import tokens_pb2 as pb
from services.identity.devices import described
from services.identity.events import ConsentWithdrawn, SessionEnded, SessionEndReason
from services.identity.pages.moments import Moments
from shared.errors import Kind, Refusal
from tests.support.browsing import Browser, Form, Page
from tests.support.fake_own_access import HUB, SCOPES, TOKEN
from tests.support.identity_service import Identity, authorization, sign_in

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def form_to(page: Page, path: str, **fields: str) -> Form:
    """The one form of the page that leads there and has these fields."""
    (found,) = [form for form in page.forms if form.action == f"/id{path}" and fields.items() <= form.fields.items()]
    return found


def stamp(moment: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(moment)
    return message


@pytest.fixture
async def freddie(identity: Identity) -> Browser:
    """Signed in, with consent given to BackstageHub."""
    await identity.register(given_name="Freddie", zoneinfo="Europe/London")
    browser = identity.browser()
    browser.client.headers["user-agent"] = FIREFOX
    await browser.submit_once(await sign_in(browser), decision="allow")
    return browser


class TestApplications:
    async def test_each_says_what_it_may_do(self, freddie: Browser) -> None:
        page = await freddie.get("/id/account")
        assert "BackstageHub" in page.text
        assert "read your tours" in page.text
        assert page.headers["cache-control"] == "no-store"

    async def test_stopping_one_withdraws_the_consent(self, identity: Identity, freddie: Browser) -> None:
        page = await freddie.get("/id/account")
        answer = await freddie.press(page, form_to(page, "/account/applications/stop", client_id=HUB))
        assert (answer.status, answer.location) == (303, f"{identity.settings.issuer}/account?done=stopped")
        (fact,) = await identity.facts("ConsentWithdrawn")
        assert isinstance(fact.event, ConsentWithdrawn)
        assert fact.event.client_id == HUB
        assert fact.actor == f"user:{fact.event.sub}"
        page = await freddie.follow(answer)
        assert "The application is stopped" in page.text
        assert "No application acts for you" in page.text
        assert (await freddie.get(authorization())).path == "/id/consent"

    async def test_one_that_went_without_asking_is_there_too(self, identity: Identity, freddie: Browser) -> None:
        identity.issuer.own.acting.append(
            pb.ConnectedApplication(
                client_id="com.stagedoor/cli", display_name="The command", enabled=True, acting=True
            )
        )
        page = await freddie.get("/id/account")
        await freddie.press(page, form_to(page, "/account/applications/stop", client_id="com.stagedoor/cli"))
        (fact,) = await identity.facts("ConsentWithdrawn")
        assert isinstance(fact.event, ConsentWithdrawn)
        assert fact.event.client_id == "com.stagedoor/cli"

    @pytest.mark.parametrize("gone", [True, False])
    async def test_stopping_works_without_the_issuer(self, identity: Identity, freddie: Browser, gone: bool) -> None:
        if gone:
            await identity.issuer.stop()
        else:
            identity.issuer.own.refusal = Refusal(Kind.FORBIDDEN, "identity_refused", "switched off")
        page = await freddie.get("/id/account")
        assert page.status == 200
        assert HUB in page.text
        assert "Not everything can be shown" in page.text
        await freddie.press(page, form_to(page, "/account/applications/stop", client_id=HUB))
        assert len(await identity.facts("ConsentWithdrawn")) == 1

    async def test_what_the_issuer_is_asked(self, identity: Identity, freddie: Browser) -> None:
        await freddie.get("/id/account")
        (asked,) = identity.issuer.own.asked
        (session,) = await identity.facts("SessionStarted")
        assert (asked.session.sid, asked.session.sub) == (session.event.sid, session.event.sub)  # type: ignore[attr-defined]
        assert asked.session.minimum_position == (await identity.log.head()).position
        assert [(one.client_id, list(one.scopes)) for one in asked.consents] == [(HUB, ["openid", "read"])]

    async def test_a_session_that_has_just_ended_there(self, identity: Identity, freddie: Browser) -> None:
        identity.issuer.own.refusal = Refusal(Kind.UNAUTHENTICATED, "session_over", "the session has ended")
        assert (await freddie.get("/id/account")).path == "/id/signin"


class TestSessions:
    async def test_ending_another_one(self, identity: Identity, freddie: Browser) -> None:
        phone = identity.browser("192.0.2.9")
        phone.client.headers["user-agent"] = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Safari/604.1"
        await sign_in(phone)
        page = await freddie.get("/id/account")
        assert "Firefox on Linux This one" in page.text
        assert "Safari on an iPhone" in page.text
        first, second = [one.event.sid for one in await identity.facts("SessionStarted")]  # type: ignore[attr-defined]
        answer = await freddie.press(page, form_to(page, "/account/sessions/end", sid=second))
        assert answer.location.endswith("/account?done=ended")
        (fact,) = await identity.facts("SessionEnded")
        assert isinstance(fact.event, SessionEnded)
        assert (fact.event.sid, fact.event.reason) == (second, SessionEndReason.ENDED_BY_USER)
        assert first != second
        assert (await phone.get("/id/account")).path == "/id/signin"
        assert (await freddie.get("/id/account")).path == "/id/account"

    async def test_ending_this_one_signs_out(self, identity: Identity, freddie: Browser) -> None:
        page = await freddie.get("/id/account")
        (form,) = [form for form in page.forms if form.action == "/id/account/sessions/end"]
        page = await freddie.follow(await freddie.press(page, form))
        assert page.path == "/id/signedout"
        assert "stagedoor_session" not in freddie.cookies()
        assert len(await identity.facts("SessionEnded")) == 1

    async def test_times_are_the_persons_own(self, identity: Identity, freddie: Browser) -> None:
        local = identity.clock.now.astimezone(ZoneInfo("Europe/London"))
        page = await freddie.get("/id/account")
        assert "Times are in Europe/London" in page.text
        assert f"Signed in {local.day} {local:%B %Y, %H:%M}" in page.text

    @pytest.mark.parametrize("zone", [None, "", "Nowhere/Here", "../../etc/passwd", "Europe", "/etc/localtime", "a\0b"])
    async def test_a_zone_that_is_none(self, identity: Identity, zone: str | None) -> None:
        user = await identity.parts.questions.user(await identity.register())
        assert user is not None
        assert Moments.of(replace(user, zoneinfo=zone)).name == "UTC"

    def test_summer_and_winter(self) -> None:
        london = Moments(ZoneInfo("Europe/London"), "Europe/London")
        assert london.minute(datetime(1985, 7, 13, 17, 41, tzinfo=UTC)).text == "13 July 1985, 18:41"
        assert london.day(datetime(1985, 7, 13, 23, 41, tzinfo=UTC)).text == "14 July 1985"
        assert london.minute(datetime(1985, 1, 13, 17, 41, tzinfo=UTC)).iso == "1985-01-13T17:41:00+00:00"


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (None, "A browser"),
        ("", "A browser"),
        (FIREFOX, "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0", "Edge on Windows"),
        ("Mozilla/5.0 (Macintosh) AppleWebKit/605 Version/18 Safari/605", "Safari on a Mac"),
        ("Mozilla/5.0 (Linux; Android 15) Chrome/140 Mobile Safari/537", "Chrome on Android"),
        ("curl/8.14.1", "curl/8.14.1"),
        ("x" * 300, "x" * 40),
    ],
)
def test_devices_in_words(agent: str | None, words: str) -> None:
    assert described(agent) == words


class TestTokens:
    async def test_one_is_made_and_shown_once(self, identity: Identity, freddie: Browser) -> None:
        form = await freddie.get("/id/account/tokens/new")
        page = await freddie.submit_once(
            form, label="the van's laptop", days="90", **{"scope:read": "on", "scope:update": "on"}
        )
        assert page.status == 200
        assert page.text.count(TOKEN) == 1
        assert page.headers["cache-control"] == "no-store"
        assert "location" not in page.headers
        assert "set-cookie" not in page.headers
        (asked,) = identity.issuer.own.made
        wanted = asked.reference
        assert (wanted.kind, wanted.client_id, wanted.label) == ("pat", HUB, "the van's laptop")
        assert list(wanted.scopes) == ["read", "update"]
        assert wanted.expires_at.ToDatetime(UTC) == identity.clock.now + timedelta(days=90)
        assert asked.session.sid
        assert TOKEN not in (await freddie.get("/id/account")).response.text

    async def test_a_form_that_is_sent_twice_makes_one(self, identity: Identity, freddie: Browser) -> None:
        form = await freddie.get("/id/account/tokens/new")
        fields = {"label": "x", "days": "7", "scope:read": "on"}
        assert (await freddie.submit_once(form, **fields)).status == 200
        again = await freddie.submit_once(form, **fields)
        assert again.status == 409
        assert TOKEN not in again.response.text
        assert "shown only once" in again.text
        assert len(identity.issuer.own.made) == 1
        assert (await freddie.submit_once(again, **fields)).status == 200

    async def test_nothing_chosen_is_not_everything(self, identity: Identity, freddie: Browser) -> None:
        page = await freddie.submit_once(await freddie.get("/id/account/tokens/new"), label="x", days="7")
        assert page.status == 422
        assert "Choose at least one thing" in page.text
        assert 'value="x"' in page.response.text
        assert identity.issuer.own.made == []

    async def test_what_the_issuer_refuses_is_said_in_the_form(self, identity: Identity, freddie: Browser) -> None:
        form = await freddie.get("/id/account/tokens/new")
        identity.issuer.own.refusal_of_making = Refusal(Kind.INVALID, "invalid_label", "too long")
        page = await freddie.submit_once(form, label="x" * 99, days="180", **{"scope:read": "on"})
        assert page.status == 422
        assert "Give the token a name" in page.text
        assert page.form.fields["label"] == "x" * 99
        assert page.form.fields["scope:read"] == "on"

    @pytest.mark.parametrize(
        "fields",
        [{"days": "366"}, {"days": "0"}, {"days": "x"}, {"days": ""}, {"once": "x"}, {"once": ""}, {"application": ""}],
    )
    async def test_forms_that_are_not_ours(self, identity: Identity, freddie: Browser, fields: dict[str, str]) -> None:
        form = await freddie.get("/id/account/tokens/new")
        plain = {"label": "x", "days": "7", "scope:read": "on"}
        page = await freddie.submit_once(form, **{**plain, **fields})
        assert page.status in (400, 403)
        assert identity.issuer.own.made == []

    async def test_of_several_applications_one_is_chosen_first(self, identity: Identity, freddie: Browser) -> None:
        identity.issuer.own.offers.append(
            pb.Offer(client_id="com.setlist/app", display_name="Setlist", scopes=SCOPES[:1])
        )
        page = await freddie.get("/id/account/tokens/new")
        assert "Which application is it for?" in page.text
        assert page.form.method == "get"
        page = await freddie.get("/id/account/tokens/new?application=com.setlist%2Fapp")
        assert "Make a token for Setlist" in page.text
        assert "change your tours" not in page.text
        page = await freddie.get("/id/account/tokens/new?application=com.mallory%2Fapp")
        assert "Which application is it for?" in page.text

    async def test_where_nothing_is_offered(self, identity: Identity, freddie: Browser) -> None:
        identity.issuer.own.offers.clear()
        assert "/id/account/tokens/new" not in (await freddie.get("/id/account")).links
        assert "No application allows you to make one" in (await freddie.get("/id/account/tokens/new")).text

    async def test_they_are_listed_and_revoked(self, identity: Identity, freddie: Browser) -> None:
        reference = pb.Reference(
            jti="jti-1",
            kind="pat",
            client_id=HUB,
            label="the van's laptop",
            scopes=["read"],
            state="suspended",
            expires_at=stamp(datetime(2027, 1, 31, tzinfo=UTC)),
            last_used_at=stamp(datetime(2026, 1, 2, 3, 4, tzinfo=UTC)),
        )
        identity.issuer.own.references.append(pb.OwnReference(reference=reference, display_name="BackstageHub"))
        page = await freddie.get("/id/account")
        for words in ("the van's laptop Suspended", "31 January 2027", "last used 2 January 2026, 03:04"):
            assert words in page.text
        answer = await freddie.press(page, form_to(page, "/account/tokens/revoke", jti="jti-1"))
        assert (answer.status, answer.location.endswith("/account?done=revoked")) == (303, True)
        (asked,) = identity.issuer.own.revoked
        assert (asked.jti, asked.session.sub) == ("jti-1", (await identity.facts("SessionStarted"))[0].event.sub)  # type: ignore[attr-defined]

    async def test_without_the_issuer_the_answer_is_clear(self, identity: Identity, freddie: Browser) -> None:
        form = await freddie.get("/id/account/tokens/new")
        await identity.issuer.stop()
        page = await freddie.submit_once(form, label="x", days="7", **{"scope:read": "on"})
        assert page.status == 503
        assert "Please try again shortly" in page.text


async def test_who_is_not_signed_in_signs_in(identity: Identity) -> None:
    browser = identity.browser()
    for path in ("/id/account", "/id/account/tokens/new"):
        assert (await browser.get(path)).path == "/id/signin"


async def test_each_button_says_what_it_does_to_what(identity: Identity, freddie: Browser) -> None:
    """For people who hear the page."""
    page = await freddie.get("/id/account")
    assert "Stop BackstageHub" in page.text
    assert identity.issuer.own.asked
    headings = [tag for tag, _ in page.tags if tag in ("h1", "h2", "h3")]
    assert headings[0] == "h1"
    assert headings.count("h2") == 3
