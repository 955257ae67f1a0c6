"""Applications that sign: at every endpoint that they authenticate at, with every kind of key."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from services.registry.events import ApplicationChanged, ApplicationDisabled
from services.token_issuer import read_model
from services.token_issuer.assertions.keys import KEPT, LEAST_BETWEEN, LONGEST_KEPT, ClientKeys
from services.token_issuer.events import AccessTokenIssued, AssertionUsed, GrantEnded
from shared.http.outgoing import Outgoing, Reach
from stagedoor.verdict import Allowed
from tests.support.assertions import ClientKey, asserted, signing, signing_client
from tests.support.counting import RoundTrips
from tests.support.issuing import ISSUER, Stage, error
from tests.support.web import Web, web

TOKEN = "/id/connect/token"
OWN = {"grant_type": "client_credentials"}


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "PS256", "EdDSA"])
async def test_every_kind_of_key_gets_a_token(stage: Stage, algorithm: str) -> None:
    hub = await signing_client(stage, ClientKey(algorithm))
    answer = await stage.token(hub, **OWN)
    assert answer.status_code == 200, answer.text
    assert isinstance(await stage.validate(answer.json()["access_token"]), Allowed)


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": [ISSUER]},
        {"aud": f"{ISSUER}/connect/token"},
        {"aud": f"{ISSUER}/connect/par"},
        {"aud": [ISSUER, f"{ISSUER}/connect/token"]},
        {"iat": None},
        {"exp": 2.5},
    ],
)
async def test_what_else_libraries_write(stage: Stage, changes: dict[str, Any]) -> None:
    hub = await signing_client(stage)
    if changes.get("exp") == 2.5:
        changes = {"exp": stage.clock().timestamp() + 100.5}
    answer = await stage.http.post(TOKEN, data=asserted(hub.assertion(**changes), client_id=hub.client_id, **OWN))
    assert answer.status_code == 200, answer.text


async def test_a_key_without_a_name_is_found(stage: Stage) -> None:
    hub = await signing_client(stage, ClientKey(kid=None))
    assert (await stage.token(hub, **OWN)).status_code == 200


async def test_a_code_a_refresh_an_introspection_and_a_revocation(stage: Stage) -> None:
    hub = await signing_client(stage)
    body = await stage.tokens(hub, await stage.user())
    refreshed = (await stage.refresh(hub, body["refresh_token"])).json()
    again = await stage.refresh(hub, body["refresh_token"])
    assert again.json()["refresh_token"] == refreshed["refresh_token"], "a retry signs anew, and gets the same answer"
    assert await stage.facts(GrantEnded) == []
    assert (await stage.introspect(hub, refreshed["access_token"])).json()["active"] is True
    assert (await stage.revoke(hub, refreshed["refresh_token"])).status_code == 200
    assert (await stage.introspect(hub, refreshed["access_token"])).json() == {"active": False}


async def test_it_costs_no_round_trip_where_something_is_appended(stage: Stage, round_trips: RoundTrips) -> None:
    hub = await signing_client(stage)
    body = await stage.tokens(hub, await stage.user())
    await stage.token(hub, **OWN)
    await stage.introspect(hub, body["access_token"])
    with round_trips.counted() as seen:
        assert (await stage.token(hub, **OWN)).status_code == 200
    assert seen in (["ask", "append"], ["append"]), "what was known a moment ago serves"
    with round_trips.counted() as seen:
        assert (await stage.refresh(hub, body["refresh_token"])).status_code == 200
    assert seen == ["ask", "append"]


async def test_an_introspection_costs_one_round_trip_right_after_others(
    stage: Stage, round_trips: RoundTrips, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gives nothing; that its assertion was used has to be written all the same, and that is all there is to do."""
    hub = await signing_client(stage)
    token = (await stage.token(hub, **OWN)).json()["access_token"]
    for seconds, cost in ((0.0, ["ask", "append"]), (60.0, ["append"])):
        monkeypatch.setattr(read_model, "LATELY_SECONDS", seconds)
        await stage.introspect(hub, token)
        await stage.validate(token)  # the guard has caught up with the head
        with round_trips.counted() as seen:
            assert (await stage.introspect(hub, token)).json()["active"] is True
        assert seen == cost


async def test_what_was_known_lately_tells_nothing_past_a_denial(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_model, "LATELY_SECONDS", 60.0)
    hub = await signing_client(stage)
    token = (await stage.token(hub, **OWN)).json()["access_token"]
    other = (await stage.token(hub, **OWN)).json()["access_token"]
    assert (await stage.introspect(hub, token)).json()["active"] is True
    # A token that was revoked, by whom ever.
    assert (await stage.revoke(hub, token)).status_code == 200
    assert (await stage.introspect(hub, token)).json() == {"active": False}
    # Another key: the old one is refused at once, and the new one is no stranger.
    changed = signing(ClientKey(kid="two"))
    event = ApplicationChanged(client_id=hub.client_id, settings=changed, narrowed=False, proof_changed=True)
    await stage.of_application(event)
    assert error(await stage.introspect(hub, other)) == "invalid_client"
    hub.key = ClientKey(kid="two")
    assert (await stage.introspect(hub, other)).json()["active"] is True
    await stage.of_application(ApplicationDisabled(client_id=hub.client_id, reason=""))
    assert error(await stage.introspect(hub, other)) == "invalid_client"


