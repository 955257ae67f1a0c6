"""What somebody does with a device code that is not theirs, or whose time is over (RFC 8628 section 5)."""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

import pytest

from services.identity import events as identity
from services.registry import events as registry
from services.token_issuer.authorization import device
from services.token_issuer.authorization.begin import Proceed, Refused
from services.token_issuer.authorization.issue import issue_code
from services.token_issuer.authorization.issue import refuse as refuse_browser
from services.token_issuer.events import CodeRedeemed, GrantEnded, GrantOpened
from shared.errors import Refusal
from shared.ids import new_id, new_secret
from stagedoor import Allowed
from tests.support.devices import (
    CONFIDENTIAL_DEVICE,
    PUBLIC_DEVICE,
    TELEVISION,
    allow,
    allowed,
    ask,
    begin,
    context,
    poll,
    refuse,
)
from tests.support.issuing import CONFIDENTIAL, Client, Stage, error

REASON = identity.SessionEndReason.SIGNED_OUT
MALLORY = "com.mallory/app"


@pytest.fixture
async def television(stage: Stage) -> Client:
    return await stage.register(CONFIDENTIAL_DEVICE, TELEVISION, resources=True)


async def refused(answer: Awaitable[Any]) -> str:
    with pytest.raises(Refusal) as refusal:
        await answer
    return refusal.value.code


async def test_it_is_of_no_use_to_another_client(stage: Stage, television: Client) -> None:
    mallory = await stage.register(PUBLIC_DEVICE, MALLORY)
    asked = await ask(stage, television)
    assert error(await poll(stage, mallory, asked)) == "invalid_grant"
    person, position = await stage.sign_in(await stage.user())
    await allow(stage, await begin(stage, asked), person, position)
    assert error(await poll(stage, mallory, asked)) == "invalid_grant"
    mallory.client_id = TELEVISION
    assert error(await poll(stage, mallory, asked)) == "invalid_client"
    # Another client's questions do not slow it down, nor end what it was given.
    assert (await poll(stage, television, asked)).status_code == 200
    assert error(await poll(stage, Client(MALLORY, None, ""), asked)) == "invalid_grant"
    assert await stage.facts(GrantEnded) == []


async def test_a_second_redemption_ends_the_grant(stage: Stage, television: Client) -> None:
    asked, _ = await allowed(stage, television, await stage.user())
    tokens = (await poll(stage, television, asked)).json()
    assert error(await poll(stage, television, asked)) == "invalid_grant"
    assert not isinstance(await stage.validate(tokens["access_token"]), Allowed)
    assert error(await stage.refresh(television, tokens["refresh_token"])) == "invalid_grant"
    assert len(await stage.facts(GrantEnded)) == 1


async def test_of_many_at_once_one_gets_tokens_and_none_keeps_them(stage: Stage, television: Client) -> None:
    asked, _ = await allowed(stage, television, await stage.user())
    answers = await asyncio.gather(*(poll(stage, television, asked) for _ in range(8)))
    assert sum(answer.status_code == 200 for answer in answers) == 1
    assert {error(answer) for answer in answers if answer.status_code != 200} == {"invalid_grant"}
    assert (len(await stage.facts(CodeRedeemed)), len(await stage.facts(GrantEnded))) == (1, 1)


async def test_neither_kind_of_code_is_taken_for_the_other(stage: Stage) -> None:
    both = CONFIDENTIAL.model_copy(update={"grants": (*CONFIDENTIAL.grants, registry.GrantType.DEVICE_CODE)})
    hub = await stage.register(both, resources=True)
    sub = await stage.user()
    code = await stage.code(hub, sub)
    assert error(await poll(stage, hub, code)) == "invalid_grant"
    asked, _ = await allowed(stage, hub, sub)
    for redirect_uri in ("", hub.redirect_uri):
        for verifier in ("", "v" * 43):
            answer = await stage.redeem(hub, asked.device_code, redirect_uri=redirect_uri, code_verifier=verifier)
            assert error(answer) == "invalid_grant"
    assert error(await stage.refresh(hub, asked.device_code)) == "invalid_grant"
    assert (await stage.redeem(hub, code)).status_code == 200
    tokens = await poll(stage, hub, asked)
    assert tokens.status_code == 200
    assert error(await poll(stage, hub, tokens.json()["refresh_token"])) == "invalid_grant"


