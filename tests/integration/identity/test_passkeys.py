"""Passkeys: added, signed in with, second after the password, stepped up with, removed, reset."""

import asyncio
from typing import Any

import pytest

from services.identity.events import (
    PasskeyAdded,
    PasskeyRemoved,
    RecoveryCodesReplaced,
    Role,
    SessionReauthenticated,
    SessionStarted,
    SessionSteppedUp,
    UserKind,
)
from services.identity.messages import user_message
from shared.denials import DenialKind
from tests.support.browsing import Browser, Page
from tests.support.fake_issuer import CALLBACK
from tests.support.identity_service import PASSWORD, Identity, authorization, sign_in
from tests.support.passkeys import (
    BE,
    BS,
    EDDSA,
    ES256,
    ISSUER,
    PAGE,
    RP_ID,
    RS256,
    SIGN_IN,
    UP,
    UV,
    Authenticator,
    add,
    answer,
    freddie_with_passkey,
    options_on,
    shown,
    sign_in_by,
    to_add,
    to_sign_in,
)
from tests.support.second_factor import CODE, DEMAND, STEP_UP, Telephone, seed_on, send, to_the_code
from tests.support.second_factor import PAGE as CODES

BY_PASSKEY = ("hwk", "user", "mfa")


@pytest.fixture
def settings() -> dict[str, Any]:
    return {"issuer": ISSUER}


async def amr_of_the_last(identity: Identity) -> tuple[str, ...]:
    started = [one.event for one in await identity.facts("SessionStarted")]
    assert isinstance(started[-1], SessionStarted)
    return started[-1].amr


async def fresh(identity: Identity, browser: Browser, authenticator: Authenticator) -> None:
    """He signs in once more, by the passkey, in the session that he has."""
    page = await browser.get(SIGN_IN, params={"then": "passkeys"})
    page = await answer(browser, page, authenticator.use(options_on(page)))
    assert page.location == f"{identity.settings.issuer}/account/passkeys"


@pytest.mark.parametrize("alg", [ES256, EDDSA, RS256])
async def test_freddie_adds_one_and_signs_in_with_nothing_else(identity: Identity, alg: int) -> None:
    browser, own, codes = await freddie_with_passkey(identity, Authenticator(alg))
    (added,) = await identity.facts("PasskeyAdded")
    (started,) = await identity.facts("SessionStarted")
    assert isinstance(added.event, PasskeyAdded)
    assert isinstance(started.event, SessionStarted)
    assert (added.event.name.reveal(), added.event.backup_eligible) == ("My telephone", False)
    assert added.event.kept_session == started.event.sid
    assert len(set(codes)) == 10
    page = await browser.get(PAGE)
    assert "My telephone" in page.text
    assert "not used yet" in page.text

    another = identity.browser()
    page = await sign_in_by(another, own)
    assert page.location.startswith(f"{identity.settings.issuer}/consent?")
    page = await another.follow(page)
    assert page.location.startswith(f"{CALLBACK}?code=")
    assert tuple(identity.issuer.issued[-1].amr) == await amr_of_the_last(identity) == BY_PASSKEY
    assert "last used" in (await another.get(PAGE)).text
    # The cookies are those of an https issuer, and a new device is known from now on.
    assert {"__Host-stagedoor_session", "__Host-stagedoor_device"} <= set(another.cookies())


async def test_nothing_of_what_it_is_checked_with_is_in_the_log(identity: Identity) -> None:
    _, own, _ = await freddie_with_passkey(identity)
    (credential,) = own.credentials
    for fact in await identity.facts():
        for secret in (credential.credential_id.hex(), "My telephone"):
            assert secret not in repr(fact.event)


async def test_where_the_key_may_be_copied_it_is_told(identity: Identity) -> None:
    _, own, _ = await freddie_with_passkey(identity, Authenticator(flags=UP | UV | BE | BS))
    await sign_in_by(identity.browser(), own)
    assert await amr_of_the_last(identity) == ("swk", "user", "mfa")


async def test_adding_one_ends_his_other_sessions_and_the_password_alone_begins_none(identity: Identity) -> None:
    sub = await identity.register()
    browser, elsewhere = identity.browser(), identity.browser()
    for one in (browser, elsewhere):
        await sign_in(one)
    await add(browser, Authenticator())
    assert (await elsewhere.get("/id/account")).path == "/id/signin"
    assert (await browser.get("/id/account")).path == "/id/account"
    (added,) = await identity.facts("PasskeyAdded")
    assert {denial.kind for denial in added.event.denies()} == {DenialKind.SUBJECT_SESSIONS}
    browser = identity.browser()
    assert (await to_the_code(browser)).path == CODE
    assert "__Host-stagedoor_session" not in browser.cookies()
    # There is no app, so no code is right, and what the page does not offer is not there either.
    page = await browser.get(CODE, params={"by": "code"})
    assert (await browser.send("POST", CODE, data={**page.form.fields, "by": "code", "code": "123456"})).status == 422
    assert identity.issuer.issued == []
    user = await identity.parts.questions.user(sub)
    assert user is not None
    assert (user.has_second_factor, user.totp_since) == (True, None)


