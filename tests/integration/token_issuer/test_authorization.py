"""Authorization requests on a real log: who is sent where with what, and who is not sent anywhere."""

from dataclasses import replace
from datetime import timedelta

import jwt
import pytest

from services.identity import events as identity
from services.identity.events import Role, UserKind
from services.registry import events as registry
from services.registry.events import ApplicationType
from services.token_issuer.authorization.answers import Redirect
from services.token_issuer.authorization.begin import Proceed, Refused
from services.token_issuer.authorization.issue import refuse
from services.token_issuer.events import GrantOpened
from shared.errors import Refusal, Unavailable
from tests.support.issuing import (
    CALLBACK,
    CONFIDENTIAL,
    HUB,
    ISSUER,
    MANAGEMENT,
    PUBLIC,
    USERINFO,
    Client,
    Stage,
    query,
)

CLI = "com.stagedoor/cli"
NATIVE = PUBLIC.model_copy(
    update={
        "type": ApplicationType.NATIVE,
        "redirect_uris": ("http://127.0.0.1/callback",),
        "scopes": ("sec",),
        "first_party": True,
    }
)


async def test_an_application_that_is_not_registered_gets_nothing(stage: Stage) -> None:
    nobody = Client("com.mallory/app", None, "https://mallory.example/callback")
    outcome = await stage.begin(nobody)
    assert isinstance(outcome, Refused)
    assert outcome.error == "invalid_client"


