"""The HTTP of the issuer: documents, headers, and what a request has to look like."""

import asyncpg
import httpx
import pytest

from services.registry.events import GrantType
from services.token_issuer import read_model
from tests.support.issuing import CHALLENGE, HUB, ISSUER, ORIGIN, PUBLIC, SPA, SPA_CALLBACK, Stage, error

OPENID = "/id/.well-known/openid-configuration"
OAUTH = "/.well-known/oauth-authorization-server/id"


async def test_both_documents_say_the_same(stage: Stage) -> None:
    openid, oauth = await stage.http.get(OPENID), await stage.http.get(OAUTH)
    assert openid.status_code == oauth.status_code == 200
    assert openid.json() == oauth.json()
    told = openid.json()
    assert told["issuer"] == ISSUER
    for name in ("token", "jwks", "introspection", "revocation", "authorization", "userinfo", "end_session"):
        address = told[f"{name}_uri"] if name == "jwks" else told[f"{name}_endpoint"]
        assert address.startswith(f"{ISSUER}/connect/")
    assert told["response_types_supported"] == ["code"]
    assert told["code_challenge_methods_supported"] == ["S256"]
    assert told["authorization_response_iss_parameter_supported"] is True
    assert told["request_uri_parameter_supported"] is False
    assert told["grant_types_supported"] == [grant.value for grant in GrantType]


async def test_what_is_named_answers(stage: Stage) -> None:
    told = (await stage.http.get(OPENID)).json()
    for name in ("token_endpoint", "introspection_endpoint", "revocation_endpoint"):
        assert (await stage.http.post(told[name].removeprefix(ORIGIN), data={"a": "b"})).status_code == 401
    keys = await stage.http.get(told["jwks_uri"].removeprefix(ORIGIN))
    assert "max-age" in keys.headers["cache-control"]
    assert {key["alg"] for key in keys.json()["keys"]} == {"ES256", "RS256"}
    for key in keys.json()["keys"]:
        assert key["use"] == "sig"
        assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & key.keys()


POSTED = ("/id/connect/token", "/id/connect/par", "/id/connect/device", "/id/connect/revocation")


@pytest.mark.parametrize("path", [*POSTED, "/id/connect/jwks", OPENID, OAUTH])
async def test_pages_of_any_origin_may_call_these(stage: Stage, path: str) -> None:
    asked = {"Origin": "https://roadie.example", "Access-Control-Request-Method": "POST"}
    answer = await stage.http.options(path, headers=asked)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers
    assert answer.headers["access-control-allow-methods"] == ("POST" if path in POSTED else "GET")


@pytest.mark.parametrize("path", POSTED)
async def test_and_can_read_the_refusals(stage: Stage, path: str) -> None:
    answer = await stage.http.post(path, data={"grant_type": "x", "client_id": "y", "token": "z"})
    assert answer.json()["error"] in {"unsupported_grant_type", "invalid_client"}
    assert answer.headers["access-control-allow-origin"] == "*"


async def test_and_the_answers_of_what_a_public_application_uses(stage: Stage) -> None:
    """It pushes its request, and takes its refresh token back; what it cannot use is not open to pages."""
    spa = await stage.register(PUBLIC, SPA, resources=True)
    pushed = {"response_type": "code", "redirect_uri": SPA_CALLBACK, "code_challenge": CHALLENGE}
    form = spa.form(**pushed, code_challenge_method="S256", scope="openid")
    answer = await stage.http.post("/id/connect/par", data=form, headers={"Origin": "https://roadie.example"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (201, "*")
    tokens = await stage.tokens(spa, await stage.user())
    answer = await stage.revoke(spa, tokens["refresh_token"])
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("path", ["/id/connect/introspect"])
async def test_and_none_else(stage: Stage, path: str) -> None:
    answer = await stage.http.options(path, headers={"Origin": "https://roadie.example"})
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers
    answer = await stage.http.post(path, data={"token": "x"}, headers={"Origin": "https://roadie.example"})
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", ["/id/connect/token", "/id/connect/introspect", "/id/connect/revocation"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_nothing_but_post(stage: Stage, path: str, method: str) -> None:
    assert (await stage.http.request(method, path)).status_code == 405


async def test_a_wrong_secret_is_challenged(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    hub.secret = "wrong"
    answer = await stage.token(hub, grant_type="client_credentials")
    assert (answer.status_code, error(answer)) == (401, "invalid_client")
    assert answer.headers["www-authenticate"].startswith("Basic ")


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({}, "invalid_request"),
        ({"scope": "read"}, "invalid_request"),
        ({"grant_type": "password", "username": "freddie", "password": "x"}, "unsupported_grant_type"),
        ({"grant_type": "implicit"}, "unsupported_grant_type"),
        ({"grant_type": "authorization_code"}, "invalid_request"),
        ({"grant_type": "authorization_code", "code": "nonsense"}, "invalid_grant"),
        ({"grant_type": "refresh_token"}, "invalid_request"),
        ({"grant_type": "refresh_token", "refresh_token": "nonsense"}, "invalid_grant"),
    ],
)
async def test_incomplete_requests(stage: Stage, form: dict[str, str], code: str) -> None:
    hub = await stage.register(resources=True)
    answer = await stage.token(hub, **form)
    assert (answer.status_code, error(answer)) == (400, code)


async def test_a_public_client_says_its_name_and_nothing_more(stage: Stage) -> None:
    spa = await stage.register(PUBLIC, SPA, resources=True)
    pair = httpx.BasicAuth(SPA, "")
    answer = await stage.http.post("/id/connect/token", data={"grant_type": "refresh_token"}, auth=pair)
    assert error(answer) == "invalid_request"
    body = {"grant_type": "refresh_token", "refresh_token": "sdr_x", "client_id": SPA, "client_secret": "guess"}
    assert error(await stage.http.post("/id/connect/token", data=body)) == "invalid_client"
    assert spa.client_id != HUB


async def test_what_cannot_be_decided_now_is_not_refused(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = await stage.register(resources=True)
    body = await stage.tokens(hub, await stage.user())

    gone = await asyncpg.create_pool("postgresql://token_issuer@/nothing?host=/nowhere", min_size=0)
    monkeypatch.setattr(stage.issuer.questions, "_pool", gone)
    monkeypatch.setattr(read_model, "LATELY_SECONDS", 0.0)
    for answer in (
        await stage.token(hub, grant_type="client_credentials"),
        await stage.refresh(hub, body["refresh_token"]),
        await stage.introspect(hub, body["access_token"]),
        await stage.revoke(hub, body["access_token"]),
    ):
        assert (answer.status_code, error(answer)) == (503, "temporarily_unavailable")
        assert int(answer.headers["retry-after"]) >= 1
