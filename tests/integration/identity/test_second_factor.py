"""Setting up a second factor, signing in by two, recovery codes, turning it off, stepping up."""

import re

import pytest

from services.identity.events import (
    RecoveryCodesReplaced,
    SecondFactorAdded,
    SecondFactorKind,
    SecondFactorRemoved,
    SecondFactorReset,
    SessionReauthenticated,
    SessionStarted,
    SessionSteppedUp,
    SignInsFailed,
)
from services.identity.second_factor import SecondFactor
from shared.denials import DenialKind
from tests.support.browsing import Browser
from tests.support.counting import RoundTrips
from tests.support.fake_issuer import CALLBACK
from tests.support.identity_service import PASSWORD, Identity, authorization, sign_in
from tests.support.second_factor import (
    CODE,
    DEMAND,
    PAGE,
    STEP_UP,
    WISH,
    Telephone,
    freddie_with,
    seed_on,
    send,
    set_up,
    shown_recovery_codes,
    to_the_code,
)

BY_TWO = ("pwd", "otp", "mfa")


@pytest.fixture
async def freddie(identity: Identity) -> tuple[Browser, Telephone]:
    return await freddie_with(identity)


async def test_it_is_on_only_after_a_right_code(identity: Identity) -> None:
    sub = await identity.register()
    browser = identity.browser()
    await sign_in(browser)
    (started,) = await identity.facts("SessionStarted")
    assert isinstance(started.event, SessionStarted)
    page = await browser.get(PAGE)
    page = await browser.submit_once(page, password="not-the-password")
    assert (page.status, "The password is not right." in page.text) == (422, True)
    page = await browser.submit_once(page, password=PASSWORD)
    telephone = Telephone(identity, seed_on(page))
    assert 'class="qr"' in page.response.text
    wrong = await browser.submit_once(page, code=telephone.wrong())
    assert wrong.status == 422
    assert seed_on(wrong) == telephone.seed
    assert await identity.facts("SecondFactorAdded") == []
    assert (await to_the_code(identity.browser())).path == "/id/consent"

    page = await browser.submit_once(wrong, code=telephone.code())
    assert len(set(shown_recovery_codes(page))) == 10
    assert page.headers["cache-control"] == "no-store"
    (added,) = await identity.facts("SecondFactorAdded")
    assert added.event == SecondFactorAdded(sub=sub, kind=SecondFactorKind.TOTP, kept_session=started.event.sid)
    user = await identity.parts.questions.user(sub)
    assert user is not None
    assert user.totp_since == added.recorded_at
    # Here he stays signed in; elsewhere not.
    assert (await browser.get("/id/account")).path == "/id/account"


async def test_setting_up_ends_his_other_sessions(identity: Identity) -> None:
    await identity.register()
    browser, elsewhere = identity.browser(), identity.browser()
    await sign_in(elsewhere)
    await sign_in(browser)
    await set_up(identity, browser)
    assert (await elsewhere.get("/id/account")).path == "/id/signin"
    assert (await browser.get("/id/account")).path == "/id/account"


async def test_a_sign_in_by_two(identity: Identity, freddie: tuple[Browser, Telephone]) -> None:
    _, telephone = freddie
    before = len(await identity.facts("SessionStarted"))
    browser = identity.browser()
    page = await to_the_code(browser)
    assert page.path == CODE
    assert "freddie" not in page.response.text.lower()
    assert set(browser.cookies()) == {"stagedoor_form", "stagedoor_proved"}
    assert len(await identity.facts("SessionStarted")) == before
    page = await browser.submit(page, code=telephone.code(), action="go_on")
    assert page.location.startswith(CALLBACK)
    (issued,) = identity.issuer.issued
    assert tuple(issued.amr) == BY_TWO
    started = (await identity.facts("SessionStarted"))[-1].event
    assert isinstance(started, SessionStarted)
    assert (started.amr, started.with_recovery_code) == (BY_TWO, False)
    assert set(browser.cookies()) == {"stagedoor_session", "stagedoor_device"}


async def test_one_without_a_request_leads_to_the_page_that_was_wanted(
    identity: Identity, freddie: tuple[Browser, Telephone]
) -> None:
    _, telephone = freddie
    browser = identity.browser()
    page = await browser.get("/id/account/password")
    page = await browser.submit(page, user_name="freddie", password=PASSWORD)
    assert page.path == CODE
    page = await browser.submit(page, code=telephone.code())
    assert page.path == "/id/account/password"


