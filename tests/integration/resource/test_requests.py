"""What the API refuses, and how it says so."""

import json
from typing import Any

import pytest

from stagedoor.denials import Denial, DenialKind, DenialRule
from tests.integration.resource.conftest import ARTICLE, ORIGIN, TOUR, Added, Api
from tests.support.sdk_tokens import ISSUER

METADATA = f"{ORIGIN}/.well-known/oauth-protected-resource/api"


async def test_its_metadata(api: Api) -> None:
    answer = await api.client.get(METADATA)
    assert answer.status_code == 200
    assert answer.json() == {
        "resource": f"{ORIGIN}/api",
        "authorization_servers": [ISSUER],
        "scopes_supported": ["read", "update"],
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": ["ES256", "RS256", "PS256", "EdDSA"],
        "resource_name": "Tours and merchandise",
    }


@pytest.mark.parametrize("path", ["/api/tours", "/api/merchandise", "/api/tours/x", "/api", "/", "/elsewhere"])
async def test_without_a_token_nothing_is_told(api: Api, path: str) -> None:
    answer = await api.client.get(path)
    assert answer.status_code == 401
    assert f'resource_metadata="{METADATA}"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize(
    ("method", "path", "needed", "given"),
    [
        ("GET", "/api/tours", "read", "update"),
        ("GET", "/api/merchandise/AAAAAAAAAAAAAAAAAAAAAA", "read", "update"),
        ("POST", "/api/tours", "update", "read"),
        ("PUT", "/api/tours/AAAAAAAAAAAAAAAAAAAAAA", "update", "read"),
        ("DELETE", "/api/merchandise/AAAAAAAAAAAAAAAAAAAAAA", "update", "read"),
    ],
)
async def test_each_method_needs_its_scope(api: Api, method: str, path: str, needed: str, given: str) -> None:
    answer = await api(method, path, json=TOUR, claims={"scope": given})
    assert answer.status_code == 403
    assert 'error="insufficient_scope", error_description=' in answer.headers["www-authenticate"]
    assert f'scope="{needed}"' in answer.headers["www-authenticate"]
    assert await api.events() == []


async def test_a_disabled_application_is_refused_from_one_request_to_the_next(api: Api) -> None:
    assert (await api("GET", "/api/tours")).status_code == 200
    disabled = Denial(
        number=1, position=500, epoch=1, kind=DenialKind.CLIENT, id="com.backstagehub/app", rule=DenialRule.STANDING
    )
    assert api.guard.view.apply(disabled)
    answer = await api("GET", "/api/tours")
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")


# A database for each wrong request would cost more than it tells, so lists of them are tried in one test.

_NO_TOURS: list[dict[str, Any]] = [
    {"title": ""},
    {"title": " x"},
    {"title": "x" * 201},
    {"title": "a\x00b"},
    {"title": "a\u202eb"},
    {"title": 1},
    {"title": None},
    {"date": "1986-02-30"},
    {"date": "19860712"},
    {"date": "1986-7-12"},
    {"date": "tomorrow"},
    {"sub": "fan"},
    {"id": "A" * 22},
]
_NO_ARTICLES: list[dict[str, Any]] = [
    {"price_cents": -1},
    {"price_cents": 10**9},
    {"price_cents": 1.5},
    {"price_cents": "1500"},
    {"price_cents": True},
    {"stock": -1},
    {"stock": 10**30},
    {"stock": None},
]
_NO_OBJECTS = [
    b"",
    b"{",
    b"[]",
    b"null",
    json.dumps(TOUR).encode()[:-1] + b', "title": "Said twice"}',
    json.dumps({**TOUR, "title": "x"}).encode("utf-16"),
    b'{"title": NaN}',
    b"[" * 30_000,
]


async def test_rows_that_cannot_be(api: Api) -> None:
    bodies = [("/api/tours", {**TOUR, **wrong}) for wrong in _NO_TOURS]
    bodies += [("/api/merchandise", {**ARTICLE, **wrong}) for wrong in _NO_ARTICLES]
    for path, body in bodies:
        answer = await api("POST", path, json=body)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request"), body
    assert await api.events() == []


async def test_a_body_that_is_not_one_json_object(api: Api) -> None:
    for body in _NO_OBJECTS:
        answer = await api("POST", "/api/tours", content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request"), body[:80]
    assert await api.events() == []


async def test_a_body_that_is_too_large(api: Api) -> None:
    answer = await api("POST", "/api/tours", content=b" " * 70_000, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413


async def test_a_body_of_another_kind(api: Api) -> None:
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""):
        answer = await api("POST", "/api/tours", content=json.dumps(TOUR), headers={"Content-Type": media_type})
        assert answer.status_code == 415, media_type


async def test_a_query_that_is_not_understood(api: Api) -> None:
    for query in (
        "limit=0",
        "limit=201",
        "limit=x",
        "limit=1&limit=2",
        "after=x",
        "after=W10",
        "after=WyJcdWQ4MDAiLCJhIl0",
        "after=é",
        "sub=fan",
    ):
        answer = await api("GET", f"/api/tours?{query}")
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request"), query
    assert await api.events() == []


async def test_an_idempotency_key_that_is_none(api: Api) -> None:
    for key in ("", "x", "1,2", "{}"):
        answer = await api("POST", "/api/tours", json=TOUR, headers={"Idempotency-Key": key})
        assert answer.status_code == 400, key
    assert await api.events() == []


async def test_an_id_that_cannot_be_one(api: Api) -> None:
    for row_id in ("x", "A" * 23, "..%2Ftours", "'--", "%00"):
        answer = await api("GET", f"/api/tours/{row_id}")
        assert answer.status_code in (400, 404), row_id


async def test_addresses_and_methods_that_are_not_there(api: Api, added: Added) -> None:
    tour_id = await added()
    for path in ("/api", "/api/tours/", f"/api/tours/{tour_id}/x", "/elsewhere"):
        assert (await api("GET", path)).status_code == 404
    assert (await api("PATCH", f"/api/tours/{tour_id}")).status_code == 405
    assert (await api("DELETE", "/api/tours")).status_code == 405