async def test_after_the_password_it_is_the_second_factor(identity: Identity) -> None:
    _, own, _ = await freddie_with_passkey(identity)
    browser = identity.browser()
    page = await to_the_code(browser)
    options = options_on(page)
    assert options["userVerification"] == "required"
    assert len(options["allowCredentials"]) == 1
    page = await browser.follow(await answer(browser, page, own.use(options)))
    assert page.location.startswith(f"{CALLBACK}?code=")
    assert await amr_of_the_last(identity) == ("pwd", *BY_PASSKEY)


async def test_a_recovery_code_stands_in_for_it(identity: Identity) -> None:
    _, _, codes = await freddie_with_passkey(identity)
    browser = identity.browser()
    page = await to_the_code(browser)
    (way,) = (link for link in page.links if "by=recovery" in link)
    assert not any("by=code" in link for link in page.links)
    page = await browser.submit_once(await browser.get(way), code=codes[3])
    assert page.status == 303
    assert await amr_of_the_last(identity) == ("pwd", "mfa")
    page = await to_the_code(other := identity.browser())
    page = await other.get(next(link for link in page.links if "by=recovery" in link))
    assert (await other.submit_once(page, code=codes[3])).status == 422


async def test_a_session_steps_up_with_it(identity: Identity) -> None:
    browser, own, _ = await freddie_with_passkey(identity)
    page = await browser.get(authorization(browser.base, claims=DEMAND))
    assert page.path == STEP_UP
    page = await browser.follow(await answer(browser, page, own.use(options_on(page))))
    assert page.location.startswith(f"{CALLBACK}?code=")
    (stepped,) = await identity.facts("SessionSteppedUp")
    assert isinstance(stepped.event, SessionSteppedUp)
    assert stepped.event.amr == ("pwd", *BY_PASSKEY)
    # One by a passkey is worth both, and is asked for nothing more.
    another = identity.browser()
    page = await another.follow(await sign_in_by(another, own, claims=DEMAND))
    assert page.location.startswith(f"{CALLBACK}?code=")


async def test_the_page_names_nobody(identity: Identity) -> None:
    """Whoever is there, and whoever the application hints at, is told the same, but for what is random."""
    await freddie_with_passkey(identity)
    told = []
    for hint in ("", "freddie", "nobody"):
        browser = identity.browser()
        page = await to_sign_in(browser, login_hint=hint)
        options = options_on(page)
        assert options["allowCredentials"] == []
        assert options["rpId"] == RP_ID
        assert "freddie" not in page.response.text
        told.append({**options, "challenge": ""})
    assert told[0] == told[1] == told[2]


async def test_a_second_one_needs_a_sign_in_by_both(identity: Identity) -> None:
    browser, own, codes = await freddie_with_passkey(identity)
    page = await browser.get(PAGE)
    assert not any(form.action.startswith(f"{PAGE}/") for form in page.forms)
    assert "/id/signin?then=passkeys" in page.links
    await fresh(identity, browser, own)
    (again,) = await identity.facts("SessionReauthenticated")
    assert isinstance(again.event, SessionReauthenticated)
    assert again.event.amr == BY_PASSKEY
    page = await to_add(browser, "A key on my ring")
    assert len(options_on(page)["excludeCredentials"]) == 1
    key = Authenticator(EDDSA)
    page = await answer(browser, page, key.make(options_on(page)))
    assert page.location == f"{identity.settings.issuer}/account/passkeys?done=added"
    page = await browser.follow(page)
    assert page.text.index("My telephone") < page.text.index("A key on my ring")
    assert "You have 10 left." in page.text
    for one in (own, key):
        assert (await sign_in_by(identity.browser(), one)).status == 303
    # The recovery codes of before are those that there are.
    page = await to_the_code(other := identity.browser())
    page = await other.get(next(link for link in page.links if "by=recovery" in link))
    assert (await other.submit_once(page, code=codes[0])).status == 303


