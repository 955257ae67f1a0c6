"""Getting in with the password alone, although there is a second factor."""

import re
from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from services.identity.events import SecondFactorAdded
from services.identity.pages.pending import Seals
from services.identity.passwords import Passwords
from services.identity.second_factor import SecondFactor
from services.identity.sessions import PasswordProved
from shared.ids import new_secret
from shared.keys import MasterKey
from tests.support.browsing import Browser, Page
from tests.support.identity_service import PASSWORD, Identity, authorization, sign_in
from tests.support.second_factor import (
    CODE,
    DEMAND,
    PAGE,
    STEP_UP,
    Telephone,
    freddie_with,
    in_form,
    seed_on,
    send,
    to_the_code,
)

MASTER = MasterKey(b"k" * 32)
"""Of the service under test."""


@pytest.fixture
async def freddie(identity: Identity) -> tuple[Browser, Telephone]:
    return await freddie_with(identity)


async def sub_of(identity: Identity) -> str:
    (added,) = await identity.facts("SecondFactorAdded")
    assert isinstance(added.event, SecondFactorAdded)
    return added.event.sub


@pytest.mark.usefixtures("freddie")
async def test_going_straight_on(identity: Identity) -> None:
    browser = identity.browser()
    page = await to_the_code(browser)
    sealed = page.form.fields["request"]
    for path in ("/id/consent", "/id/signin/choose", STEP_UP):
        assert (await browser.get(path, params={"request": sealed})).path == "/id/signin"
    assert (await browser.get(authorization())).path == "/id/signin"
    for path in ("/id/account", PAGE, "/id/account/password", "/id/account/tokens/new"):
        assert (await browser.get(path)).path == "/id/signin"
    fields = {**page.form.fields, "decision": "allow"}
    assert (await browser.send("POST", "/id/consent", data=fields)).status == 403
    assert identity.issuer.issued == []


async def test_what_was_proved_as_a_session(identity: Identity, freddie: tuple[Browser, Telephone]) -> None:
    browser = identity.browser()
    await to_the_code(browser)
    proved, form = browser.cookies()["stagedoor_proved"], browser.cookies()["stagedoor_form"]
    for value in (proved, form):
        thief = identity.browser()
        thief.client.cookies.set("stagedoor_session", value, domain="127.0.0.1", path="/id")
        assert (await thief.get("/id/account")).path == "/id/signin"
    raw = urlsafe_b64decode(proved + "=" * (-len(proved) % 4))
    assert (await sub_of(identity)).encode() not in raw
    assert freddie[1].seed not in raw


@pytest.mark.usefixtures("freddie")
async def test_what_was_proved_is_out_of_reach_of_scripts_and_other_sites(identity: Identity) -> None:
    browser = identity.browser()
    page = await browser.get(authorization())
    answer = await browser.submit_once(page, user_name="freddie", password=PASSWORD, action="sign_in")
    (cookie,) = answer.headers.get_list("set-cookie")
    name, *attributes = cookie.lower().split("; ")
    assert name.startswith("stagedoor_proved=")
    assert set(attributes) == {"httponly", "path=/id", "samesite=lax"}
    assert "proved" not in answer.location


async def test_what_was_proved_in_another_browser(identity: Identity, freddie: tuple[Browser, Telephone]) -> None:
    browser = identity.browser()
    page = await to_the_code(browser)
    stolen = browser.cookies()["stagedoor_proved"]
    thief = identity.browser("203.0.113.66")
    await thief.get(authorization())
    thief.client.cookies.set("stagedoor_proved", stolen, domain="127.0.0.1", path="/id")
    answer = await thief.get(CODE, params={"request": page.form.fields["request"]})
    assert answer.path == "/id/signin"
    thief.client.cookies.set("stagedoor_proved", stolen, domain="127.0.0.1", path="/id")
    fields = {**page.form.fields, "code": freddie[1].code()}
    assert (await thief.send("POST", CODE, data=fields)).location.startswith(f"{thief.base}/signin?")
    assert "stagedoor_session" not in thief.cookies()


@pytest.mark.usefixtures("freddie")
async def test_what_was_proved_changed_or_made_up(identity: Identity) -> None:
    browser = identity.browser()
    page = await to_the_code(browser)
    sealed, proved = page.form.fields["request"], browser.cookies()["stagedoor_proved"]
    middle = len(proved) // 2
    flipped = proved[:middle] + ("A" if proved[middle] != "A" else "B") + proved[middle + 1 :]
    for value in (flipped, proved[:-4], sealed, "x", "A" * 200):
        browser.client.cookies.set("stagedoor_proved", value, domain="127.0.0.1", path="/id")
        assert (await browser.get(CODE, params={"request": sealed})).path == "/id/signin", value


