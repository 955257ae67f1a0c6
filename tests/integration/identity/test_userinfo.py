import json
import time
from typing import Any

import pytest

from services.identity.events import UserKind
from services.identity.userinfo import metadata_path
from tests.support.dpop import ProofKey
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
        phone_number="+442079460958",
        street_address="1 Logan Place",
        locality="London",
        postal_code="W8 6QN",
        country="GB",
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

    answer = await ask(identity, identity.token(freddie, scope="openid phone address"))
    assert answer.json() == {
        "sub": freddie,
        "phone_number": "+442079460958",
        "phone_number_verified": False,
        "address": {
            "street_address": "1 Logan Place",
            "locality": "London",
            "postal_code": "W8 6QN",
            "country": "GB",
        },
    }


async def test_single_claims_have_scopes_of_their_own(identity: Identity, freddie: str) -> None:
    answer = await ask(identity, identity.token(freddie, scope="openid claim:given_name claim:locale claim:email"))
    assert answer.json() == {"sub": freddie, "given_name": "Farrokh", "email": "freddie@example.com"}


async def test_what_a_person_has_not_told_is_left_out(identity: Identity) -> None:
    brian = await identity.register("brian", PASSWORD)
    told = (await ask(identity, identity.token(brian, scope="openid profile email address phone"))).json()
    assert told.keys() == {"sub", "name", "preferred_username", "updated_at"}


async def test_a_token_in_a_posted_form(identity: Identity, freddie: str) -> None:
    token = identity.token(freddie)
    answer = await ask(identity, None, "POST", data={"access_token": token})
    assert (answer.status_code, answer.json()) == (200, {"sub": freddie})
    answer = await ask(identity, token, "POST", data={"other": "x"})
    assert answer.status_code == 200
    answer = await ask(identity, None, "POST", data={"other": "x"})
    assert answer.status_code == 401
    assert "error" not in answer.headers["www-authenticate"]


@pytest.mark.parametrize(
    "content",
    ["access_token={token}&access_token={token}", "access_token=%zz", "access_token=%C3%A9", "access_token=a%0D%0Ab"],
)
async def test_a_form_that_is_not_in_order(identity: Identity, freddie: str, content: str) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    body = content.format(token=identity.token(freddie))
    answer = await ask(identity, None, "POST", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert answer.headers["access-control-allow-origin"] == "*"


async def test_a_form_counts_only_where_it_is_one(identity: Identity, freddie: str) -> None:
    token = identity.token(freddie)
    both = await ask(identity, token, "POST", data={"access_token": token})
    assert (both.status_code, both.json()["error"]) == (400, "invalid_request")
    form = {"content-type": "application/x-www-form-urlencoded"}
    body = f"access_token={token}"
    assert (await ask(identity, None, "GET", content=body, headers=form)).status_code == 401
    for kind in ("text/plain", "multipart/form-data; boundary=x", "application/json"):
        answer = await ask(identity, None, "POST", content=body, headers={"content-type": kind})
        assert answer.status_code == 401, kind


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
    assert metadata.json()["bearer_methods_supported"] == ["header", "body"]


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


async def test_an_application_that_wants_it_signed(identity: Identity, freddie: str) -> None:
    client_id = "com.signed/app"
    async with identity.database.connection() as operator:
        await operator.execute("INSERT INTO identity.signed_userinfo VALUES ($1, 1)", client_id)
    token = identity.token(freddie, client_id=client_id, scope="openid email")
    for answer in (
        await ask(identity, token),
        await ask(identity, token, headers={"accept": "application/json"}),
        await ask(identity, None, "POST", data={"access_token": token}),
    ):
        assert (answer.status_code, answer.text) == (200, "header.claims.signature")
        assert answer.headers["content-type"] == "application/jwt"
        asked = identity.issuer.signed.pop()
        assert asked.access_token == token
        told = {"sub": freddie, "email": "freddie@example.com", "email_verified": False}
        assert json.loads(asked.claims) == told
    assert (await ask(identity, identity.token(freddie))).headers["content-type"] == "application/json"
    await identity.issuer.stop()
    assert (await ask(identity, token)).status_code == 503


async def test_a_token_that_is_bound_to_a_key(identity: Identity, freddie: str) -> None:
    key, address = ProofKey(), f"{ISSUER}/connect/userinfo"
    token = identity.token(freddie, cnf={"jkt": key.jkt})
    for method in ("GET", "POST"):
        answer = await ask(identity, None, method, headers=key.headers(method, address, token))
        assert (answer.status_code, answer.json()) == (200, {"sub": freddie})
    alone = {"Authorization": f"DPoP {token}"}
    for wrong in (key.headers("GET", "https://elsewhere.example/id/connect/userinfo", token), alone):
        answer = await ask(identity, None, headers=wrong)
        assert answer.status_code == 401
        assert 'DPoP error="invalid_dpop_proof"' in answer.headers["www-authenticate"]
        assert answer.headers["access-control-allow-origin"] == "*"
    for bearer in ({"data": {"access_token": token}}, {"headers": {"authorization": f"Bearer {token}"}}):
        answer = await ask(identity, None, "POST", **bearer)
        assert 'Bearer error="invalid_token"' in answer.headers["www-authenticate"]
    both = key.headers("POST", address, token)
    answer = await ask(identity, None, "POST", data={"access_token": token}, headers=both)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_pages_may_ask_with_a_proof(identity: Identity) -> None:
    answer = await ask(identity, None, "OPTIONS")
    assert "DPoP" in answer.headers["access-control-allow-headers"]
    document = (await identity.browser().send("GET", metadata_path(ISSUER))).response.json()
    assert document["dpop_signing_alg_values_supported"] == ["ES256", "RS256", "PS256", "EdDSA"]
