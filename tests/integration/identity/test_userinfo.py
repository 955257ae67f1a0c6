import time
from typing import Any

import pytest

from services.identity.events import UserKind
from tests.support.identity_service import ISSUER, PASSWORD, Identity

PATH = "/id/connect/userinfo"


async def ask(identity: Identity, token: str | None, method: str = "GET", **options: Any) -> Any:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    return (
        await identity.browser().send(method, PATH, headers=headers | options.pop("headers", {}), **options)
    ).response


@pytest.fixture
async def freddie(identity: Identity) -> str:
    return await identity.register(
        "freddie",
        PASSWORD,
        UserKind.INTERNAL,
        given_name="Farrokh",
        family_name="Bulsara",
        display_name="Freddie",
        email="freddie@example.com",
        zoneinfo="Europe/London",
    )


async def test_claims_follow_the_scopes(identity: Identity, freddie: str) -> None:
    answer = await ask(identity, identity.token(freddie))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {"sub": freddie}

    answer = await ask(identity, identity.token(freddie, scope="openid profile"), "POST")
    told = answer.json()
    assert told.pop("updated_at") > 0
    assert told == {
        "sub": freddie,
        "name": "Freddie",
        "given_name": "Farrokh",
        "family_name": "Bulsara",
        "preferred_username": "freddie",
        "zoneinfo": "Europe/London",
    }

    answer = await ask(identity, identity.token(freddie, scope="openid email"))
    assert answer.json() == {"sub": freddie, "email": "freddie@example.com", "email_verified": False}


async def test_it_tells_what_is_true_now(identity: Identity, freddie: str) -> None:
    token = identity.token(freddie, scope="openid profile")
    await identity.parts.accounts.change(
        freddie,
        identity.context(),
        profile=lambda old: old.model_copy(update={"display_name": None, "zoneinfo": None}),
        roles=None,
        by="brian",
    )
    told = (await ask(identity, token)).json()
    assert told["name"] == "Farrokh Bulsara"
    assert "zoneinfo" not in told


async def test_nothing_of_a_user_who_is_disabled(identity: Identity, freddie: str) -> None:
    await identity.parts.accounts.disable(freddie, "", identity.context(), by="brian")
    answer = await ask(identity, identity.token(freddie))
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


async def test_a_challenge_without_an_error_for_who_brings_nothing(identity: Identity) -> None:
    answer = await ask(identity, None)
    assert answer.status_code == 401
    challenge = answer.headers["www-authenticate"]
    assert challenge.startswith("Bearer ")
    assert "error" not in challenge
    address = challenge.partition('resource_metadata="')[2].partition('"')[0]
    metadata = (await identity.browser().send("GET", address)).response
    assert metadata.json()["resource"] == f"{ISSUER}/connect/userinfo"


async def test_tokens_that_are_not_for_this(identity: Identity, freddie: str) -> None:
    wrong: list[dict[str, Any]] = [
        {"aud": ["http://127.0.0.1:8400/api"]},
        {"aud": ["http://127.0.0.1:8400/management"]},
        {"iss": "http://127.0.0.1:8400/other"},
        {"exp": int(time.time()) - 60},
        {"cnf": {"jkt": "x"}},
    ]
    for changes in wrong:
        answer = await ask(identity, identity.token(freddie, **changes))
        assert answer.status_code == 401, changes
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
        assert freddie not in answer.text


async def test_without_openid_there_is_no_userinfo(identity: Identity, freddie: str) -> None:
    answer = await ask(identity, identity.token(freddie, scope="profile email"))
    assert answer.status_code == 403
    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
    assert 'scope="openid"' in answer.headers["www-authenticate"]


async def test_a_service_token_has_no_userinfo(identity: Identity) -> None:
    answer = await ask(identity, identity.token("com.merchsync/service", client_id="com.merchsync/service"))
    assert answer.status_code == 401


async def test_a_token_in_the_query_is_refused(identity: Identity, freddie: str) -> None:
    answer = await ask(identity, None, params={"access_token": identity.token(freddie)})
    assert answer.status_code == 400


async def test_scripts_of_any_origin_may_ask(identity: Identity, freddie: str) -> None:
    origin = {"origin": "https://app.example"}
    preflight = await ask(identity, None, "OPTIONS", headers=origin)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert "Authorization" in preflight.headers["access-control-allow-headers"]
    for token in (None, identity.token(freddie)):
        answer = await ask(identity, token, headers=origin)
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers
        assert answer.headers["access-control-expose-headers"] == "WWW-Authenticate"


async def test_no_page_is_open_to_scripts(identity: Identity) -> None:
    browser = identity.browser()
    for path in ("/id/signin", "/id/connect/authorize", "/id/connect/endsession", "/id/account"):
        page = await browser.send("GET", path, headers={"origin": "https://app.example"})
        assert not [name for name in page.headers if name.startswith("access-control-")]


async def test_other_methods_are_refused(identity: Identity) -> None:
    for method in ("PUT", "DELETE", "PATCH"):
        assert (await ask(identity, None, method)).status_code == 405