async def test_a_request_or_a_setting_up_in_its_place(identity: Identity, freddie: tuple[Browser, Telephone]) -> None:
    """What is sealed for one page is nothing for another."""
    await identity.register("brian", "red-special-1963")
    brian = identity.browser()
    await sign_in(brian, "brian", "red-special-1963")
    begun = (await brian.submit_once(await brian.get(PAGE), password="red-special-1963")).form.fields["begun"]
    browser = identity.browser()
    await to_the_code(browser)
    proved = browser.cookies()["stagedoor_proved"]
    browser.client.cookies.set("stagedoor_proved", begun, domain="127.0.0.1", path="/id")
    assert (await browser.get(CODE)).path == "/id/signin"
    page = await brian.submit_once(await brian.get(PAGE), password="red-special-1963")
    answer = await brian.submit_once(page, begun=proved, code=freddie[1].code())
    assert answer.status == 403


@pytest.mark.parametrize(
    ("epochs", "positions", "taken"), [(0, 0, True), (-1, 0, False), (1, 0, False), (0, -1, False), (0, 1, False)]
)
async def test_what_was_proved_on_another_branch_of_the_log(
    identity: Identity, freddie: tuple[Browser, Telephone], epochs: int, positions: int, taken: bool
) -> None:
    """A position means something in its epoch alone: after a failover another fact may stand there."""
    user = await identity.parts.questions.user_named("freddie")
    assert user is not None
    browser = identity.browser()
    page = await to_the_code(browser)
    seals = Seals(MASTER, identity.clock, timedelta(hours=1))
    proved = PasswordProved(user.sub, user.epoch + epochs, user.position + positions)
    text = seals.seal_proved(proved, browser.cookies()["stagedoor_form"])
    browser.client.cookies.set("stagedoor_proved", text, domain="127.0.0.1", path="/id")
    page = await browser.get(CODE, params={"request": page.form.fields["request"]})
    page = await browser.submit(page, code=freddie[1].code())
    assert ("stagedoor_session" in browser.cookies()) is taken
    assert (page.path == "/id/signin") is not taken


async def test_after_too_long(identity: Identity, freddie: tuple[Browser, Telephone]) -> None:
    browser = identity.browser()
    page = await to_the_code(browser)
    identity.clock.forward(minutes=10, seconds=1)
    page = await browser.submit(page, code=freddie[1].code())
    assert page.path == "/id/signin"
    assert "Please sign in once more" in page.text
    assert "stagedoor_session" not in browser.cookies()


async def test_the_form_of_another_request(identity: Identity, freddie: tuple[Browser, Telephone]) -> None:
    browser = identity.browser()
    one = await to_the_code(browser)
    other = await browser.get(authorization(prompt="consent"))
    fields = {**one.form.fields, "request": other.form.fields["request"], "code": freddie[1].code()}
    assert (await browser.send("POST", CODE, data=fields)).status == 403
    assert "stagedoor_session" not in browser.cookies()


async def test_from_another_site(identity: Identity, freddie: tuple[Browser, Telephone]) -> None:
    browser = identity.browser()
    page = await to_the_code(browser)
    headers = {"sec-fetch-site": "cross-site"}
    fields = {**page.form.fields, "code": freddie[1].code()}
    assert (await browser.send("POST", CODE, data=fields, headers=headers)).status == 403
    assert "stagedoor_session" not in browser.cookies()


async def test_a_cookie_planted_before_is_worth_nothing_after(
    identity: Identity, freddie: tuple[Browser, Telephone]
) -> None:
    planted = new_secret()
    browser = identity.browser()
    browser.client.cookies.set("stagedoor_session", planted, domain="127.0.0.1", path="/id")
    page = await to_the_code(browser)
    await browser.submit(page, code=freddie[1].code())
    assert browser.cookies()["stagedoor_session"] != planted
    thief = identity.browser()
    thief.client.cookies.set("stagedoor_session", planted, domain="127.0.0.1", path="/id")
    assert (await thief.get("/id/account")).path == "/id/signin"


async def test_a_cookie_of_before_stepping_up_is_worth_nothing_after(
    identity: Identity, freddie: tuple[Browser, Telephone]
) -> None:
    own, telephone = freddie
    stolen = own.cookies()["stagedoor_session"]
    await own.submit(await own.get(authorization(claims=DEMAND)), code=telephone.code())
    thief = identity.browser()
    thief.client.cookies.set("stagedoor_session", stolen, domain="127.0.0.1", path="/id")
    assert (await thief.get("/id/account")).path == "/id/signin"


