"""An answer of a passkey that was captured, or is for something or somebody else."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from services.identity.events import PasskeyAdded, PasskeyCounterWentBack, SignInsFailed
from tests.support.browsing import Browser, Page
from tests.support.identity_service import Identity, authorization, sign_in, start
from tests.support.passkeys import (
    ISSUER,
    PAGE,
    SIGN_IN,
    Authenticator,
    add,
    answer,
    freddie_with_passkey,
    options_on,
    sign_in_by,
    to_add,
    to_sign_in,
    with_credential_id,
)
from tests.support.postgres import Database
from tests.support.second_factor import CODE, DEMAND, STEP_UP, to_the_code

Freddie = tuple[Browser, Authenticator, list[str]]


@pytest.fixture
def settings() -> dict[str, Any]:
    return {"issuer": ISSUER}


@pytest.fixture
async def freddie(identity: Identity) -> Freddie:
    return await freddie_with_passkey(identity)


def in_words(page: Page) -> tuple[int, bool]:
    return page.status, "That passkey opens nothing here" in page.text


WRONG = (422, True)


async def test_an_answer_twice(identity: Identity, freddie: Freddie) -> None:
    browser = identity.browser()
    page = await to_sign_in(browser)
    answered = freddie[1].use(options_on(page))
    thief = identity.browser("203.0.113.66")
    thief.client.cookies.update(browser.client.cookies)
    assert (await answer(browser, page, answered)).status == 303
    started = len(await identity.facts("SessionStarted"))
    # The counter says it at once; where an authenticator does not count, what is used up in the append does.
    await identity.log.pool.execute("UPDATE passkey_credentials SET sign_count = 0")
    assert in_words(await answer(thief, page, answered)) == WRONG
    assert len(await identity.facts("SessionStarted")) == started


async def test_at_two_replicas_in_the_same_moment(
    identity: Identity, freddie: Freddie, database: Database, tmp_path: Path
) -> None:
    freddie[1].counts = False
    await identity.log.pool.execute("UPDATE passkey_credentials SET sign_count = 0")
    first = identity.browser()
    page = await to_sign_in(first)
    answered = freddie[1].use(options_on(page))
    before = len(await identity.facts("SessionStarted"))
    async with AsyncExitStack() as stack:
        replica = await start(stack, database, tmp_path, {"issuer": ISSUER}, beside=identity)
        browsers = [one.browser() for one in (identity, replica) for _ in range(3)]
        for one in browsers:
            one.client.cookies.update(first.client.cookies)
        answers = await asyncio.gather(*(answer(one, page, answered) for one in browsers))
    assert sorted(one.status for one in answers) == [303, 422, 422, 422, 422, 422]
    assert len(await identity.facts("SessionStarted")) == before + 1


async def test_in_another_browser(identity: Identity, freddie: Freddie) -> None:
    page = await to_sign_in(identity.browser())
    answered = freddie[1].use(options_on(page))
    thief = identity.browser("203.0.113.66")
    own = await to_sign_in(thief)
    mixed = {**own.form.fields, "begun": page.form.fields["begun"], "answer": json.dumps(answered)}
    assert in_words(await thief.send("POST", SIGN_IN, data=mixed)) == WRONG
    assert in_words(await answer(thief, own, answered)) == WRONG
    assert (await answer(thief, page, answered)).status == 403


async def test_after_too_long(identity: Identity, freddie: Freddie) -> None:
    browser = identity.browser()
    page = await to_sign_in(browser)
    answered = freddie[1].use(options_on(page))
    identity.clock.forward(minutes=5, seconds=1)
    again = await answer(browser, page, answered)
    assert in_words(again) == WRONG
    # The page that says so asks anew, but not by itself.
    assert options_on(again)["challenge"] != options_on(page)["challenge"]
    (form,) = (given for tag, given in again.tags if tag == "form")
    assert "data-once" not in form
    assert (await answer(browser, again, freddie[1].use(options_on(again)))).status == 303


async def test_from_one_purpose_to_another(identity: Identity, freddie: Freddie) -> None:
    """What signs in does not step up or follow a password, and the other way round."""
    own, passkey, _ = freddie
    browser = identity.browser()
    pages = {
        SIGN_IN: (browser, await to_sign_in(browser)),
        CODE: (browser, await to_the_code(browser)),
        STEP_UP: (own, await own.get(authorization(own.base, claims=DEMAND))),
    }
    for path, (there, page) in pages.items():
        for other, (_, asked) in pages.items():
            if other == path:
                continue
            fields = {**page.form.fields, "begun": asked.form.fields["begun"]}
            fields["answer"] = json.dumps(passkey.use(options_on(asked)))
            assert in_words(await there.send("POST", path, data=fields)) == WRONG, (path, other)
    assert await identity.facts("SessionSteppedUp") == []


async def test_of_somebody_else_after_the_password(identity: Identity, freddie: Freddie) -> None:
    await identity.register("brian", "red-special-1963")
    brian = identity.browser()
    await sign_in(brian, "brian", "red-special-1963")
    of_brian = Authenticator()
    await add(brian, of_brian)
    browser = identity.browser()
    page = await to_the_code(browser)
    before = len(await identity.facts("SessionStarted"))
    for handle in (of_brian.credentials[0].user_handle, freddie[1].credentials[0].user_handle, b""):
        of_brian.credentials[0].user_handle = handle
        assert in_words(await answer(browser, page, of_brian.use(options_on(page)))) == WRONG
    assert len(await identity.facts("SessionStarted")) == before
    await identity.parts.failures.write()
    (failed,) = await identity.facts("SignInsFailed")
    assert isinstance(failed.event, SignInsFailed)
    assert (failed.event.wrong, failed.event.wrong_second_factor) == (0, 3)


async def test_in_the_name_of_somebody_else(identity: Identity, freddie: Freddie) -> None:
    """Whose it is was written when it was added; a handle that says something else, or nothing, opens nothing."""
    brian = await identity.register("brian", "red-special-1963")
    credential = freddie[1].credentials[0]
    for handle in (brian.encode(), b"", b"nobody"):
        credential.user_handle = handle
        assert in_words(await sign_in_by(identity.browser(), freddie[1])) == WRONG


async def test_adding_what_somebody_else_has(identity: Identity, freddie: Freddie) -> None:
    """A credential belongs to one user for ever, also when it was removed."""
    await identity.register("brian", "red-special-1963")
    brian = identity.browser()
    await sign_in(brian, "brian", "red-special-1963")
    stolen = freddie[1].credentials[0].credential_id
    (added,) = await identity.facts("PasskeyAdded")
    assert isinstance(added.event, PasskeyAdded)

    async def refused() -> None:
        page = await to_add(brian)
        made = with_credential_id(Authenticator().make(options_on(page)), stolen)
        page = await answer(brian, page, made)
        assert (page.status, "was added before" in page.text) == (422, True)

    await refused()
    await identity.parts.own_second_factor.reset(added.event.sub, identity.context())
    await refused()
    assert len(await identity.facts("PasskeyAdded")) == 1
    assert (await brian.get(PAGE)).text.count("not used yet") == 0


async def test_a_copy_of_it(identity: Identity, freddie: Freddie) -> None:
    """The counter of one that signs beside the other goes back: refused, and in the log, once for each question."""
    own = freddie[1]
    for _ in range(3):
        assert (await sign_in_by(identity.browser(), own)).status == 303
    own.counter -= 2
    browser = identity.browser()
    page = await to_sign_in(browser)
    answered = own.use(options_on(page))
    for _ in range(3):
        assert in_words(await answer(browser, page, answered)) == WRONG
    (back,) = await identity.facts("PasskeyCounterWentBack")
    (added,) = await identity.facts("PasskeyAdded")
    assert isinstance(added.event, PasskeyAdded)
    passkey_id, sub = added.event.passkey_id, added.event.sub
    assert back.event == PasskeyCounterWentBack(sub=sub, passkey_id=passkey_id, known=4, told=3)
    own.counter = 0
    own.counts = False
    assert in_words(await sign_in_by(identity.browser(), own)) == WRONG
    # Whoever has it not can bring no such fact about.
    assert in_words(await answer(browser, page, {**answered, "signature": "eA"})) == WRONG
    assert len(await identity.facts("PasskeyCounterWentBack")) == 2


async def test_a_screen_that_was_left_unlocked(identity: Identity, freddie: Freddie) -> None:
    """Nothing is added, removed or shown in a session whose sign-in is old, nor on the word of the password alone."""
    own, passkey, _ = freddie
    page = await own.get(SIGN_IN, params={"then": "passkeys"})
    await answer(own, page, passkey.use(options_on(page)))
    overview = await own.get(PAGE)
    identity.clock.forward(minutes=6)
    asked = await to_add(own)
    made = Authenticator().make(options_on(asked))
    identity.clock.forward(minutes=4, seconds=1)
    for form in overview.forms:
        answered = await own.press(overview, form, name="x")
        assert answered.location == f"{ISSUER}/signin?then=passkeys", form.action
    assert (await answer(own, asked, made)).location == f"{ISSUER}/signin?then=passkeys"
    assert len(await identity.facts("PasskeyAdded")) == 1
    assert await identity.facts("PasskeyRemoved") == []
    assert await identity.facts("RecoveryCodesReplaced") == []


async def test_removing_one_of_somebody_else(identity: Identity, freddie: Freddie) -> None:
    await identity.register("brian", "red-special-1963")
    brian, own = identity.browser(), Authenticator()
    await sign_in(brian, "brian", "red-special-1963")
    await add(brian, own)
    page = await brian.get(SIGN_IN, params={"then": "passkeys"})
    await answer(brian, page, own.use(options_on(page)))
    page = await brian.get(PAGE)
    (form,) = (form for form in page.forms if form.action == f"{PAGE}/remove")
    (first, _) = await identity.facts("PasskeyAdded")
    assert isinstance(first.event, PasskeyAdded)
    assert (await brian.press(page, form, passkey=first.event.passkey_id)).status == 403
    assert (await sign_in_by(identity.browser(), freddie[1])).status == 303


async def test_from_another_site(identity: Identity, freddie: Freddie) -> None:
    browser = identity.browser()
    page = await to_sign_in(browser)
    fields = {**page.form.fields, "answer": json.dumps(freddie[1].use(options_on(page)))}
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}):
        assert (await browser.send("POST", SIGN_IN, data=fields, headers=headers)).status == 403
    assert "__Host-stagedoor_session" not in browser.cookies()


async def test_trying_without_end(identity: Identity, freddie: Freddie) -> None:
    """Past the address's budget nothing is looked at, not even what is right; elsewhere it is."""
    browser = identity.browser("203.0.113.66")
    page = await to_sign_in(browser)
    nobody = {**freddie[1].use(options_on(page)), "id": "bm9ib2R5"}
    statuses = [(await answer(browser, page, nobody)).status for _ in range(101)]
    assert statuses == [422] * 100 + [429]
    assert (await sign_in_by(browser, freddie[1])).status == 429
    assert (await sign_in_by(identity.browser(), freddie[1])).status == 303
    identity.clock.forward(seconds=11)
    assert (await sign_in_by(browser, freddie[1])).status == 303