async def test_what_was_known_lately_lets_no_assertion_be_replayed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_model, "LATELY_SECONDS", 60.0)
    hub = await signing_client(stage)
    token = (await stage.token(hub, **OWN)).json()["access_token"]
    assert (await stage.introspect(hub, token)).json()["active"] is True
    form = asserted(hub.assertion(), token=token)
    asked = [stage.http.post("/id/connect/introspect", data=form) for _ in range(5)]
    answers = await asyncio.gather(*asked)
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401, 401]
    forged = asserted(ClientKey(kid="made up").sign(hub.claims()), token=token)
    assert error(await stage.http.post("/id/connect/introspect", data=forged)) == "invalid_client"


async def test_what_was_known_lately_is_no_reason_to_say_less(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resource that has just been made a caller asks about a token of somebody else's."""
    monkeypatch.setattr(read_model, "LATELY_SECONDS", 60.0)
    hub = await signing_client(stage)
    asking = await signing_client(stage, client_id="com.example/api", resources=False)
    token = (await stage.token(hub, **OWN)).json()["access_token"]
    assert (await stage.introspect(asking, token)).json() == {"active": False}
    await stage.add_resources(callers=(f"client:{asking.client_id}",))
    await stage.follow()
    assert (await stage.introspect(asking, token)).json()["active"] is True


async def test_the_log_has_no_assertion_and_no_jti(stage: Stage) -> None:
    hub = await signing_client(stage)
    token = (await stage.token(hub, **OWN)).json()["access_token"]
    said = hub.claims(jti="freddie@example.com")
    await stage.http.post("/id/connect/introspect", data=asserted(hub.key.sign(said), token=token))
    (used,) = await stage.facts(AssertionUsed)
    assert "freddie" not in used.to_json()
    assert len(await stage.facts(AccessTokenIssued)) == 1


@dataclass
class Published:
    """The JWKS of an application, at an address of its own."""

    web: Web
    keys: list[ClientKey] = field(default_factory=list)

    def publish(self, *keys: ClientKey) -> None:
        self.web.answer(200, json.dumps({"keys": [key.jwk for key in keys]}).encode())


@dataclass
class Later:
    """A clock that is set."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
async def published() -> AsyncIterator[Published]:
    async with web() as running:
        yield Published(running)


@pytest.fixture
async def later(stage: Stage) -> AsyncIterator[Later]:
    """The issuer's clock for sets of keys; it fetches from this machine, too."""
    clock = Later(1000.0)
    outgoing = Outgoing(Reach(loopback=True), at_once=4, seconds=2.0)
    object.__setattr__(stage.issuer, "client_keys", ClientKeys(outgoing, demo=True, clock=clock))
    yield clock
    await outgoing.close()


async def test_keys_at_an_address_are_fetched_once(stage: Stage, published: Published, later: Later) -> None:
    published.publish(ClientKey(kid="old"), ClientKey())
    hub = await signing_client(stage, jwks_uri=published.web.uri)
    for _ in range(3):
        assert (await stage.token(hub, **OWN)).status_code == 200
    assert published.web.asked == 1
    later.seconds += KEPT + 1
    assert (await stage.token(hub, **OWN)).status_code == 200
    assert published.web.asked == 2


async def test_a_new_key_is_looked_for_and_a_made_up_one_not_again_and_again(
    stage: Stage, published: Published, later: Later
) -> None:
    published.publish(ClientKey())
    hub = await signing_client(stage, jwks_uri=published.web.uri)
    assert (await stage.token(hub, **OWN)).status_code == 200
    hub.key = ClientKey(kid="two")
    published.publish(ClientKey(), hub.key)
    later.seconds += LEAST_BETWEEN + 1
    assert (await stage.token(hub, **OWN)).status_code == 200, "the rotation has no gap"
    asked = published.web.asked
    hub.key = ClientKey(kid="made up")
    for _ in range(5):
        assert error(await stage.token(hub, **OWN)) == "invalid_client"
    later.seconds += LEAST_BETWEEN + 1
    for _ in range(5):
        assert error(await stage.token(hub, **OWN)) == "invalid_client"
    assert published.web.asked == asked + 1


async def test_a_key_that_was_taken_back_is_over_soon(stage: Stage, published: Published, later: Later) -> None:
    published.publish(ClientKey())
    hub = await signing_client(stage, jwks_uri=published.web.uri)
    assert (await stage.token(hub, **OWN)).status_code == 200
    published.publish(ClientKey(kid="two"))
    later.seconds += KEPT + 1
    assert error(await stage.token(hub, **OWN)) == "invalid_client"


async def test_an_address_that_fails_leaves_what_is_known_for_an_hour(
    stage: Stage, published: Published, later: Later
) -> None:
    published.publish(ClientKey())
    hub = await signing_client(stage, jwks_uri=published.web.uri)
    assert (await stage.token(hub, **OWN)).status_code == 200
    published.web.answer(500, b"")
    later.seconds += KEPT + 1
    assert (await stage.token(hub, **OWN)).status_code == 200
    later.seconds += LONGEST_KEPT
    assert error(await stage.token(hub, **OWN)) == "invalid_client"