async def test_stepping_up_does_not_make_the_sign_in_newer(
    identity: Identity, freddie: tuple[Browser, Telephone]
) -> None:
    """Two requests side by side: what the code is for one, the password is not for the other."""
    own, telephone = freddie
    fresh = await own.get(authorization(prompt="login"))
    page = await own.submit(await own.get(authorization(claims=DEMAND)), code=telephone.code())
    assert "code" in page.answer
    identity.issuer.issued.clear()
    page = await own.get("/id/consent", params={"request": fresh.form.fields["request"]})
    assert page.path == "/id/signin"
    assert (await own.get(authorization(max_age="0"))).path == "/id/signin"
    assert identity.issuer.issued == []


@pytest.mark.parametrize("more", [{"prompt": "login"}, {"acr_values": "urn:stagedoor:acr:password"}, {"max_age": "0"}])
async def test_asking_for_less(identity: Identity, freddie: tuple[Browser, Telephone], more: dict[str, str]) -> None:
    """Nothing that a request says makes the password enough."""
    own, _ = freddie
    before = len(await identity.facts("SessionReauthenticated"))
    for browser in (identity.browser(), own):
        page = await browser.get(authorization(**{"prompt": "login", **more}))
        page = await browser.submit(page, user_name="freddie", password=PASSWORD)
        assert page.path == CODE
    assert len(await identity.facts("SessionReauthenticated")) == before
    assert identity.issuer.issued == []


CHANGES: dict[str, Callable[[Identity, Browser, Telephone], Awaitable[object]]] = {}


def change(
    name: str,
) -> Callable[[Callable[[Identity, Browser, Telephone], Awaitable[object]]], None]:
    def register(act: Callable[[Identity, Browser, Telephone], Awaitable[object]]) -> None:
        CHANGES[name] = act

    return register


@change("password changed")
async def _changed(identity: Identity, own: Browser, telephone: Telephone) -> None:
    page = await own.get("/id/account/password")
    fields = {"new_password": "another-password", "new_password_again": "another-password"}
    assert (await own.submit_once(page, current_password=PASSWORD, **fields)).status == 303


@change("password reset")
async def _reset(identity: Identity, own: Browser, telephone: Telephone) -> None:
    user = await identity.parts.questions.user_named("freddie")
    assert user is not None
    await identity.parts.accounts.reset_password(user, "another-password", identity.context())


@change("disabled")
async def _disabled(identity: Identity, own: Browser, telephone: Telephone) -> None:
    await identity.parts.accounts.disable(await sub_of(identity), "", identity.context(), by="brian")


@change("factor turned off")
async def _off(identity: Identity, own: Browser, telephone: Telephone) -> None:
    code = telephone.code(1)
    page = await send(own, await own.get(PAGE), f"{PAGE}/remove", password=PASSWORD, code=code)
    assert page.status == 303


@change("factor reset")
async def _taken_away(identity: Identity, own: Browser, telephone: Telephone) -> None:
    await identity.parts.own_second_factor.reset(await sub_of(identity), identity.context())


@pytest.mark.parametrize("name", list(CHANGES))
async def test_an_account_that_changes_between_the_pages(
    identity: Identity, freddie: tuple[Browser, Telephone], name: str
) -> None:
    own, telephone = freddie
    browser = identity.browser()
    page = await to_the_code(browser)
    await CHANGES[name](identity, own, telephone)
    page = await browser.submit(page, code=telephone.code())
    assert page.path == "/id/signin"
    assert "stagedoor_session" not in browser.cookies()


