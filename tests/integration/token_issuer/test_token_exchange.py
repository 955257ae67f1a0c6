"""Token exchange (RFC 8693): an API goes on for the same person, as itself, with no more than it was sent."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import jwt
import pytest

from services.identity.events import (
    ConsentWithdrawn,
    PasswordChanged,
    SessionEnded,
    SessionEndReason,
    UserDisabled,
    UserKind,
)
from services.registry.events import ApplicationDisabled, ApplicationEnabled
from services.token_issuer.events import AccessTokenExchanged, AccessTokenRevoked, GrantEndReason
from services.token_issuer.grants import token_exchange
from services.token_issuer.revoking import end_grant, revoke_by_id
from services.token_issuer.signing import generate
from shared.ids import new_command_id, new_id
from shared.log.append import Context
from stagedoor import Allowed, Denied
from stagedoor.verdict import Reason
from tests.support.assertions import asserted, signing_client
from tests.support.exchanging import (
    ACCESS_TOKEN,
    EXCHANGE,
    JWT,
    OF_API,
    TOURBUS,
    TRUCKS,
    Chain,
    chain,
    claims_of,
)
from tests.support.issuing import API, HUB, ISSUER, USERINFO, Stage, error

End = Callable[[Chain, str, str], Awaitable[object]]
"""Something that ends a token of this person."""


async def revoked(there: Chain, token: str, _: str) -> None:
    assert (await there.stage.revoke(there.hub, token)).status_code == 200


async def revoked_by_id(there: Chain, token: str, _: str) -> None:
    await revoke_by_id(there.stage.issuer, claims_of(token)["jti"], administrator())


async def grant_ended(there: Chain, token: str, _: str) -> None:
    reason, gid = GrantEndReason.ENDED_BY_ADMINISTRATOR, claims_of(token)["gid"]
    await end_grant(there.stage.issuer, gid, HUB, reason, context=administrator(), genuine=lambda _: True)


async def signed_out(there: Chain, token: str, sub: str) -> None:
    sid, ends = claims_of(token)["sid"], there.stage.clock() + timedelta(days=1)
    event = SessionEnded(sid=sid, sub=sub, reason=SessionEndReason.SIGNED_OUT, tokens_end_at=ends)
    await there.stage.write(there.stage.identity, f"session-{sid}", event)


async def password_changed(there: Chain, _: str, sub: str) -> None:
    await there.stage.of_user(sub, PasswordChanged(sub=sub, kept_session=None))


async def user_disabled(there: Chain, _: str, sub: str) -> None:
    await there.stage.of_user(sub, UserDisabled(sub=sub, reason=""))


async def consent_withdrawn(there: Chain, _: str, sub: str) -> None:
    await there.stage.of_user(sub, ConsentWithdrawn(sub=sub, client_id=HUB))


async def first_application_disabled(there: Chain, _: str, __: str) -> None:
    await there.stage.of_application(ApplicationDisabled(client_id=HUB, reason=""))


async def own_application_disabled(there: Chain, _: str, __: str) -> None:
    await there.stage.of_application(ApplicationDisabled(client_id=TOURBUS, reason=""), client_id=TOURBUS)


async def key_compromised(there: Chain, token: str, _: str) -> None:
    kid = jwt.get_unverified_header(token)["kid"]
    await there.stage.issuer.keys.compromise(kid, administrator())


ENDS: Sequence[End] = (
    *(revoked, revoked_by_id, grant_ended, signed_out, password_changed, user_disabled, consent_withdrawn),
    *(first_application_disabled, own_application_disabled),
)


@pytest.fixture
async def there(stage: Stage) -> Chain:
    return await chain(stage)


async def test_an_api_calls_another_for_the_same_person(there: Chain) -> None:
    sub = await there.stage.user()
    token = await there.subject(sub)
    before = claims_of(token)
    assert before["aud"] == [API, TRUCKS, USERINFO]
    answer = await there.ask(token, resource=TRUCKS)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert body.keys() == {"access_token", "issued_token_type", "token_type", "expires_in", "scope"}
    assert (body["issued_token_type"], body["token_type"], body["scope"]) == (ACCESS_TOKEN, "Bearer", "drive")
    after = claims_of(body["access_token"])
    assert after["act"] == {"sub": TOURBUS, "client_id": TOURBUS, "act": {"sub": HUB, "client_id": HUB}}
    assert after["derived_from"] == [before["jti"]]
    assert (after["client_id"], after["aud"], after["scope"], after["iss"]) == (TOURBUS, [TRUCKS], "drive", ISSUER)
    for same in ("sub", "gid", "sid", "auth_time", "acr", "amr"):
        assert after[same] == before[same], same
    assert after["exp"] <= before["exp"]
    assert body["expires_in"] == after["exp"] - after["iat"]
    verdict = await there.stage.validate(body["access_token"], TRUCKS)
    assert isinstance(verdict, Allowed)
    assert (verdict.sub, verdict.client_id, verdict.actors) == (sub, TOURBUS, (TOURBUS, HUB))
    (event,) = await there.stage.facts(AccessTokenExchanged)
    assert isinstance(event, AccessTokenExchanged)
    assert (event.jti, event.actors, event.derived_from) == (after["jti"], (TOURBUS, HUB), (before["jti"],))
    assert after["pos"] == (await there.stage.issuer.log.head()).position


async def test_the_same_with_the_other_name_of_its_type_and_of_the_place(there: Chain) -> None:
    token = await there.subject(await there.stage.user())
    answer = await there.ask(token, subject_token_type=JWT, audience=TRUCKS, requested_token_type=ACCESS_TOKEN)
    assert claims_of(answer.json()["access_token"])["aud"] == [TRUCKS]
    both = await there.exchanged(token, audience=TRUCKS, resource=API)
    assert set(claims_of(both)["aud"]) == {API, TRUCKS}
    several = await there.exchanged(token, audience=[TRUCKS, API])
    assert set(claims_of(several)["aud"]) == {API, TRUCKS}


async def test_nothing_asked_gives_what_application_and_token_have_in_common(there: Chain) -> None:
    body = (await there.ask(await there.subject(await there.stage.user()))).json()
    assert set(body["scope"].split()) == {"read", "drive"}
    assert set(claims_of(body["access_token"])["aud"]) == {API, TRUCKS}
    less = (await there.ask(await there.subject(await there.stage.user()), scope="read")).json()
    assert (less["scope"], claims_of(less["access_token"])["aud"]) == ("read", [API])


async def test_on_and_on_until_the_chain_is_too_long(there: Chain) -> None:
    first = await there.subject(await there.stage.user())
    names = ("com.second/api", "com.third/api", "com.fourth/api")
    clients = [there.tourbus, *[await there.stage.register(OF_API, name) for name in names]]
    await there.callers(*(client.client_id for client in clients))
    token, chain_of = first, [first]
    for client in clients[:3]:
        token = await there.exchanged(token, client)
        chain_of.append(token)
        said = claims_of(token)
        assert said["derived_from"] == [claims_of(one)["jti"] for one in reversed(chain_of[:-1])]
        assert isinstance(await there.stage.validate(token), Allowed)
    verdict = await there.stage.validate(token)
    assert isinstance(verdict, Allowed)
    assert verdict.actors == ("com.third/api", "com.second/api", TOURBUS, HUB)
    refused = await there.ask(token, clients[3])
    assert (refused.status_code, error(refused)) == (400, "invalid_request")
    # Each is taken back with any that it came from, and takes none of those along.
    await there.stage.revoke(clients[0], chain_of[1])
    assert isinstance(await there.stage.validate(first), Allowed)
    for gone in chain_of[1:]:
        verdict = await there.stage.validate(gone)
        assert isinstance(verdict, Denied)
        assert verdict.reason is Reason.DENIED_TOKEN


async def test_it_ends_with_what_it_was_exchanged_for(there: Chain) -> None:
    sub = await there.stage.user()
    token = await there.subject(sub)
    there.stage.clock.ahead += timedelta(minutes=50)
    late = await there.ask(token)
    assert late.json()["expires_in"] <= 3600
    assert claims_of(late.json()["access_token"])["exp"] == claims_of(token)["exp"]
    there.stage.clock.ahead += timedelta(minutes=10)
    # A check still allows for clocks that differ; nothing new comes of it.
    assert error(await there.ask(token)) == "invalid_request"


async def test_its_own_life_may_be_shorter(there: Chain) -> None:
    short = await there.another("com.short/api", access_token_seconds=60)
    body = (await there.ask(await there.subject(await there.stage.user()), short)).json()
    claims = claims_of(body["access_token"])
    assert (body["expires_in"], claims["exp"] - claims["iat"]) == (60, 60)


async def test_a_token_without_a_person(there: Chain) -> None:
    token = (await there.stage.token(there.hub, grant_type="client_credentials")).json()["access_token"]
    said = claims_of(await there.exchanged(token, resource=TRUCKS))
    assert (said["sub"], said["client_id"], said["act"]["act"]["client_id"]) == (HUB, TOURBUS, HUB)
    assert not {"sid", "gid", "auth_time", "amr", "roles"} & said.keys()


async def test_who_signs_uses_each_assertion_once(there: Chain) -> None:
    """In the append of the exchange itself; where it is refused, in one of its own."""
    signing = await signing_client(
        there.stage, client_id="com.signing/api", resources=False, scopes=OF_API.scopes, grants=OF_API.grants
    )
    await there.callers(TOURBUS, "com.signing/api")
    token = await there.subject(await there.stage.user())
    form = {"grant_type": EXCHANGE, "subject_token": token, "subject_token_type": ACCESS_TOKEN}
    for more, status in (({}, 200), ({"scope": "update"}, 400), ({"subject_token": "made-up"}, 400)):
        assertion = asserted(signing.assertion(), **{**form, **more})
        once, again = [await there.stage.http.post("/id/connect/token", data=assertion) for _ in range(2)]
        assert once.status_code == status, once.text
        assert (again.status_code, error(again)) == (401, "invalid_client")
    assert len(await there.stage.facts(AccessTokenExchanged)) == 1


async def test_introspection_tells_who_acts(there: Chain) -> None:
    token = await there.exchanged(await there.subject(await there.stage.user()))
    told = (await there.stage.introspect(there.tourbus, token)).json()
    assert (told["active"], told["act"]) == (True, claims_of(token)["act"])
    assert "derived_from" not in told


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
async def test_what_ends_the_first_token_ends_those_after_it(there: Chain, end: End) -> None:
    sub = await there.stage.user()
    token = await there.subject(sub)
    derived = await there.exchanged(token)
    assert isinstance(await there.stage.validate(derived), Allowed)
    await end(there, token, sub)
    assert isinstance(await there.stage.validate(derived), Denied)
    assert error(await there.ask(token)) in ("invalid_request", "invalid_client")
    assert len(await there.stage.facts(AccessTokenExchanged)) == 1


async def test_an_application_in_the_middle_is_switched_off_and_on(there: Chain) -> None:
    second = await there.another("com.second/api")
    token = await there.exchanged(await there.exchanged(await there.subject(await there.stage.user())), second)
    for client_id in (HUB, TOURBUS, second.client_id):
        await there.stage.of_application(ApplicationDisabled(client_id=client_id, reason=""), client_id=client_id)
        verdict = await there.stage.validate(token)
        assert isinstance(verdict, Denied)
        assert verdict.reason is Reason.DENIED_CLIENT
        await there.stage.of_application(ApplicationEnabled(client_id=client_id), client_id=client_id)
        assert isinstance(await there.stage.validate(token), Allowed)


async def test_one_of_them_taken_back_by_itself(there: Chain) -> None:
    token = await there.subject(await there.stage.user())
    one, other = await there.exchanged(token), await there.exchanged(token)
    assert (await there.stage.revoke(there.tourbus, one)).status_code == 200
    await revoke_by_id(there.stage.issuer, claims_of(other)["jti"], administrator())
    for gone in (one, other):
        assert isinstance(await there.stage.validate(gone), Denied)
    assert isinstance(await there.stage.validate(token), Allowed)
    assert error(await there.stage.revoke(there.hub, one)) == "unauthorized_client"
    ends = {event.token_ends_at for event in await there.stage.facts(AccessTokenRevoked)}  # type: ignore[attr-defined]
    assert max(ends).timestamp() <= claims_of(token)["exp"]


async def test_who_was_named_a_moment_ago_is_served(there: Chain) -> None:
    """Nothing is followed here but when the issuer itself looks."""
    other = await there.stage.register(OF_API, "com.new/api")
    token = await there.subject(await there.stage.user())
    await there.stage.follow()
    assert error(await there.ask(token, other)) == "invalid_request"
    await there.callers("com.new/api")
    assert (await there.ask(token, other)).status_code == 200
    assert error(await there.ask(token)) == "invalid_request"


async def test_a_community_user_goes_where_they_are_admitted(there: Chain) -> None:
    sub = await there.stage.user(UserKind.COMMUNITY)
    token = await there.subject(sub)
    assert (await there.ask(token, resource=TRUCKS)).status_code == 200
    inside = await there.another("com.inside/api", user_kinds=(UserKind.INTERNAL,))
    assert error(await there.ask(token, inside, scope="read")) == "invalid_scope"
    await there.callers(TOURBUS, community=False)
    await there.stage.follow()
    assert error(await there.ask(token)) == "invalid_scope"
    assert error(await there.ask(token, resource=TRUCKS)) == "invalid_target"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"subject_token": ""}, "invalid_request"),
        ({"subject_token_type": ""}, "invalid_request"),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}, "invalid_request"),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:id_token"}, "invalid_request"),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}, "invalid_request"),
        ({"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}, "invalid_request"),
        ({"requested_token_type": JWT}, "invalid_request"),
        ({"actor_token": "x"}, "invalid_request"),
        ({"actor_token_type": ACCESS_TOKEN}, "invalid_request"),
        ({"resource": "https://elsewhere.example"}, "invalid_target"),
        ({"audience": TOURBUS}, "invalid_target"),
        ({"audience": USERINFO}, "invalid_target"),
        ({"scope": "sec"}, "invalid_scope"),
        ({"scope": "openid"}, "invalid_scope"),
        ({"scope": "update"}, "invalid_scope"),
        ({"scope": "offline_access"}, "invalid_scope"),
        ({"scope": "read", "resource": TRUCKS}, "invalid_scope"),
    ],
)
async def test_what_is_not_served(there: Chain, changes: dict[str, str], code: str) -> None:
    answer = await there.ask(await there.subject(await there.stage.user()), **changes)
    assert (answer.status_code, error(answer)) == (400, code), answer.text
    assert await there.stage.facts(AccessTokenExchanged) == []


async def test_only_who_is_registered_for_it(there: Chain) -> None:
    token = await there.subject(await there.stage.user())
    await there.callers(TOURBUS, HUB)
    assert error(await there.ask(token, there.hub)) == "unauthorized_client"
    allowed = await there.another("com.allowed/api")
    assert (await there.ask(token, allowed)).status_code == 200
    allowed.secret = "wrong" * 9
    assert error(await there.ask(token, allowed)) == "invalid_client"


@pytest.mark.parametrize("end", [*ENDS, key_compromised], ids=lambda end: end.__name__)
async def test_a_denial_that_nobody_has_heard_of_stops_it(
    there: Chain, monkeypatch: pytest.MonkeyPatch, end: End
) -> None:
    """The fence is in the log: what is denied between the check and the append gives nothing."""
    sub = await there.stage.user()
    token = await there.subject(sub)
    checked, checks = token_exchange._check, []

    async def and_then_ended(*question: object) -> None:
        checks.append(question)
        await checked(*question)  # type: ignore[arg-type]
        if len(checks) == 1:
            await end(there, token, sub)

    monkeypatch.setattr("services.token_issuer.key_changes.generate", generate)  # a stolen key has a successor
    monkeypatch.setattr(token_exchange, "_check", and_then_ended)
    answer = await there.ask(token)
    assert error(answer) in ("invalid_request", "invalid_client")
    assert await there.stage.facts(AccessTokenExchanged) == []


def administrator() -> Context:
    return Context("user:brian", new_id(), new_command_id())
