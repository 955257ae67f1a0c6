"""Getting by an exchange what the token before did not have (RFC 8693, RFC 9700 section 2.3)."""

from datetime import timedelta

import pytest

from services.identity.events import Role, RolesChanged, UserDisabled, UserKind
from services.registry.events import ApplicationChanged, ApplicationDisabled
from services.token_issuer.events import AccessTokenExchanged
from stagedoor import Allowed, Denied
from stagedoor.verdict import Reason
from tests.support.attacking import reason
from tests.support.exchanging import HUB_SETTINGS, TOURBUS, TRUCKS, Chain, chain, claims_of
from tests.support.issuing import API, HUB, MANAGEMENT, USERINFO, Stage, error


@pytest.fixture
async def there(stage: Stage) -> Chain:
    return await chain(stage)


async def test_scopes_that_the_token_has_not(there: Chain) -> None:
    """Neither what the person's grant has beyond the token, nor what the application could have for itself."""
    sub = await there.stage.user()
    body = await there.stage.tokens(there.hub, sub, scope="read drive offline_access")
    narrow = (await there.stage.refresh(there.hub, body["refresh_token"], scope="read")).json()["access_token"]
    for scope in ("drive", "read drive", "update", "read update"):
        assert error(await there.ask(narrow, scope=scope)) == "invalid_scope"
    for more in ({"resource": TRUCKS}, {"audience": TRUCKS}, {"resource": [API, TRUCKS]}):
        assert error(await there.ask(narrow, **more)) == "invalid_target"
    assert claims_of(await there.exchanged(narrow))["scope"] == "read"


async def test_a_token_for_one_api_is_not_made_one_for_another(there: Chain) -> None:
    """Who asked for a token that is good at one place alone is not overruled by that place (RFC 8707 section 3)."""
    token = (await there.stage.token(there.hub, grant_type="client_credentials", resource=API)).json()["access_token"]
    assert claims_of(token)["aud"] == [API]
    assert error(await there.ask(token, resource=TRUCKS)) == "invalid_target"
    assert claims_of(await there.exchanged(token))["aud"] == [API]


async def test_scopes_that_the_application_may_not_have(there: Chain) -> None:
    token = await there.subject(await there.stage.user())
    assert error(await there.ask(token, scope="update")) == "invalid_scope"
    reading = await there.another("com.reading/api", scopes=("read",))
    assert claims_of(await there.exchanged(token, reading))["scope"] == "read"
    assert error(await there.ask(token, reading, resource=TRUCKS)) == "invalid_target"


async def test_back_to_what_was_given_up_on_the_way(there: Chain) -> None:
    second = await there.another("com.second/api", scopes=("read", "update", "drive"))
    less = await there.exchanged(await there.subject(await there.stage.user()), scope="read")
    for scope in ("drive", "update"):
        assert error(await there.ask(less, second, scope=scope)) == "invalid_scope"
    assert claims_of(await there.exchanged(less, second))["scope"] == "read"


async def test_a_longer_life(there: Chain) -> None:
    """Not by exchanging again and again, nor by an application whose tokens live long."""
    long = await there.another("com.long/api", access_token_seconds=86_400)
    token = await there.subject(await there.stage.user())
    end = claims_of(token)["exp"]
    for client in (long, there.tourbus, long):
        there.stage.clock.ahead += timedelta(minutes=15)
        answer = await there.ask(token, client)
        assert answer.status_code == 200, answer.text
        token = answer.json()["access_token"]
        assert claims_of(token)["exp"] == end
    there.stage.clock.ahead += timedelta(minutes=15, seconds=6)
    assert error(await there.ask(token)) == "invalid_request"
    assert reason(await there.stage.validate(token)) is Reason.EXPIRED


async def test_who_the_person_is(there: Chain) -> None:
    """The person agreed to tell one application, and nobody who acts after it."""
    sub = await there.stage.user()
    token = await there.subject(sub, "openid profile email read drive")
    assert USERINFO in claims_of(token)["aud"]
    for more in ({"scope": "openid"}, {"scope": "read profile"}, {"scope": "offline_access"}):
        assert error(await there.ask(token, **more)) == "invalid_scope"
    assert error(await there.ask(token, resource=USERINFO)) == "invalid_target"
    said = claims_of(await there.exchanged(token))
    assert (set(said["aud"]), set(said["scope"].split())) == ({API, TRUCKS}, {"read", "drive"})
    only = await there.subject(sub, "openid")
    assert error(await there.ask(only)) == "invalid_request"