@pytest.mark.parametrize("name", list(CHANGES))
async def test_an_account_that_changes_after_the_code_was_looked_at(
    identity: Identity, freddie: tuple[Browser, Telephone], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The fence of the append refuses what was decided on a view that is no longer true."""
    own, telephone = freddie
    before = len(await identity.facts("SessionStarted"))
    browser = identity.browser()
    page = await to_the_code(browser)
    prove = SecondFactor.prove
    done: list[bool] = []

    async def and_then(self: SecondFactor, *arguments: object) -> object:
        proof = await prove(self, *arguments)  # type: ignore[arg-type]
        if not done:
            done.append(True)
            await CHANGES[name](identity, own, telephone)
        return proof

    monkeypatch.setattr(SecondFactor, "prove", and_then)
    page = await browser.submit(page, code=telephone.code())
    assert page.path == "/id/signin"
    assert len(await identity.facts("SessionStarted")) == before


async def test_a_factor_that_is_set_up_while_the_password_is_looked_at(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    await identity.register()
    own = identity.browser()
    await sign_in(own)
    page = await own.submit_once(await own.get(PAGE), password=PASSWORD)
    telephone = Telephone(identity, seed_on(page))
    verify = Passwords.verify
    done: list[bool] = []

    async def and_then(self: Passwords, stored: str | None, password: str) -> bool:
        right = await verify(self, stored, password)
        if not done:
            done.append(True)
            assert (await own.submit_once(page, code=telephone.code())).status == 200
        return right

    thief = identity.browser("203.0.113.66")
    form = await thief.get(authorization())
    monkeypatch.setattr(Passwords, "verify", and_then)
    answer = await thief.submit(form, user_name="freddie", password=PASSWORD)
    assert answer.path == CODE
    assert len(await identity.facts("SessionStarted")) == 1


async def test_at_a_screen_that_was_left_open(identity: Identity, freddie: tuple[Browser, Telephone]) -> None:
    own, telephone = freddie
    page = await own.get(PAGE)
    for path in (f"{PAGE}/remove", f"{PAGE}/recovery-codes"):
        for password, code in (("", telephone.code()), ("not-the-password", telephone.code()), (PASSWORD, "")):
            assert (await send(own, page, path, password=password, code=code)).status == 422
    assert await identity.facts("SecondFactorRemoved") == []
    assert await identity.facts("RecoveryCodesReplaced") == []
    # Nor is one set up for its owner by somebody who does not know the password.
    await identity.register("brian", "red-special-1963")
    brian = identity.browser()
    await sign_in(brian, "brian", "red-special-1963")
    page = await brian.get(PAGE)
    assert (await brian.submit_once(page, password="not-the-password")).status == 422
    fields = in_form(page, f"{PAGE}/begin")
    assert (await brian.send("POST", f"{PAGE}/add", data={**fields, "code": "123456"})).status == 403


@pytest.mark.parametrize("path", ["begin", "add", "remove", "recovery-codes"])
async def test_a_form_that_was_not_sent_from_here(
    identity: Identity, freddie: tuple[Browser, Telephone], path: str
) -> None:
    own, telephone = freddie
    fields = {"password": PASSWORD, "code": telephone.code(), "form": "1.x"}
    assert (await own.send("POST", f"{PAGE}/{path}", data=fields)).status == 403
    assert await identity.facts("SecondFactorRemoved") == []


async def test_a_seed_that_was_shown_in_another_session(identity: Identity) -> None:
    """Who sits at one session cannot finish what was begun in another, nor after the account has changed."""
    await identity.register()
    one, other = identity.browser(), identity.browser()
    await sign_in(one)
    await sign_in(other)
    begun = await one.submit_once(await one.get(PAGE), password=PASSWORD)
    elsewhere = await other.submit_once(await other.get(PAGE), password=PASSWORD)
    telephone = Telephone(identity, seed_on(begun))
    mixed = {**elsewhere.form.fields, "begun": begun.form.fields["begun"], "code": telephone.code()}
    assert (await other.send("POST", f"{PAGE}/add", data=mixed)).status == 403
    page = await one.get("/id/account/password")
    fields = {"new_password": "another-password", "new_password_again": "another-password"}
    await one.submit_once(page, current_password=PASSWORD, **fields)
    answer = await one.submit_once(begun, code=telephone.code())
    assert answer.location.endswith(PAGE)
    assert await identity.facts("SecondFactorAdded") == []


# Finding out who has one


def told(page: Page) -> tuple[object, ...]:
    text = re.sub(r'name="(form|request|user_name)" value="[^"]*"', "", page.response.text)
    text = re.sub(r'value="(freddie|brian|nobody)"', "", text)
    names = sorted(name for name in page.headers if name not in ("content-length", "correlation-id", "date"))
    return page.status, text, names


@pytest.mark.usefixtures("freddie")
async def test_before_the_right_password_nothing_tells_who_has_one(identity: Identity) -> None:
    await identity.register("brian", "red-special-1963")
    found = []
    for number, name in enumerate(("freddie", "brian", "nobody")):
        browser = identity.browser(f"198.51.100.{number}")
        page = await browser.get(authorization(login_hint=name))
        before = identity.parts.passwords.verifications
        answer = await browser.submit_once(page, user_name=name, password="not-the-password", action="sign_in")
        found.append((told(page), told(answer), identity.parts.passwords.verifications - before))
    assert found[0] == found[1] == found[2]
    assert found[0][-1] == 1


async def test_the_page_for_the_code_tells_nothing_of_the_account(
    identity: Identity, freddie: tuple[Browser, Telephone]
) -> None:
    sub = await sub_of(identity)
    browser = identity.browser()
    page = await to_the_code(browser)
    wrong = await browser.submit(page, code=freddie[1].wrong())
    for answer in (page, wrong):
        for word in ("freddie", sub, "recovery codes left"):
            assert word not in answer.response.text.lower()
