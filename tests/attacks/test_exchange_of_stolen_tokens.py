"""Trading a token that was found for one of one's own, or something that is no access token (RFC 8693 section 5)."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest

from services.registry.events import ApplicationChanged, ReferenceTokens, SecretAdded, SecretRevoked
from services.token_issuer.events import AccessTokenExchanged
from shared.ids import new_ordered_id
from stagedoor import Allowed
from tests.support.exchanging import EXCHANGE, HUB_SETTINGS, JWT, OF_API, TOURBUS, TRUCKS, Chain, chain, claims_of
from tests.support.issuing import HUB, PUBLIC, Stage, error
from tests.support.references import make
from tests.support.sdk_tokens import SigningKey, b64

NO_ALGORITHM = b'{"alg":"none","typ":"at+jwt","kid":"key-1"}'


@pytest.fixture
async def there(stage: Stage) -> Chain:
    return await chain(stage)


async def nothing_came_of_it(there: Chain) -> None:
    assert await there.stage.facts(AccessTokenExchanged) == []


async def test_by_an_application_that_no_resource_of_it_names(there: Chain) -> None:
    """It may exchange tokens, and have all of these scopes; but this one it found."""
    finder = await there.stage.register(OF_API.model_copy(update={"scopes": ("read", "drive")}), "com.finder/api")
    token = await there.subject(await there.stage.user())
    for more in ({}, {"resource": TRUCKS}, {"scope": "read"}, {"subject_token_type": JWT}):
        answer = await there.ask(token, finder, **more)
        assert (answer.status_code, error(answer)) == (400, "invalid_request")
    await nothing_came_of_it(there)


async def test_a_caller_of_another_resource_than_the_tokens(there: Chain) -> None:
    """Tourbus may ask about tokens for the API, and not about those for trucks alone."""
    token = (await there.stage.token(there.hub, grant_type="client_credentials", scope="drive")).json()["access_token"]
    assert claims_of(token)["aud"] == [TRUCKS]
    assert error(await there.ask(token)) == "invalid_request"
    await nothing_came_of_it(there)


async def test_by_the_application_that_it_was_issued_to(there: Chain) -> None:
    """Being a token's own client is no reason: whoever was given it needs no other."""
    own = await there.stage.register(
        HUB_SETTINGS.model_copy(update={"grants": (*HUB_SETTINGS.grants, *OF_API.grants)}), "com.own/app"
    )
    token = (await there.stage.token(own, grant_type="client_credentials")).json()["access_token"]
    assert error(await there.ask(token, own)) == "invalid_request"


async def test_by_nobody_in_particular(there: Chain) -> None:
    """Whoever proves nothing, or whatever another proved, gets nothing."""
    token = await there.subject(await there.stage.user())
    spa = await there.stage.register(
        PUBLIC.model_copy(update={"grants": (*PUBLIC.grants, *OF_API.grants)}), "com.a/spa"
    )
    await there.callers(TOURBUS, "com.a/spa")
    assert error(await there.ask(token, spa)) == "unauthorized_client"
    form = {"grant_type": EXCHANGE, "subject_token": token, "subject_token_type": JWT}
    for more in ({}, {"client_id": TOURBUS}, {"client_id": TOURBUS, "client_secret": "guessed" * 6}):
        answer = await there.stage.http.post("/id/connect/token", data={**form, **more})
        assert (answer.status_code, error(answer)) == (401, "invalid_client")
    await nothing_came_of_it(there)


async def test_what_is_no_access_token(there: Chain) -> None:
    """An ID token is for the application, a refresh token for the issuer; neither is more by another name."""
    stage, sub = there.stage, await there.stage.user()
    body = await stage.tokens(there.hub, sub, scope="openid read drive offline_access")
    code = await stage.code(there.hub, sub)
    settings = HUB_SETTINGS.model_copy(update={"reference_tokens": ReferenceTokens.AUTHENTICATED_USERS})
    await stage.of_application(ApplicationChanged(client_id=HUB, settings=settings, narrowed=False))
    await stage.follow()
    reference = (await make(stage, sub)).token
    for text in (
        body["id_token"],
        body["refresh_token"],
        code,
        reference,
        "nonsense",
        "a.b.c",
        body["access_token"][:-9],
    ):
        for said in ("access_token", "jwt"):
            answer = await there.ask(text, subject_token_type=f"urn:ietf:params:oauth:token-type:{said}")
            assert (answer.status_code, error(answer)) == (400, "invalid_request")
        for said in ("id_token", "refresh_token"):
            answer = await there.ask(text, subject_token_type=f"urn:ietf:params:oauth:token-type:{said}")
            assert (answer.status_code, error(answer)) == (400, "invalid_request")
    await nothing_came_of_it(there)
    assert (await stage.refresh(there.hub, body["refresh_token"])).status_code == 200