@pytest.mark.parametrize(
    "guess", ["", "x", "sdd_", "sdd_{gid}", "sdd_{gid}.{other}", "sdd_{other_gid}.{secret}", "{code} "]
)
async def test_it_cannot_be_made_up(stage: Stage, television: Client, guess: str) -> None:
    asked, _ = await allowed(stage, television, await stage.user())
    gid, _, secret = asked.device_code.removeprefix("sdd_").partition(".")
    parts = {"gid": gid, "secret": secret, "other": new_secret(), "other_gid": new_id(), "code": asked.device_code}
    answer = await poll(stage, television, guess.format(**parts))
    assert error(answer) == ("invalid_grant" if guess else "invalid_request")
    assert await stage.facts(CodeRedeemed) == []


async def test_the_pages_cannot_swap_one_kind_of_request_for_the_other(stage: Stage) -> None:
    """A stolen identity service has the sealed requests of both."""
    both = CONFIDENTIAL.model_copy(update={"grants": (*CONFIDENTIAL.grants, registry.GrantType.DEVICE_CODE)})
    hub = await stage.register(both, resources=True)
    person, position = await stage.sign_in(await stage.user())
    waiting = await begin(stage, await ask(stage, hub))
    sealed = waiting.proceed.sealed
    assert await refused(issue_code(stage.issuer, sealed, person, position, context(person.sub))) == "invalid_request"
    with pytest.raises(Refusal):
        refuse_browser(stage.issuer, sealed, "access_denied")
    from_browser = await stage.begin(hub)
    assert isinstance(from_browser, Proceed)
    sealed = from_browser.sealed
    assert await refused(device.allow(stage.issuer, sealed, person, position, context(person.sub))) == "invalid_request"
    assert await refused(device.refuse(stage.issuer, sealed, "s", person.sub, context(person.sub))) == "invalid_request"
    assert await stage.facts(GrantOpened) == []


async def test_no_more_is_given_than_was_asked_for(stage: Stage, television: Client) -> None:
    waiting = await begin(stage, await ask(stage, television, "openid read"))
    person, position = await stage.sign_in(await stage.user())
    more = (*waiting.proceed.request.scopes, "update")
    assert await refused(allow(stage, waiting, person, position, consented=more)) == "invalid_request"
    assert await refused(allow(stage, waiting, person, position, consented=())) == "access_denied"


async def test_of_two_answers_the_first_counts(stage: Stage, television: Client) -> None:
    for _ in range(3):
        asked = await ask(stage, television)
        begun = [await begin(stage, asked) for _ in range(4)]
        people = [await stage.sign_in(await stage.user()) for _ in begun]
        await stage.follow()
        answers = await asyncio.gather(
            *(allow(stage, one, *person) for one, person in zip(begun[:2], people[:2], strict=True)),
            *(refuse(stage, one, person) for one, (person, _) in zip(begun[2:], people[2:], strict=True)),
            return_exceptions=True,
        )
        done = [answer for answer in answers if isinstance(answer, int)]
        others = [answer.code for answer in answers if isinstance(answer, Refusal)]
        assert (len(done), others) == (1, ["user_code_unknown"] * 3)
        answer = await poll(stage, television, asked)
        assert answer.status_code == 200 or error(answer) == "access_denied"
        assert (answer.status_code == 200) == (answers.index(done[0]) < 2)


async def test_nor_a_second_one_when_the_row_comes_back(stage: Stage, television: Client) -> None:
    """From a back-up, say: that it was answered is in the log."""
    asked = await ask(stage, television)
    pool = stage.issuer.log.pool
    row = await pool.fetchrow("SELECT * FROM token_issuer.device_requests")
    person, position = await stage.sign_in(await stage.user())
    await refuse(stage, await begin(stage, asked), person)
    await pool.execute("UPDATE token_issuer.device_requests SET refused = false")
    waiting = await begin(stage, asked)
    assert await refused(allow(stage, waiting, person, position)) == "busy"
    await pool.execute("DELETE FROM token_issuer.device_requests")
    columns = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    await pool.execute(f"INSERT INTO token_issuer.device_requests VALUES ({columns})", *row.values())  # noqa: S608
    assert await refused(refuse(stage, await begin(stage, asked), person)) == "user_code_unknown"
    assert await stage.facts(GrantOpened) == []


DISABLED = registry.ApplicationDisabled(client_id=TELEVISION, reason="")