async def test_he_removes_one_and_then_the_last(identity: Identity) -> None:
    browser, own, _ = await freddie_with_passkey(identity)
    await fresh(identity, browser, own)
    key = Authenticator()
    await add(browser, key, "A key on my ring")

    async def remove(name: str) -> Page:
        page = await browser.get(PAGE)
        (at,) = (n for n, one in enumerate(["My telephone", "A key on my ring"]) if one == name)
        forms = [form for form in page.forms if form.action == f"{PAGE}/remove"]
        return await browser.press(page, forms[min(at, len(forms) - 1)])

    assert (await remove("My telephone")).location.endswith("?done=removed")
    (removed,) = await identity.facts("PasskeyRemoved")
    first = (await identity.facts("PasskeyAdded"))[0].event
    assert isinstance(removed.event, PasskeyRemoved)
    assert isinstance(first, PasskeyAdded)
    assert removed.event.passkey_id == first.passkey_id
    assert (await sign_in_by(identity.browser(), own)).status == 422
    assert (await to_the_code(identity.browser())).path == CODE
    await remove("A key on my ring")
    assert (await sign_in_by(identity.browser(), key)).status == 422
    assert await identity.log.pool.fetchval("SELECT count(*) FROM passkey_credentials") == 0
    assert await identity.log.pool.fetchval("SELECT count(*) FROM vault WHERE kind <> 'password'") == 0
    # The password alone is enough again.
    assert (await sign_in(identity.browser())).path != CODE


async def test_new_recovery_codes(identity: Identity) -> None:
    browser, own, codes = await freddie_with_passkey(identity)
    await fresh(identity, browser, own)
    page = await send(browser, await browser.get(PAGE), f"{PAGE}/recovery-codes")
    assert len(set(shown(page)) - set(codes)) == 10
    (replaced,) = await identity.facts("RecoveryCodesReplaced")
    assert isinstance(replaced.event, RecoveryCodesReplaced)
    assert not replaced.event.with_recovery_code


async def test_beside_an_authenticator_app(identity: Identity) -> None:
    """Either is enough after the password, and recovery codes stay until there is neither."""
    browser, own, codes = await freddie_with_passkey(identity)
    # Not on the word of the password alone.
    page = await send(browser, await browser.get(CODES), f"{CODES}/begin", password=PASSWORD)
    assert page.location == f"{identity.settings.issuer}/signin?then=second-factor"
    await fresh(identity, browser, own)
    page = await send(browser, await browser.get(CODES), f"{CODES}/begin", password=PASSWORD)
    telephone = Telephone(identity, seed_on(page))
    page = await browser.submit_once(page, code=telephone.code())
    assert page.location.endswith("/account?done=second-factor-on")
    assert await identity.log.pool.fetchval("SELECT count(*) FROM vault WHERE kind LIKE 'recovery%'") == 10
    identity.clock.forward(seconds=60)

    other = identity.browser()
    page = await to_the_code(other)
    assert any("by=code" in link for link in page.links)
    page = await other.get(next(link for link in page.links if "by=code" in link))
    assert (await other.submit_once(page, code=telephone.code())).status == 303
    assert await amr_of_the_last(identity) == ("pwd", "otp", "mfa")

    await fresh(identity, browser, own)
    page = await browser.get(CODES)
    page = await send(browser, page, f"{CODES}/remove", password=PASSWORD, code=codes[0])
    assert page.location.endswith("?done=second-factor-off")
    assert await identity.log.pool.fetchval("SELECT count(*) FROM vault WHERE kind LIKE 'recovery%'") == 9
    assert (await to_the_code(identity.browser())).path == CODE


async def test_an_administrator_takes_them_all_away(identity: Identity) -> None:
    browser, own, _ = await freddie_with_passkey(identity)
    (added,) = await identity.facts("PasskeyAdded")
    assert isinstance(added.event, PasskeyAdded)
    await identity.parts.own_second_factor.reset(added.event.sub, identity.context())
    assert (await browser.get("/id/account")).path == "/id/signin"
    assert (await sign_in_by(identity.browser(), own)).status == 422
    for table in ("passkeys", "passkey_credentials"):
        assert await identity.log.pool.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608  (a constant)
    assert (await sign_in(identity.browser())).path != CODE


async def test_who_is_erased_leaves_nothing_of_them(identity: Identity) -> None:
    _, own, _ = await freddie_with_passkey(identity)
    (added,) = await identity.facts("PasskeyAdded")
    assert isinstance(added.event, PasskeyAdded)
    sub = added.event.sub
    user = await identity.parts.questions.user(sub)
    assert user is not None
    assert user_message(user).second_factors == ["passkey"]
    (row,) = await identity.log.pool.fetch("SELECT * FROM passkey_credentials")
    brian = await identity.register("brian", "red-special-1963", UserKind.INTERNAL, Role.ADMINISTRATOR)
    await identity.parts.erasure.erase(sub, identity.context(), by=brian)
    (added,) = await identity.facts("PasskeyAdded")
    assert isinstance(added.event, PasskeyAdded)
    assert added.event.name.reveal() is None
    page = await sign_in_by(identity.browser(), own)
    assert (page.status, "That passkey opens nothing here" in page.text) == (422, True)
    # Nor does a back-up of before bring it back.
    places = ", ".join(f"${number + 1}" for number in range(len(row)))
    await identity.log.pool.execute(f"INSERT INTO passkey_credentials VALUES ({places})", *row)  # noqa: S608
    assert (await sign_in_by(identity.browser(), own)).status == 422
    await identity.parts.erasure.destroy_again()
    for table in ("passkeys", "passkey_credentials"):
        assert await identity.log.pool.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608  (a constant)


