"""Registering applications by program that nobody let, more of them than somebody let, or such as nobody may be."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from infra.local.system import System
from services.registry.access_tokens import new_registration_token
from services.registry.domain.application import SYSTEM
from shared.http.attempts import Budgets
from shared.rate_limit import Budget
from tests.support.doors import REFUSED, Doors
from tests.support.parties import parties as parties  # noqa: PLC0414  (a fixture, as are the others)
from tests.support.registering import CALLBACK, REGISTER, Programs, bearer, programs_of
from tests.support.registry import ISSUER, Clock, Running
from tests.support.registry import clock as clock  # noqa: PLC0414
from tests.support.registry import log as log  # noqa: PLC0414
from tests.support.registry import registry as registry  # noqa: PLC0414

FEW = Budgets(Budget(5, 3600), Budget(12, 3600))


@pytest.fixture
async def programs(registry: Running, clock: Clock) -> AsyncIterator[Programs]:
    async with programs_of(registry, clock) as running:
        yield running


async def test_a_single_use_token_that_is_shown_twenty_times_at_once(programs: Programs) -> None:
    token = await programs.allow()
    answers = await asyncio.gather(*(programs.register(token) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [201] + [401] * 19
    assert await programs.count() == 1
    assert (await programs.register(token)).status_code == 401


async def test_the_token_of_one_application_for_another(programs: Programs) -> None:
    token = await programs.allow(unlimited=True)
    mine, yours = await programs.registered(token), await programs.registered(token)
    for answer in (
        await yours.read(mine.token),
        await yours.change(mine.token, client_name="Mine"),
        await yours.remove(mine.token),
    ):
        assert answer.status_code == 401
        assert yours.client_id not in answer.text
    assert (await yours.read()).status_code == 200


async def test_any_token_for_an_application_that_an_administrator_registered(programs: Programs) -> None:
    one = await programs.registered()
    for client_id in (f"{SYSTEM}cli", "com.unheard/of", "%2e%2e%2f", "\u202e", "a" * 5000):
        for token in (one.token, new_registration_token(), await programs.allow()):
            answer = await programs.http.delete(f"{REGISTER}/{client_id}", headers=bearer(token))
            assert answer.status_code == 401
            assert answer.json() == {
                "error": "invalid_token",
                "error_description": "the registration access token is not accepted",
            }


async def test_the_one_kind_of_token_in_the_place_of_the_other(programs: Programs) -> None:
    initial = await programs.allow(unlimited=True)
    one = await programs.registered(initial)
    for token in (one.token, one.said["client_secret"], "administrator", initial[:-1], f"{initial}0", initial.lower()):
        assert (await programs.register(token)).status_code == 401
    for token in (initial, one.said["client_secret"], "administrator", one.token[:-1]):
        assert (await one.read(token)).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Authorization", "")],
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer TOKEN, Bearer TOKEN")],
        [("Authorization", "Bearer TOKEN"), ("Authorization", "Bearer TOKEN")],
        [("Authorization", "Basic TOKEN")],
        [("Authorization", "DPoP TOKEN")],
        [("X-Api-Key", "TOKEN")],
    ],
)
async def test_a_token_in_another_way(programs: Programs, headers: list[tuple[str, str]]) -> None:
    token = await programs.allow()
    shown = [(name, value.replace("TOKEN", token)) for name, value in headers]
    answer = await programs.http.post(REGISTER, json={"redirect_uris": [CALLBACK]}, headers=shown)
    assert answer.status_code in {400, 401}
    inside = {"redirect_uris": [CALLBACK], "access_token": token}
    assert (await programs.http.post(REGISTER, json=inside)).status_code == 401
    in_address = await programs.http.post(f"{REGISTER}?access_token={token}", json=inside, headers=bearer(token))
    assert in_address.status_code == 400
    assert await programs.count() == 0


@pytest.mark.parametrize(
    "metadata",
    [
        {"first_party": True},
        {"client_id": f"{SYSTEM}console"},
        {"service_account": "somebody"},
        {"reference_tokens": "authenticated_users"},
        {"require_pkce": False},
        {"user_kinds": ["community"]},
        {"type": "confidential"},
        {"access_token_seconds": 86400},
        {"client_secret": "chosen"},
        {"registration_access_token": "chosen"},
    ],
)
async def test_what_is_an_administrators_to_say_is_not_heard(programs: Programs, metadata: dict[str, Any]) -> None:
    token = await programs.allow(unlimited=True)
    usual = (await programs.registered(token)).said
    said = (await programs.registered(token, **metadata)).said
    own = ("client_id", "client_name", "client_secret", "registration_access_token", "registration_client_uri")
    times = ("client_id_issued_at",)
    assert {name: said[name] for name in said if name not in own + times} == {
        name: usual[name] for name in usual if name not in own + times
    }
    assert said["client_id"].startswith("dynamic.registration/")
    assert "chosen" not in (said["client_secret"], said["registration_access_token"])


@pytest.mark.parametrize("scope", ["sec", "read sec", "update", "unheard-of", "claim:birthdate", 'read"', "re\u0430d"])
async def test_a_scope_that_is_not_allowed(programs: Programs, scope: str) -> None:
    answer = await programs.register(await programs.allow(), scope=scope)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client_metadata")
    one = await programs.registered()
    assert (await one.change(scope=scope)).status_code == 400


async def test_a_grant_that_is_not_allowed(programs: Programs) -> None:
    wanted: dict[str, Any] = {"grant_types": ["authorization_code", "client_credentials"]}
    assert (await programs.register(await programs.allow(), **wanted)).status_code == 400
    one = await programs.registered()
    assert (await one.change(**wanted)).status_code == 400


@pytest.mark.parametrize(
    "uri",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "http://tour.example/callback",
        "https://tour.example/callback#fragment",
        "https://*.example/callback",
        "https://somebody@tour.example/callback",
        "https://tour.example/a/../callback",
        "https://TOUR.example/callback",
        "//tour.example/callback",
        "https://tour.example/call\r\nback",
        "",
    ],
)
@pytest.mark.parametrize("kind", ["web", "native"])
async def test_a_redirect_uri_that_leads_astray(programs: Programs, uri: str, kind: str) -> None:
    metadata: dict[str, Any] = {"redirect_uris": [CALLBACK, uri], "application_type": kind}
    answer = await programs.register(await programs.allow(), **metadata)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_redirect_uri")
    one = await programs.registered(application_type=kind)
    assert (await one.change(**metadata)).status_code == 400


@pytest.mark.parametrize(
    "uri",
    [
        "https://127.0.0.1/keys",
        "https://localhost/keys",
        "https://[::1]/keys",
        "http://tour.example/keys",
        "file:///etc/passwd",
    ],
)
async def test_an_address_inside_that_the_issuer_would_call(programs: Programs, uri: str) -> None:
    """What else is inside, the issuer sees when it looks the name up, and calls none of it (`shared.http.outgoing`)."""
    for metadata in (
        {"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": uri},
        {"backchannel_logout_uri": uri},
    ):
        answer = await programs.register(await programs.allow(), **metadata)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client_metadata")


@pytest.mark.parametrize(
    "name", ["Bus\r\nSet-Cookie: a=b", "Bus\u202egnp.exe", "Bus\u200b", " Bus", "B" * 101, "Bus\x00", "\ud800"]
)
async def test_a_name_that_is_not_what_it_looks_like(programs: Programs, name: str) -> None:
    body = json.dumps({"redirect_uris": [CALLBACK], "client_name": name})
    headers = {**bearer(await programs.allow()), "Content-Type": "application/json"}
    answer = await programs.http.post(REGISTER, content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client_metadata")
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "metadata",
    [
        {"redirect_uris": [f"https://tour.example/{n}" for n in range(51)]},
        {"redirect_uris": ["https://tour.example/" + "a" * 2048]},
        {"contacts": ["a" * 201]},
        {"logo_uri": "https://tour.example/" + "a" * 2048},
        {"grant_types": ["authorization_code"] * 2},
        {"scope": "read " * 300},
        {"jwks": {"keys": [{"kty": "EC"}] * 11}, "token_endpoint_auth_method": "private_key_jwt"},
    ],
)
async def test_too_much_of_something(programs: Programs, metadata: dict[str, Any]) -> None:
    answer = await programs.register(await programs.allow(), **metadata)
    assert answer.status_code == 400
    assert await programs.count() == 0


async def test_no_body_is_read_of_who_may_not_register(programs: Programs) -> None:
    async def endless() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    headers = {**bearer("stagedoor_iat_" + "0" * 49), "Content-Type": "application/json"}
    answer = await programs.http.post(REGISTER, content=endless(), headers=headers)
    assert answer.status_code == 401


async def test_no_secret_is_in_an_error_or_a_header(programs: Programs) -> None:
    token = await programs.allow()
    one = await programs.registered(token)
    for answer in (await programs.register(token), await one.read(token), await one.change(client_name=7)):
        assert answer.is_error
        for secret in (token, one.token, one.said["client_secret"]):
            assert secret not in answer.text
            assert secret not in str(answer.headers)


async def test_a_stranger_is_told_to_wait_and_keeps_nobody_else_out(registry: Running, clock: Clock) -> None:
    async with programs_of(registry, clock, FEW) as programs:
        token, guess = await programs.allow(unlimited=True), "stagedoor_iat_" + "0" * 49

        async def post(shown: str, at: str) -> httpx.Response:
            headers = {**bearer(shown), "X-Forwarded-For": at}
            return await programs.http.post(REGISTER, json={"redirect_uris": [CALLBACK]}, headers=headers)

        tried = [(await post(guess, "192.0.2.7")).status_code for _ in range(8)]
        assert tried == [401] * 5 + [429] * 3
        assert int((await post(token, "192.0.2.7")).headers["retry-after"]) > 0
        assert (await post(token, "198.51.100.1")).status_code == 201
        one = await programs.registered(token)
        address = f"{ISSUER}/connect/register/{one.client_id}"
        headers = {**bearer(new_registration_token()), "X-Forwarded-For": "192.0.2.8"}
        assert [(await programs.http.get(address, headers=headers)).status_code for _ in range(6)][-2:] == [401, 429]
        assert (await one.read()).status_code == 200


async def test_neither_token_opens_any_other_door(doors: Doors, system: System) -> None:
    initial = system.demo["initial_access_token"]
    register = f"{system.ports.issuer}/connect/register"
    metadata = {"redirect_uris": [CALLBACK], "scope": "read"}
    said = (await doors.http.post(register, json=metadata, headers=bearer(initial))).json()
    for token in (initial, said["registration_access_token"]):
        assert await doors.answers(token) == REFUSED
    for token in (*doors.honest.access_tokens, doors.honest.id_token, doors.honest.refresh_token):
        answer = await doors.http.post(register, json=metadata, headers=bearer(token))
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
        answer = await doors.http.get(said["registration_client_uri"], headers=bearer(token))
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
    logs = "".join(path.read_text(errors="replace") for path in system.home.logs.glob("*.log"))
    for secret in (initial, said["registration_access_token"], said["client_secret"]):
        assert secret not in logs