async def test_one_that_was_registered_a_moment_ago_does(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    assert isinstance(await stage.begin(hub), Proceed)


async def test_what_the_pages_are_told(stage: Stage) -> None:
    hub = await stage.register(CONFIDENTIAL.model_copy(update={"first_party": True}), resources=True)
    outcome = await stage.begin(hub, prompt="login", max_age="60", login_hint="freddie", ui_locales="de en")
    assert isinstance(outcome, Proceed)
    assert outcome.scopes[0][0] == "openid"
    assert dict(outcome.scopes)["read"] == "read your tours"
    assert (outcome.redirect_origin, outcome.skip_consent) == ("http://localhost:8480", True)
    assert (outcome.request.prompt, outcome.request.max_age) == (("login",), 60)
    assert (outcome.login_hint, outcome.ui_locales) == ("freddie", ("de", "en"))
    assert HUB not in outcome.sealed


async def test_public_applications_always_ask_for_consent(stage: Stage) -> None:
    native = await stage.register(NATIVE, CLI, resources=True)
    native.redirect_uri = "http://127.0.0.1:51004/callback"
    outcome = await stage.begin(native, scope="sec")
    assert isinstance(outcome, Proceed)
    assert not outcome.skip_consent


async def test_errors_go_back_with_state_and_issuer(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    outcome = await stage.begin(hub, scope="openid erase")
    assert isinstance(outcome, Redirect)
    assert outcome.uri.startswith(CALLBACK + "?")
    answer = query(outcome.uri)
    assert (answer["error"], answer["state"], answer["iss"]) == ("invalid_scope", "xyz", ISSUER)
    outcome = await stage.begin(hub, ("state", "twice"))
    assert isinstance(outcome, Redirect)
    assert "state" not in query(outcome.uri)


async def test_a_redirect_uri_that_is_not_registered_is_shown_and_never_followed(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    outcome = await stage.begin(hub, redirect_uri="https://mallory.example/callback")
    assert isinstance(outcome, Refused)
    assert "mallory" not in outcome.description


async def test_who_says_no_is_sent_back_with_it(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    outcome = await stage.begin(hub)
    assert isinstance(outcome, Proceed)
    answer = query(refuse(stage.issuer, outcome.sealed, "access_denied").uri)
    assert (answer["error"], answer["state"], answer["iss"]) == ("access_denied", "xyz", ISSUER)
    with pytest.raises(Refusal):
        refuse(stage.issuer, outcome.sealed, "server_error")


async def test_a_request_that_took_too_long(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    outcome = await stage.begin(hub)
    person, position = await stage.sign_in(await stage.user())
    stage.clock.ahead += timedelta(minutes=16)
    with pytest.raises(Refusal) as refused:
        await stage.issue(outcome, person, position)
    assert refused.value.code == "request_expired"


async def test_the_person_decides_about_less(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    person, position = await stage.sign_in(await stage.user())
    outcome = await stage.begin(hub, scope="openid read update")
    await stage.issue(outcome, person, position)
    assert isinstance(outcome, Proceed)
    object.__setattr__(outcome.request, "scopes", ("openid", "read"))
    await stage.issue(outcome, person, position)
    opened = [event for event in await stage.facts(GrantOpened) if isinstance(event, GrantOpened)]
    assert [event.scopes for event in opened] == [("openid", "read", "update"), ("openid", "read")]
    object.__setattr__(outcome.request, "scopes", ("openid", "sec"))
    with pytest.raises(Refusal):
        await stage.issue(outcome, person, position)
    object.__setattr__(outcome.request, "scopes", ())
    assert query((await stage.issue(outcome, person, position)).redirect.uri)["error"] == "access_denied"


async def test_an_internal_user_where_none_is_admitted(stage: Stage) -> None:
    fans = await stage.register(CONFIDENTIAL.model_copy(update={"user_kinds": (UserKind.COMMUNITY,)}), resources=True)
    person, position = await stage.sign_in(await stage.user())
    sent = await stage.issue(await stage.begin(fans), person, position)
    assert (query(sent.redirect.uri)["error"], sent.position) == ("access_denied", 0)


async def test_a_community_user_gets_userinfo_only(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    fan = await stage.user(UserKind.COMMUNITY)
    body = await stage.tokens(hub, fan)
    assert body["scope"] == "openid offline_access"
    assert jwt.decode(body["access_token"], options={"verify_signature": False})["aud"] == [USERINFO]
    person, position = await stage.sign_in(fan)
    sent = await stage.issue(await stage.begin(hub, scope="read"), person, position)
    assert query(sent.redirect.uri)["error"] == "access_denied"


async def test_a_service_account_never_signs_in(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    person, position = await stage.sign_in(await stage.user(UserKind.SERVICE))
    sent = await stage.issue(await stage.begin(hub), person, position)
    assert query(sent.redirect.uri)["error"] == "access_denied"


@pytest.mark.parametrize("role", list(Role))
async def test_management_is_for_who_has_a_role(stage: Stage, role: Role) -> None:
    cli = await stage.register(NATIVE, CLI, resources=True)
    cli.redirect_uri = "http://127.0.0.1:51004/callback"
    body = await stage.tokens(cli, await stage.user(UserKind.INTERNAL, role), scope="sec offline_access")
    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    assert (claims["aud"], claims["roles"], claims["scope"]) == ([MANAGEMENT], [role.value], "sec offline_access")
    person, position = await stage.sign_in(await stage.user())
    sent = await stage.issue(await stage.begin(cli, scope="sec"), person, position)
    assert query(sent.redirect.uri)["error"] == "access_denied"


async def test_a_role_that_was_taken_meanwhile(stage: Stage) -> None:
    """Nobody has told the issuer: the fence does."""
    cli = await stage.register(NATIVE, CLI, resources=True)
    brian = await stage.user(UserKind.INTERNAL, Role.ADMINISTRATOR)
    person, position = await stage.sign_in(brian)
    outcome = await stage.begin(cli, scope="sec")
    removed = identity.RolesChanged(sub=brian, roles=(), removed=(Role.ADMINISTRATOR,))
    await stage.of_user(brian, removed)
    sent = await stage.issue(outcome, person, position)
    assert query(sent.redirect.uri)["error"] == "access_denied"
    assert await stage.facts(GrantOpened) == []


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("what", ["user disabled", "session ended", "password changed", "password reset"])
async def test_a_session_that_ended_meanwhile(stage: Stage, what: str, told: bool) -> None:
    hub = await stage.register(resources=True)
    sub = await stage.user()
    person, position = await stage.sign_in(sub)
    outcome = await stage.begin(hub)
    match what:
        case "user disabled":
            await stage.of_user(sub, identity.UserDisabled(sub=sub, reason=""))
        case "password changed":
            await stage.of_user(sub, identity.PasswordChanged(sub=sub, kept_session="another"))
        case "password reset":
            await stage.of_user(sub, identity.PasswordReset(sub=sub))
        case _:
            over = identity.SessionEnded(
                sub=sub,
                sid=person.sid,
                reason=identity.SessionEndReason.ENDED_BY_USER,
                tokens_end_at=stage.clock(),
            )
            await stage.write(stage.identity, f"session-{person.sid}", over)
    if told:
        await stage.follow()
    sent = await stage.issue(outcome, person, position)
    assert query(sent.redirect.uri)["error"] in ("access_denied", "login_required")
    assert await stage.facts(GrantOpened) == []


@pytest.mark.parametrize("told", [True, False])
async def test_an_application_that_the_person_stopped_meanwhile(stage: Stage, told: bool) -> None:
    """They agreed, and took it back before the code was issued: identity has looked before, and says what it saw."""
    hub = await stage.register(resources=True)
    sub = await stage.user()
    person, position = await stage.sign_in(sub)
    outcome = await stage.begin(hub)
    agreed = await stage.write(
        stage.identity, f"consent-{sub}.{HUB}", identity.ConsentGiven(sub=sub, client_id=HUB, scopes=("read",))
    )
    await stage.write(stage.identity, f"consent-{sub}.{HUB}", identity.ConsentWithdrawn(sub=sub, client_id=HUB))
    if told:
        await stage.follow()
    for minimum in (position, agreed):
        sent = await stage.issue(outcome, person, minimum)
        assert query(sent.redirect.uri)["error"] == "access_denied"
    assert await stage.facts(GrantOpened) == []
    again = await stage.write(
        stage.identity, f"consent-{sub}.{HUB}", identity.ConsentGiven(sub=sub, client_id=HUB, scopes=("read",))
    )
    assert "code" in query((await stage.issue(outcome, person, again)).redirect.uri)
    # A request that came after it is not concerned: whoever had to be asked was asked.
    assert "code" in query((await stage.issue(await stage.begin(hub), person, position)).redirect.uri)


async def test_an_application_that_was_disabled_meanwhile_gets_nobody_back(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    person, position = await stage.sign_in(await stage.user())
    outcome = await stage.begin(hub)
    await stage.of_application(registry.ApplicationDisabled(client_id=HUB, reason="stolen"))
    with pytest.raises(Refusal) as refused:
        await stage.issue(outcome, person, position)
    assert refused.value.code == "invalid_client"


async def test_a_redirect_uri_that_was_taken_away_meanwhile(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    person, position = await stage.sign_in(await stage.user())
    outcome = await stage.begin(hub)
    moved = CONFIDENTIAL.model_copy(update={"redirect_uris": ("http://localhost:8480/new",)})
    await stage.of_application(registry.ApplicationChanged(client_id=HUB, settings=moved, narrowed=False))
    await stage.follow()
    with pytest.raises(Refusal):
        await stage.issue(outcome, person, position)


async def test_somebody_elses_session(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    freddie, position = await stage.sign_in(await stage.user())
    brian = await stage.user()
    outcome = await stage.begin(hub)
    sent = await stage.issue(outcome, freddie, position, sub=brian)
    assert query(sent.redirect.uri)["error"] == "login_required"
    sent = await stage.issue(outcome, freddie, position, sid="unheard-of")
    assert query(sent.redirect.uri)["error"] == "login_required"
    sent = await stage.issue(outcome, freddie, position, sub="unheard-of")
    assert query(sent.redirect.uri)["error"] == "access_denied"


@pytest.mark.parametrize("changes", [{"max_age": "60"}, {"max_age": "0"}, {"prompt": "login"}])
async def test_a_sign_in_that_is_too_long_ago(stage: Stage, changes: dict[str, str]) -> None:
    hub = await stage.register(resources=True)
    sub = await stage.user()
    outcome = await stage.begin(hub, **changes)
    old, position = await stage.sign_in(sub, ago=timedelta(minutes=5))
    sent = await stage.issue(outcome, old, position)
    assert query(sent.redirect.uri)["error"] == "login_required"
    fresh, position = await stage.sign_in(sub)
    assert "code" in query((await stage.issue(outcome, fresh, position)).redirect.uri)


async def test_a_hint_says_who_has_to_be_signed_in(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    freddie = await stage.user()
    hint = (await stage.tokens(hub, freddie))["id_token"]
    stage.clock.ahead += timedelta(days=2)
    outcome = await stage.begin(hub, id_token_hint=hint)
    assert isinstance(outcome, Proceed)
    assert outcome.request.expected_sub == freddie
    brian, position = await stage.sign_in(await stage.user())
    sent = await stage.issue(outcome, brian, position)
    assert query(sent.redirect.uri)["error"] == "login_required"


@pytest.mark.parametrize("patience", [0.2])
async def test_a_position_that_nobody_has_handed_out(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    person, _ = await stage.sign_in(await stage.user())
    with pytest.raises(Unavailable):
        await stage.issue(await stage.begin(hub), person, 10**9)


async def test_the_switch_that_refuses_identity(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    person, position = await stage.sign_in(await stage.user())
    outcome = await stage.begin(hub)
    stage.issuer = replace(stage.issuer, policy=replace(stage.issuer.policy, issue_for_identity=False))
    with pytest.raises(Refusal) as refused:
        await stage.issue(outcome, person, position)
    assert refused.value.code == "identity_refused"
