"""P5: how often the issuer asks the database. The identity service's part of a sign-in is counted in its own tests."""

from tests.support.counting import RoundTrips
from tests.support.issuing import CONFIDENTIAL, Stage


async def test_client_credentials_are_two(stage: Stage, round_trips: RoundTrips) -> None:
    hub = await stage.register(resources=True)
    await stage.token(hub, grant_type="client_credentials")
    with round_trips.counted() as seen:
        answer = await stage.token(hub, grant_type="client_credentials")
    assert answer.status_code == 200
    assert seen == ["ask", "append"]


async def test_a_code_flow_is_five_and_a_refresh_two(stage: Stage, round_trips: RoundTrips) -> None:
    hub = await stage.register(resources=True)
    person, position = await stage.sign_in(await stage.user())
    await stage.tokens(hub, await stage.user())  # the rows' tables are looked at with the first append
    await stage.follow()
    with round_trips.counted() as seen:
        sent = await stage.issue(await stage.begin(hub), person, position)
    assert seen == ["ask", "ask", "append"]
    with round_trips.counted() as seen:
        answer = await stage.redeem(hub, sent.redirect.partition("code=")[2].partition("&")[0])
    assert answer.status_code == 200, answer.text
    assert seen == ["ask", "append"]
    with round_trips.counted() as seen:
        answer = await stage.refresh(hub, answer.json()["refresh_token"])
    assert answer.status_code == 200
    assert seen == ["ask", "append"]


async def test_introspection_is_one(stage: Stage, round_trips: RoundTrips) -> None:
    hub = await stage.register(CONFIDENTIAL, resources=True)
    token = (await stage.tokens(hub, await stage.user()))["access_token"]
    await stage.introspect(hub, token)  # the guard has caught up with the head afterwards
    with round_trips.counted() as seen:
        answer = await stage.introspect(hub, token)
    assert answer.json()["active"] is True
    assert seen == ["ask"]