@pytest.mark.parametrize("steps", [-1, 0, 1])
async def test_a_code_of_the_steps_beside_counts(
    identity: Identity, freddie: tuple[Browser, Telephone], steps: int
) -> None:
    browser = identity.browser()
    page = await browser.submit(await to_the_code(browser), code=freddie[1].code(steps))
    assert "code" in page.answer


@pytest.mark.parametrize("steps", [-2, 2])
async def test_one_further_away_does_not(identity: Identity, freddie: tuple[Browser, Telephone], steps: int) -> None:
    browser = identity.browser()
    page = await browser.submit(await to_the_code(browser), code=freddie[1].code(steps))
    assert page.status == 422
    assert page.form.fields["code"] == ""


async def test_who_has_signed_in_with_another_page_is_led_on(
    identity: Identity, freddie: tuple[Browser, Telephone]
) -> None:
    browser = identity.browser()
    one = await to_the_code(browser)
    other = await to_the_code(browser)
    await browser.submit(other, code=freddie[1].code())
    page = await browser.submit(one, code=freddie[1].code(1))
    assert "code" in page.answer
    assert len(await identity.facts("SessionStarted")) == 2


async def test_of_two_sessions_that_set_it_up_at_once_one_does(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    await identity.register()
    browsers = [identity.browser(), identity.browser()]
    pages = []
    for browser in browsers:
        await sign_in(browser)
        pages.append(await browser.submit_once(await browser.get(PAGE), password=PASSWORD))
    codes = [Telephone(identity, seed_on(page)).code() for page in pages]
    prove_new = SecondFactor.prove_new
    done: list[bool] = []

    async def and_then(self: SecondFactor, *arguments: object) -> object:
        proof = await prove_new(self, *arguments)  # type: ignore[arg-type]
        if not done:
            done.append(True)
            assert (await browsers[1].submit_once(pages[1], code=codes[1])).status == 200
        return proof

    monkeypatch.setattr(SecondFactor, "prove_new", and_then)
    answer = await browsers[0].submit_once(pages[0], code=codes[0])
    assert answer.location.endswith(PAGE)
    assert (await browsers[0].get(PAGE)).path == "/id/signin"
    assert len(await identity.facts("SecondFactorAdded")) == 1


async def test_spaces_are_left_out_of_a_code(identity: Identity, freddie: tuple[Browser, Telephone]) -> None:
    browser = identity.browser()
    code = freddie[1].code()
    page = await browser.submit(await to_the_code(browser), code=f" {code[:3]} {code[3:]}")
    assert "code" in page.answer


async def test_a_recovery_code_stands_in_once(identity: Identity, freddie: tuple[Browser, Telephone]) -> None:
    own, telephone = freddie
    browser = identity.browser()
    page = await to_the_code(browser)
    page = await browser.get(next(link for link in page.links if "by=recovery" in link))
    assert "Use a recovery code" in page.text
    page = await browser.submit(page, code=telephone.recovery_codes[3].upper().replace("-", " "))
    assert "code" in page.answer
    started = (await identity.facts("SessionStarted"))[-1].event
    assert isinstance(started, SessionStarted)
    assert (started.amr, started.with_recovery_code) == (("pwd", "mfa"), True)
    assert "You have 9 left." in (await own.get(PAGE)).text


async def test_cancelling_gives_the_application_an_answer(
    identity: Identity, freddie: tuple[Browser, Telephone]
) -> None:
    browser = identity.browser()
    page = await browser.submit(await to_the_code(browser), action="cancel")
    assert page.answer["error"] == "access_denied"
    assert "stagedoor_proved" not in browser.cookies()
    assert len(freddie[1].recovery_codes) == 10
    assert identity.issuer.issued == []


async def test_new_recovery_codes(identity: Identity, freddie: tuple[Browser, Telephone]) -> None:
    own, telephone = freddie
    path = f"{PAGE}/recovery-codes"
    page = await own.get(PAGE)
    for password, code in (("not-the-password", telephone.code()), (PASSWORD, telephone.wrong())):
        answer = await send(own, page, path, password=password, code=code)
        assert answer.status == 422
    # With one of the old ones, which is used up.
    page = await send(own, page, path, password=PASSWORD, code=telephone.recovery_codes[0])
    new = shown_recovery_codes(page)
    assert len(new) == 10
    assert not set(new) & set(telephone.recovery_codes)
    (fact,) = await identity.facts("RecoveryCodesReplaced")
    assert fact.event == RecoveryCodesReplaced(sub=fact.event.sub, with_recovery_code=True)  # type: ignore[attr-defined]
    for code, good in ((telephone.recovery_codes[1], False), (new[0], True)):
        browser = identity.browser()
        page = await browser.submit(await to_the_code(browser), code=code)
        assert "code" in page.answer if good else page.status == 422, code


async def test_turning_it_off(identity: Identity, freddie: tuple[Browser, Telephone]) -> None:
    own, telephone = freddie
    elsewhere = identity.browser()
    await elsewhere.submit(await to_the_code(elsewhere), code=telephone.code())
    path, code = f"{PAGE}/remove", telephone.wait()
    page = await own.get(PAGE)
    for wrong in ({"password": PASSWORD, "code": telephone.wrong()}, {"password": "not-the-one", "code": code}):
        assert (await send(own, page, path, **wrong)).status == 422
    assert await identity.facts("SecondFactorRemoved") == []
    page = await own.follow(await send(own, page, path, password=PASSWORD, code=code))
    assert "The second factor is off." in page.text
    (fact,) = await identity.facts("SecondFactorRemoved")
    assert isinstance(fact.event, SecondFactorRemoved)
    assert fact.event.kept_session
    assert (await elsewhere.get("/id/account")).path == "/id/signin"
    assert await identity.log.pool.fetchval("SELECT count(*) FROM vault WHERE kind <> 'password'") == 0
    page = await sign_in(identity.browser())
    assert page.location.startswith(CALLBACK)
    assert tuple(identity.issuer.issued[-1].amr) == ("pwd",)


async def test_a_reset_by_an_administrator_ends_everything(
    identity: Identity, freddie: tuple[Browser, Telephone]
) -> None:
    own, _ = freddie
    (added,) = await identity.facts("SecondFactorAdded")
    assert isinstance(added.event, SecondFactorAdded)
    await identity.parts.own_second_factor.reset(added.event.sub, identity.context())
    (fact,) = await identity.facts("SecondFactorReset")
    assert isinstance(fact.event, SecondFactorReset)
    assert [denial.kind for denial in fact.event.denies()] == [DenialKind.SUBJECT]
    assert (await own.get("/id/account")).path == "/id/signin"
    assert await identity.log.pool.fetchval("SELECT count(*) FROM vault WHERE kind <> 'password'") == 0
    assert (await sign_in(identity.browser())).location.startswith(CALLBACK)


async def test_where_the_vault_has_lost_the_seed_nobody_gets_in(
    identity: Identity, freddie: tuple[Browser, Telephone]
) -> None:
    await identity.log.pool.execute("DELETE FROM vault WHERE kind <> 'password'")
    browser = identity.browser()
    page = await to_the_code(browser)
    assert page.path == CODE
    for code in (freddie[1].code(), freddie[1].recovery_codes[0]):
        assert (await browser.submit(page, code=code)).status == 422


async def test_failures_are_facts(identity: Identity, freddie: tuple[Browser, Telephone]) -> None:
    browser = identity.browser()
    await browser.submit(await to_the_code(browser), code=freddie[1].wrong())
    await identity.parts.failures.write()
    failed = (await identity.facts("SignInsFailed"))[-1].event
    assert isinstance(failed, SignInsFailed)
    assert (failed.wrong, failed.wrong_second_factor) == (0, 1)


async def test_nothing_secret_is_in_a_fact(identity: Identity, freddie: tuple[Browser, Telephone]) -> None:
    own, telephone = freddie
    browser = identity.browser()
    await browser.submit(await to_the_code(browser), code=telephone.recovery_codes[0])
    told = " ".join(one.event.model_dump_json(context={"key": b"k" * 32}) for one in await identity.facts())
    (sealed,) = [row["value"] for row in await identity.log.pool.fetch("SELECT value FROM vault WHERE kind = 'totp'")]
    assert telephone.seed not in sealed
    for secret in (telephone.seed.hex(), *telephone.recovery_codes, telephone.recovery_codes[0].replace("-", "")):
        assert secret not in told
    kept = await identity.log.pool.fetch("SELECT value FROM vault WHERE kind LIKE 'recovery%'")
    assert len(kept) == 9
    assert not [row for row in kept if telephone.recovery_codes[1].replace("-", "").encode() in row["value"]]
    assert "You have 9 left." in (await own.get(PAGE)).text


# Stepping up


async def test_a_session_by_password_steps_up_by_the_code_alone(
    identity: Identity, freddie: tuple[Browser, Telephone]
) -> None:
    own, telephone = freddie
    secret = own.cookies()["stagedoor_session"]
    assert "code" in (await own.get(authorization())).answer
    assert tuple(identity.issuer.issued[-1].amr) == ("pwd",)
    page = await own.get(authorization(claims=DEMAND))
    assert page.path == STEP_UP
    assert (await own.submit(page, code=telephone.wrong())).status == 422
    page = await own.submit(page, code=telephone.code())
    assert "code" in page.answer
    issued = identity.issuer.issued
    assert tuple(issued[-1].amr) == BY_TWO
    assert issued[-1].auth_time == issued[0].auth_time
    (fact,) = await identity.facts("SessionSteppedUp")
    assert isinstance(fact.event, SessionSteppedUp)
    assert own.cookies()["stagedoor_session"] != secret
    # It is worth that from now on.
    assert "code" in (await own.get(authorization(claims=DEMAND))).answer
    assert len(await identity.facts("SessionSteppedUp")) == 1


async def test_a_wish_is_asked_of_who_has_it(identity: Identity, freddie: tuple[Browser, Telephone]) -> None:
    own, _ = freddie
    assert (await own.get(authorization(acr_values=WISH))).path == STEP_UP
    await identity.register("brian", "red-special-1963")
    brian = identity.browser()
    await brian.submit(await sign_in(brian, "brian", "red-special-1963"), decision="allow")
    assert "code" in (await brian.get(authorization(acr_values=WISH))).answer


async def test_a_demand_that_nobody_can_meet_is_told(identity: Identity) -> None:
    await identity.register()
    page = await sign_in(identity.browser(), claims=DEMAND)
    assert page.answer["error"] == "unmet_authentication_requirements"
    assert identity.issuer.issued == []


async def test_without_a_page_there_is_no_stepping_up(identity: Identity, freddie: tuple[Browser, Telephone]) -> None:
    page = await freddie[0].get(authorization(claims=DEMAND, prompt="none"))
    assert page.answer["error"] == "login_required"
    assert identity.issuer.issued == []


@pytest.mark.parametrize("demand", [{"prompt": "login"}, {"max_age": "0"}])
async def test_a_new_sign_in_asks_for_both(
    identity: Identity, freddie: tuple[Browser, Telephone], demand: dict[str, str]
) -> None:
    own, telephone = freddie
    page = await own.get(authorization(**demand))
    assert page.path == "/id/signin"
    page = await own.submit(page, user_name="freddie", password=PASSWORD)
    assert page.path == CODE
    assert identity.issuer.issued == []
    page = await own.submit(page, code=telephone.code())
    assert "code" in page.answer
    (fact,) = await identity.facts("SessionReauthenticated")
    assert isinstance(fact.event, SessionReauthenticated)
    assert fact.event.amr == BY_TWO


async def test_another_account_than_the_one_asked_for(identity: Identity, freddie: tuple[Browser, Telephone]) -> None:
    browser = identity.browser()
    page = await to_the_code(browser, id_token_hint="somebody-else")
    assert page.path == CODE
    assert "another account" not in page.text
    page = await browser.submit(page, code=freddie[1].code())
    assert page.status == 422
    assert "another account" in page.text
    assert identity.issuer.issued == []


async def test_how_often_the_database_is_asked(
    identity: Identity, freddie: tuple[Browser, Telephone], round_trips: RoundTrips
) -> None:
    browser = identity.browser()
    with round_trips.counted() as seen:
        page = await browser.get(authorization())
        page = await browser.submit(page, user_name="freddie", password=PASSWORD, action="sign_in")
        page = await browser.submit(page, code=freddie[1].code())
    assert "code" in page.answer
    assert seen.count("append") == 1
    assert len(seen) <= 15, seen


async def test_the_pages_hold_to_their_policy(identity: Identity) -> None:
    await identity.register()
    browser = identity.browser()
    await sign_in(browser)
    page = await browser.submit_once(await browser.get(PAGE), password=PASSWORD)
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert re.search(r"<script|\sstyle=|<style", page.response.text) is None