async def test_an_administrators_power(there: Chain) -> None:
    """An API that an administrator uses does not administer in their name."""
    scopes = ("read", "drive", "sec")
    await there.stage.of_application(
        ApplicationChanged(client_id=HUB, settings=HUB_SETTINGS.model_copy(update={"scopes": scopes}), narrowed=False)
    )
    greedy = await there.another("com.greedy/api", scopes=scopes)
    brian = await there.stage.user(UserKind.INTERNAL, Role.ADMINISTRATOR)
    token = await there.subject(brian, "read drive sec")
    before = claims_of(token)
    assert (MANAGEMENT in before["aud"], before["roles"]) == (True, ["administrator"])
    assert error(await there.ask(token, greedy, scope="sec")) == "invalid_scope"
    assert error(await there.ask(token, greedy, resource=MANAGEMENT)) == "invalid_target"
    said = claims_of(await there.exchanged(token, greedy))
    assert "roles" not in said
    assert MANAGEMENT not in said["aud"]
    derived = await there.exchanged(token, greedy)
    await there.stage.of_user(brian, RolesChanged(sub=brian, roles=(), removed=(Role.ADMINISTRATOR,)))
    assert isinstance(await there.stage.validate(derived), Denied)


async def test_actors_of_ones_own_making(there: Chain) -> None:
    """Who acts is who proved to be itself; what a request says besides is not looked at."""
    token = await there.subject(await there.stage.user())
    chain_of = '{"client_id":"com.setlist/app"}'
    made_up = {"act": chain_of, "may_act": chain_of, "sub": "brian", "actor": "com.setlist/app", "derived_from": "x"}
    said = claims_of(await there.exchanged(token, **made_up))
    assert said["act"] == {"sub": TOURBUS, "client_id": TOURBUS, "act": {"sub": HUB, "client_id": HUB}}
    assert said["derived_from"] == [claims_of(token)["jti"]]
    answer = await there.ask(token, client_id=HUB)
    assert error(answer) == "invalid_request"


async def test_a_chain_does_not_leave_anybody_out(there: Chain) -> None:
    """Round and round between two: each turn is told, and there are not many."""
    second = await there.another("com.second/api")
    token = await there.subject(await there.stage.user())
    turns = []
    for client in (there.tourbus, second, there.tourbus):
        token = await there.exchanged(token, client)
        turns.append(token)
    verdict = await there.stage.validate(token)
    assert isinstance(verdict, Allowed)
    assert verdict.actors == (TOURBUS, "com.second/api", TOURBUS, HUB)
    for client in (second, there.tourbus):
        assert error(await there.ask(token, client)) == "invalid_request"
    await there.stage.revoke(second, turns[1])
    assert isinstance(await there.stage.validate(turns[0]), Allowed)
    assert reason(await there.stage.validate(token)) is Reason.DENIED_TOKEN


async def test_through_who_was_switched_off(there: Chain) -> None:
    """A disabled application in the middle, a disabled person: what they left behind gives nothing more."""
    stage = there.stage
    second = await there.another("com.second/api")
    sub = await stage.user()
    given = await there.exchanged(await there.subject(sub))
    await stage.of_application(ApplicationDisabled(client_id=TOURBUS, reason=""), client_id=TOURBUS)
    assert reason(await stage.validate(given)) is Reason.DENIED_CLIENT
    assert error(await there.ask(given, second)) == "invalid_request"
    token = await there.subject(sub)
    derived = await there.exchanged(token, second)
    await stage.of_user(sub, UserDisabled(sub=sub, reason=""))
    assert reason(await stage.validate(derived)) is Reason.DENIED_SUBJECT
    for gone in (token, derived):
        assert error(await there.ask(gone, second)) == "invalid_request"
    assert len(await stage.facts(AccessTokenExchanged)) == 2


async def test_a_cut_off_reaches_who_acts_last(there: Chain) -> None:
    """The first application is allowed less from now on: what others got by its tokens before says too much."""
    derived = await there.exchanged(await there.subject(await there.stage.user()))
    less = HUB_SETTINGS.model_copy(update={"scopes": ("read",)})
    await there.stage.of_application(ApplicationChanged(client_id=HUB, settings=less, narrowed=True))
    assert reason(await there.stage.validate(derived)) is Reason.DENIED_CLIENT
    await there.stage.follow()
    again = await there.exchanged(await there.subject(await there.stage.user(), "read"))
    assert claims_of(again)["scope"] == "read"
    assert isinstance(await there.stage.validate(again), Allowed)