async def test_an_access_token_is_no_actor_and_no_code(there: Chain) -> None:
    token = await there.subject(await there.stage.user())
    for more in ({"actor_token": token, "actor_token_type": JWT}, {"actor_token": token}, {"actor_token_type": JWT}):
        assert error(await there.ask(token, **more)) == "invalid_request"
    derived = await there.exchanged(token)
    assert error(await there.stage.redeem(there.hub, derived)) == "invalid_grant"
    assert error(await there.stage.refresh(there.hub, derived)) == "invalid_grant"


Forge = Callable[[dict[str, Any]], None]
FORGERIES: dict[str, Forge] = {
    "more scopes": lambda said: said.update(scope="read update drive sec"),
    "another person": lambda said: said.update(sub="somebody-else"),
    "another application": lambda said: said.update(client_id="com.setlist/app"),
    "a longer life": lambda said: said.update(exp=said["exp"] + 3600),
    "another audience": lambda said: said.update(aud=[*said["aud"], "https://elsewhere.example"]),
    "no session": lambda said: said.pop("sid"),
    "no grant": lambda said: said.pop("gid"),
    "another id": lambda said: said.update(jti=new_ordered_id()),
    "an event of something else": lambda said: said.update(pos=1),
    "an event that never was": lambda said: said.update(pos=said["pos"] + 1000),
    "actors that never were": lambda said: said.update(
        act={"client_id": said["client_id"], "act": {"client_id": "com.setlist/app"}}, derived_from=["jti-0"]
    ),
}


@pytest.mark.parametrize("patience", [3.0])
@pytest.mark.parametrize("how", FORGERIES)
async def test_made_up_with_a_stolen_key(there: Chain, how: str) -> None:
    """What a thief of the key signs is not in the log, so nothing can be had for it that would outlive the key."""
    token = await there.subject(await there.stage.user())
    key = (await there.stage.issuer.keys.active()).access_token
    said = claims_of(token)
    honest = key.sign("at+jwt", said)
    FORGERIES[how](said)
    answer = await there.ask(key.sign("at+jwt", said))
    # One that is ahead of the log is nothing that could be judged, now or later.
    assert answer.status_code in (400, 503)
    assert error(answer) in ("invalid_request", "temporarily_unavailable", "ahead_of_view")
    await nothing_came_of_it(there)
    assert (await there.ask(honest)).status_code == 200


async def test_signed_by_somebody_else(there: Chain) -> None:
    token = await there.subject(await there.stage.user())
    kid = jwt.get_unverified_header(token)["kid"]
    for stranger in (SigningKey(kid), SigningKey("key-1")):
        assert error(await there.ask(stranger.sign(claims_of(token)))) == "invalid_request"
    _, payload, _ = token.split(".")
    unsigned = f"{b64(b'{}')}.{payload}.", f"{b64(NO_ALGORITHM)}.{payload}."
    for text in unsigned:
        assert error(await there.ask(text)) == "invalid_request"
    await nothing_came_of_it(there)


async def test_nobody_learns_what_is_wrong_with_a_token(there: Chain) -> None:
    """Foreign, revoked, expired, made up: one answer, so that an exchange tells less than introspection does."""
    finder = await there.stage.register(OF_API, "com.finder/api")
    alive, revoked = [await there.subject(await there.stage.user()) for _ in range(2)]
    await there.stage.revoke(there.hub, revoked)
    answers = {(await there.ask(text, by)).text for text in (revoked, "a.b.c") for by in (finder, there.tourbus)}
    answers.add((await there.ask(alive, finder)).text)
    there.stage.clock.ahead += timedelta(hours=2)
    answers |= {(await there.ask(alive, by)).text for by in (finder, there.tourbus)}
    assert len(answers) == 1
    assert alive not in answers.pop()


async def test_a_secret_that_was_revoked(there: Chain) -> None:
    """Also where the issuer has not heard of it."""
    token = await there.subject(await there.stage.user())
    await there.stage.follow()
    registered = await there.stage.registry.load(f"application-{TOURBUS}")
    (added,) = [each.event for each in registered.events if isinstance(each.event, SecretAdded)]
    revoked = SecretRevoked(client_id=TOURBUS, secret_id=added.secret_id)
    await there.stage.of_application(revoked, client_id=TOURBUS)
    assert error(await there.ask(token)) == "invalid_client"
    await nothing_came_of_it(there)


async def test_the_first_token_is_left_as_it_was(there: Chain) -> None:
    token = await there.subject(await there.stage.user())
    derived = await there.exchanged(token)
    assert isinstance(await there.stage.validate(token), Allowed)
    assert isinstance(await there.stage.validate(derived), Allowed)
