"""P5: how often the issuer asks the database. The identity service's part of a sign-in is counted in its own tests."""

import pytest

from services.identity import events as identity
from services.registry import events as registry
from services.token_issuer import read_model
from tests.support.counting import RoundTrips
from tests.support.issuing import CONFIDENTIAL, Stage


async def test_client_credentials_are_two(
    stage: Stage, round_trips: RoundTrips, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_model, "LATELY_SECONDS", 0.0)
    hub = await stage.register(resources=True)
    await stage.token(hub, grant_type="client_credentials")
    with round_trips.counted() as seen:
        answer = await stage.token(hub, grant_type="client_credentials")
    assert answer.status_code == 200
    assert seen == ["ask", "append"]


async def test_client_credentials_right_after_others_are_one(
    stage: Stage, round_trips: RoundTrips, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = await stage.register(resources=True)
    await stage.token(hub, grant_type="client_credentials")
    monkeypatch.setattr(read_model, "LATELY_SECONDS", 60.0)  # so that a slow machine is in time, too
    with round_trips.counted() as seen:
        answer = await stage.token(hub, grant_type="client_credentials")
        assert answer.status_code == 200
        assert seen == ["append"]
        # What was known lately is no reason to refuse.
        answer = await stage.token(hub, grant_type="client_credentials", scope="unheard-of")
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")
        assert seen[1] == "ask"


async def test_what_was_known_lately_gives_nothing_past_a_denial(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_model, "LATELY_SECONDS", 60.0)
    hub = await stage.register(resources=True)
    assert (await stage.token(hub, grant_type="client_credentials")).status_code == 200
    await stage.of_application(registry.ApplicationDisabled(client_id=hub.client_id, reason=""))
    refused = await stage.token(hub, grant_type="client_credentials")
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    await stage.of_application(registry.ApplicationEnabled(client_id=hub.client_id))
    assert (await stage.token(hub, grant_type="client_credentials")).status_code == 200


async def test_a_code_flow_is_five_and_a_refresh_two(stage: Stage, round_trips: RoundTrips) -> None:
    hub = await stage.register(resources=True)
    person, position = await stage.sign_in(await stage.user())
    await stage.tokens(hub, await stage.user())  # the rows' tables are looked at with the first append
    await stage.follow()
    with round_trips.counted() as seen:
        sent = await stage.issue(await stage.begin(hub), person, position)
    assert seen == ["ask", "ask", "append"]
    with round_trips.counted() as seen:
        answer = await stage.redeem(hub, sent.redirect.uri.partition("code=")[2].partition("&")[0])
    assert answer.status_code == 200, answer.text
    assert seen == ["ask", "append"]
    with round_trips.counted() as seen:
        answer = await stage.refresh(hub, answer.json()["refresh_token"])
    assert answer.status_code == 200
    assert seen == ["ask", "append"]


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
async def test_introspection_is_one(stage: Stage, round_trips: RoundTrips, kind: str) -> None:
    hub = await stage.register(CONFIDENTIAL, resources=True)
    token = (await stage.tokens(hub, await stage.user()))[kind]
    await stage.introspect(hub, token)  # guard and view have caught up with the head afterwards
    with round_trips.counted() as seen:
        answer = await stage.introspect(hub, token)
    assert answer.json()["active"] is True
    assert seen == ["ask"]


async def test_a_refresh_token_whose_end_was_not_heard_of_is_asked_about_twice(
    stage: Stage, round_trips: RoundTrips
) -> None:
    hub = await stage.register(CONFIDENTIAL, resources=True)
    sub = await stage.user()
    token = (await stage.tokens(hub, sub))["refresh_token"]
    assert (await stage.introspect(hub, token)).json()["active"] is True
    await stage.of_user(sub, identity.UserDisabled(sub=sub, reason=""))
    with round_trips.counted() as seen:
        assert (await stage.introspect(hub, token)).json() == {"active": False}
    assert len(seen) > 1
