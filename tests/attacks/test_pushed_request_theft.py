"""What somebody does with a `request_uri` that was seen, guessed or kept (RFC 9126 section 7)."""

import asyncio
from datetime import timedelta

import pytest

from services.token_issuer.authorization.answers import Redirect
from services.token_issuer.authorization.begin import Proceed, Refused, begin
from services.token_issuer.events import GrantOpened
from tests.support.issuing import HUB, PUBLIC, SPA, Stage, query
from tests.support.pushing import begin_pushed, push, pushed_uri

MALLORY = "com.mallory/app"


async def test_it_is_of_no_use_to_another_application(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    mallory = await stage.register(client_id=MALLORY)
    uri = await pushed_uri(stage, hub)
    for pairs in (
        [("client_id", MALLORY), ("request_uri", uri)],
        [("request_uri", uri)],
        [("client_id", MALLORY), ("client_id", HUB), ("request_uri", uri)],
        [("client_id", HUB), ("request_uri", uri), ("request_uri", uri)],
    ):
        assert not isinstance(await begin(stage.issuer, pairs), Proceed), pairs
    assert isinstance(await begin_pushed(stage, mallory, uri), Refused)
    assert isinstance(await begin_pushed(stage, hub, uri), Proceed)


async def test_it_gives_one_code_whoever_brings_it(stage: Stage) -> None:
    """Begun with twice, side by side: by the person, and by whoever read it in a history."""
    hub = await stage.register(resources=True)
    uri = await pushed_uri(stage, hub)
    begun = [await begin_pushed(stage, hub, uri) for _ in range(5)]
    people = [await stage.sign_in(await stage.user()) for _ in begun]
    await stage.follow()
    sent = await asyncio.gather(*(stage.issue(outcome, *person) for outcome, person in zip(begun, people, strict=True)))
    answers = [query(one.redirect.uri) for one in sent]
    assert sum("code" in answer for answer in answers) == 1
    assert [answer["error"] for answer in answers if "code" not in answer] == ["invalid_request_uri"] * 4
    assert len(await stage.facts(GrantOpened)) == 1
    assert isinstance(await begin_pushed(stage, hub, uri), Refused)


async def test_nor_a_second_one_when_the_row_comes_back(stage: Stage) -> None:
    """From a back-up, say: that it was used is in the log."""
    hub = await stage.register(resources=True)
    uri = await pushed_uri(stage, hub)
    pool = stage.issuer.log.pool
    row = await pool.fetchrow("SELECT digest, client_id, sealed, expires_at FROM token_issuer.pushed_requests")
    person, position = await stage.sign_in(await stage.user())
    first = await stage.issue(await begin_pushed(stage, hub, uri), person, position)
    assert "code" in query(first.redirect.uri)
    await pool.execute("INSERT INTO token_issuer.pushed_requests VALUES ($1, $2, $3, $4)", *row)
    stage.clock.ahead = timedelta(seconds=50)
    again = await stage.issue(await begin_pushed(stage, hub, uri), person, position)
    assert query(again.redirect.uri)["error"] == "invalid_request_uri"


@pytest.mark.parametrize("kept", ["", "0" * 43, "../" * 10, "x" * 4000, "\u00e9" * 43])
async def test_it_cannot_be_guessed(stage: Stage, kept: str) -> None:
    hub = await stage.register(resources=True)
    uri = await pushed_uri(stage, hub)
    reference = uri.rpartition(":")[2]
    assert len(reference) == 43
    prefix = uri.removesuffix(reference)
    for guess in (prefix + kept, prefix.upper() + reference, prefix + reference.swapcase(), f"{uri} "):
        outcome = await begin_pushed(stage, hub, guess)
        # What does not look like one of ours is an address, and is not fetched; the application hears of that.
        assert isinstance(outcome, Redirect if guess.startswith("URN") else Refused), guess


async def test_nothing_is_added_to_it_on_its_way_through_the_browser(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    uri = await pushed_uri(stage, hub, scope="openid read")
    outcome = await begin_pushed(
        stage,
        hub,
        uri,
        scope="openid read update",
        state="mallory",
        redirect_uri="https://mallory.example/callback",
        code_challenge="m" * 43,
        prompt="none",
        request="e30.e30.",
    )
    assert isinstance(outcome, Proceed)
    assert outcome.request.scopes == ("openid", "read")
    assert (outcome.request.state, outcome.request.redirect_uri) == ("xyz", hub.redirect_uri)
    assert outcome.request.prompt == ()


async def test_who_proves_nothing_cannot_fill_the_disk(stage: Stage) -> None:
    """A public application's name is enough to push; so the pushes from one address are counted."""
    spa = await stage.register(PUBLIC, SPA, resources=True)
    await stage.follow()
    answers = await asyncio.gather(*(push(stage, spa, state="") for _ in range(130)))
    assert {answer.status_code for answer in answers} == {201, 429}
    assert sum(answer.status_code == 201 for answer in answers) < 130