async def test_nothing_is_allowed_to_a_disabled_application(stage: Stage, television: Client) -> None:
    """Also where the issuer has not heard of it: the log refuses."""
    asked = await ask(stage, television)
    waiting = await begin(stage, asked)
    person, position = await stage.sign_in(await stage.user())
    await stage.follow()
    await stage.of_application(DISABLED, client_id=TELEVISION)
    assert await refused(allow(stage, waiting, person, position)) == "invalid_client"
    assert isinstance(await device.begin(stage.issuer, asked.user_code), Refused)
    assert error(await poll(stage, television, asked)) == "invalid_client"
    await stage.of_application(registry.ApplicationEnabled(client_id=TELEVISION), client_id=TELEVISION)
    await stage.follow()
    await allow(stage, await begin(stage, asked), person, position)
    assert (await poll(stage, television, asked)).status_code == 200


@pytest.mark.parametrize("what", ["client", "user", "session", "consent"])
async def test_what_was_allowed_is_not_given_after_a_denial(stage: Stage, television: Client, what: str) -> None:
    """Before the device asked for its tokens, and before the issuer heard of it."""
    sub = await stage.user()
    asked, person = await allowed(stage, television, sub)
    await stage.follow()
    match what:
        case "client":
            await stage.of_application(DISABLED, client_id=TELEVISION)
        case "user":
            await stage.of_user(sub, identity.UserDisabled(sub=sub, reason=""))
        case "session":
            ended = identity.SessionEnded(sid=person.sid, sub=sub, reason=REASON, tokens_end_at=stage.clock())
            await stage.write(stage.identity, f"session-{person.sid}", ended)
        case _:
            withdrawn = identity.ConsentWithdrawn(sub=sub, client_id=TELEVISION)
            await stage.write(stage.identity, f"consent-{sub}", withdrawn)
    assert error(await poll(stage, television, asked)) in ("invalid_grant", "invalid_client")
    assert await stage.facts(CodeRedeemed) == []


@pytest.mark.parametrize("heard", [True, False])
async def test_what_was_asked_for_before_a_cut_off_is_not_allowed_after_it(
    stage: Stage, television: Client, heard: bool
) -> None:
    """Somebody with a stolen secret asked; the secret was reported; then they talk a person into allowing it."""
    waiting = await begin(stage, await ask(stage, television))
    person, position = await stage.sign_in(await stage.user())
    await stage.follow()
    narrower = CONFIDENTIAL_DEVICE.model_copy(update={"scopes": ("read",)})
    changed = registry.ApplicationChanged(client_id=TELEVISION, settings=narrower, narrowed=True)
    await stage.of_application(changed, client_id=TELEVISION)
    if heard:
        await stage.follow()
    assert await refused(allow(stage, waiting, person, position)) == "user_code_unknown"
    assert await stage.facts(GrantOpened) == []
    await stage.follow()
    later = await ask(stage, television)
    await allow(stage, await begin(stage, later), person, position)
    assert (await poll(stage, television, later)).status_code == 200


async def test_a_session_that_has_ended_allows_nothing(stage: Stage, television: Client) -> None:
    waiting = await begin(stage, await ask(stage, television))
    sub = await stage.user()
    person, position = await stage.sign_in(sub)
    ended = identity.SessionEnded(sid=person.sid, sub=sub, reason=REASON, tokens_end_at=stage.clock())
    await stage.write(stage.identity, f"session-{person.sid}", ended)
    assert await refused(allow(stage, waiting, person, position)) == "login_required"


async def test_the_session_of_somebody_else_allows_nothing(stage: Stage, television: Client) -> None:
    waiting = await begin(stage, await ask(stage, television))
    freddie, position = await stage.sign_in(await stage.user())
    mallory = await stage.user()
    await stage.follow()
    theirs = {"sub": mallory, "sid": freddie.sid}
    assert await refused(allow(stage, waiting, freddie, position, **theirs)) == "login_required"


async def test_who_proves_nothing_cannot_fill_the_disk(stage: Stage) -> None:
    radio = await stage.register(PUBLIC_DEVICE, "com.radio/app", resources=True)
    await stage.follow()
    form = radio.form(scope="read")
    answers = await asyncio.gather(*(stage.http.post("/id/connect/device", data=form) for _ in range(130)))
    assert {answer.status_code for answer in answers} == {200, 429}


async def test_with_the_switch_off_identity_lets_no_device_in(stage: Stage, television: Client) -> None:
    asked = await ask(stage, television)
    waiting = await begin(stage, asked)
    person, _ = await stage.sign_in(await stage.user())
    stage.issuer = replace(stage.issuer, policy=replace(stage.issuer.policy, issue_for_identity=False))
    for answer in (
        lambda: device.begin(stage.issuer, asked.user_code),
        lambda: allow(stage, waiting, person),
        lambda: refuse(stage, waiting, person),
    ):
        assert await refused(answer()) == "identity_refused"