async def test_where_the_credentials_were_lost_a_recovery_code_is_left(identity: Identity) -> None:
    """The password alone is not enough all the same: that there is a passkey is a fact."""
    _, own, codes = await freddie_with_passkey(identity)
    await identity.log.pool.execute("DELETE FROM passkey_credentials")
    assert (await sign_in_by(identity.browser(), own)).status == 422
    page = await to_the_code(browser := identity.browser())
    assert page.path == CODE
    page = await browser.get(next(link for link in page.links if "by=recovery" in link))
    assert (await browser.submit_once(page, code=codes[0])).status == 303


async def test_a_disabled_user_has_a_wrong_one(identity: Identity) -> None:
    _, own, _ = await freddie_with_passkey(identity)
    (added,) = await identity.facts("PasskeyAdded")
    assert isinstance(added.event, PasskeyAdded)
    await identity.parts.accounts.disable(added.event.sub, "", identity.context(), by="brian")
    page = await sign_in_by(identity.browser(), own)
    assert (page.status, "That passkey opens nothing here" in page.text) == (422, True)


async def test_another_account_than_the_application_asked_for(identity: Identity) -> None:
    _, own, _ = await freddie_with_passkey(identity)
    brian = await identity.register("brian", "red-special-1963")
    page = await sign_in_by(identity.browser(), own, id_token_hint=brian)
    assert (page.status, "another account" in page.text) == (422, True)


async def test_an_authenticator_that_does_not_count(identity: Identity) -> None:
    _, own, _ = await freddie_with_passkey(identity, Authenticator(counts=False))
    for _ in range(2):
        assert (await sign_in_by(identity.browser(), own)).status == 303


async def test_he_cancels(identity: Identity) -> None:
    browser = identity.browser()
    page = await browser.submit_once(await to_sign_in(browser), action="cancel")
    assert page.answer["error"] == "access_denied"


@pytest.mark.parametrize("name", ["", "   ", "x" * 61, "a\u202eb", "two\nlines"])
async def test_a_name_that_is_none(identity: Identity, name: str) -> None:
    await identity.register()
    browser = identity.browser()
    await sign_in(browser)
    page = await to_add(browser, name)
    assert (page.status, "Give the passkey a name" in page.text) == (422, True)


async def test_of_two_at_once_one_is_the_first(identity: Identity) -> None:
    """There are ten recovery codes and no more; the other is not added on the word of the password alone."""
    await identity.register()
    browser = identity.browser()
    await sign_in(browser)
    pages = [await to_add(browser, name) for name in ("one", "other")]
    made = [Authenticator().make(options_on(page)) for page in pages]
    answers = await asyncio.gather(*(answer(browser, p, m) for p, m in zip(pages, made, strict=True)))
    assert [page.status for page in answers].count(200) == 1
    assert len(await identity.facts("PasskeyAdded")) == 1
    assert await identity.log.pool.fetchval("SELECT count(*) FROM vault WHERE kind LIKE 'recovery%'") == 10


async def test_what_runs_on_the_page_is_one_file_of_ours(identity: Identity) -> None:
    browser = identity.browser()
    page = await to_sign_in(browser)
    policy = page.headers["content-security-policy"].split("; ")
    assert f"script-src {ISSUER}/static/passkey.js" in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    (script,) = (given for tag, given in page.tags if tag == "script")
    file = await browser.get(script["src"])
    assert (file.status, file.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    # On all others nothing runs.
    assert "script-src" not in (await browser.get(authorization(browser.base))).headers["content-security-policy"]


class TestWhereBrowsersKnowNone:
    """Over http, by an address in numbers."""

    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {}

    async def test_they_are_not_offered(self, identity: Identity) -> None:
        await identity.register()
        browser = identity.browser()
        page = await browser.get(authorization())
        assert "passkey" not in page.response.text.lower()
        assert (await browser.get(SIGN_IN)).status == 404
        await sign_in(browser)
        assert "passkey" not in (await browser.get("/id/account")).response.text.lower()
        page = await browser.get(PAGE)
        assert "Browsers know passkeys only where a site is reached by https" in page.text
        assert not any(form.action == f"{PAGE}/begin" for form in page.forms)
