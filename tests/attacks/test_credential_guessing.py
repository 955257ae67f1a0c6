"""Guessing secrets and codes, and wearing the issuer out by trying; and keeping others out by failing in their name."""

from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest
import pytest_asyncio

from services.token_issuer.http import application
from services.token_issuer.read_model import Questions
from services.token_issuer.settings import TokenIssuerSettings
from shared.http.attempts import USUAL, Attempts, Budgets
from shared.http.client_address import LOOPBACK, ClientAddresses, Sent
from shared.http.serve import Readiness, layers
from shared.rate_limit import Budget
from tests.support.issuing import HUB, ORIGIN, PUBLIC, SPA, VERIFIER, Client, Stage, error

TOKEN, INTROSPECT, REVOKE = "/id/connect/token", "/id/connect/introspect", "/id/connect/revocation"
FEW = Budgets(Budget(5, 3600), Budget(12, 3600))
ELSEWHERE = "198.51.100.1"


@dataclass
class Guessing:
    """Requests from any address, to an issuer that counts what it asks of the log."""

    stage: Stage
    http: httpx.AsyncClient
    asked: list[str] = field(default_factory=list)

    async def post(
        self, form: dict[str, str], client_id: str = HUB, secret: str = "", *, path: str = TOKEN, at: str = "192.0.2.7"
    ) -> httpx.Response:
        headers = {"X-Forwarded-For": at}
        if secret:
            pair = f"{client_id.replace('/', '%2F')}:{secret}"
            headers["Authorization"] = "Basic " + b64encode(pair.encode()).decode()
        else:
            form = {**form, "client_id": client_id}
        return await self.http.post(path, data=form, headers=headers)

    async def secret(self, secret: str = "guess", client_id: str = HUB, **more: Any) -> httpx.Response:
        return await self.post({"grant_type": "client_credentials"}, client_id, secret, **more)

    async def code(self, code: str, client: Client, **more: Any) -> httpx.Response:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": client.redirect_uri}
        return await self.post({**form, "code_verifier": VERIFIER}, client.client_id, client.secret or "", **more)


@pytest_asyncio.fixture
async def guessing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Guessing]:
    async def ready() -> Readiness:
        return Readiness({})

    limited = replace(stage.issuer, attempts=Attempts(ClientAddresses(LOOPBACK), FEW))
    app = layers(application(limited, stage.guard, stage.references), ready, 1000)
    transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 40000))
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, trust_env=False) as http:
        made = Guessing(stage, http)
        known: Callable[..., Any] = Questions.known

        async def counted(self: Questions, client_id: str, **more: Any) -> Any:
            made.asked.append(client_id)
            return await known(self, client_id, **more)

        monkeypatch.setattr(Questions, "known", counted)
        yield made


def too_many(answer: httpx.Response) -> bool:
    """RFC 6585 section 4, in the shape of RFC 6749 section 5.2."""
    if answer.status_code != 429:
        return False
    assert error(answer) == "temporarily_unavailable"
    assert 3000 < int(answer.headers["retry-after"]) <= 3600
    assert "www-authenticate" not in answer.headers
    return True


@pytest.mark.parametrize("path", [TOKEN, INTROSPECT, REVOKE])
async def test_after_a_few_failures_nothing_is_looked_at(guessing: Guessing, path: str) -> None:
    hub = await guessing.stage.register(resources=True)
    form = {"grant_type": "client_credentials", "token": "x"}
    for _ in range(5):
        assert error(await guessing.post(form, HUB, "guess", path=path)) == "invalid_client"
    guessing.asked.clear()
    for secret in ("guess", hub.secret or ""):
        assert too_many(await guessing.post(form, HUB, secret, path=path))
    # The endpoints are three ways to guess the same secret.
    for other in (TOKEN, INTROSPECT, REVOKE):
        assert too_many(await guessing.post(form, HUB, "guess", path=other))
    assert guessing.asked == []


async def test_a_stranger_keeps_no_client_out(guessing: Guessing) -> None:
    hub = await guessing.stage.register(resources=True)
    while not too_many(await guessing.secret()):
        pass
    answer = await guessing.secret(hub.secret or "", at=ELSEWHERE)
    assert answer.status_code == 200
    assert too_many(await guessing.secret())


async def test_what_succeeds_costs_nothing(guessing: Guessing) -> None:
    hub = await guessing.stage.register(resources=True)
    for _ in range(20):
        assert (await guessing.secret(hub.secret or "")).status_code == 200
    for _ in range(4):
        await guessing.secret()
    for _ in range(10):
        assert (await guessing.secret(hub.secret or "")).status_code == 200


async def test_the_limit_tells_nothing_about_who_there_is(guessing: Guessing) -> None:
    await guessing.stage.register(resources=True)
    await guessing.stage.register(PUBLIC, SPA)
    courses = []
    for number, client_id in enumerate((HUB, SPA, "com.unknown/app")):
        answers = [await guessing.secret(client_id=client_id, at=f"192.0.2.{number}") for _ in range(7)]
        courses.append([(answer.status_code, answer.text) for answer in answers])
    assert courses[0] == courses[1] == courses[2]
    assert [status for status, _ in courses[0]] == [401] * 5 + [429] * 2


async def test_many_names_from_one_address_are_too_many_as_well(guessing: Guessing) -> None:
    hub = await guessing.stage.register(resources=True)
    for number in range(12):
        assert error(await guessing.secret(client_id=f"com.guess/{number}")) == "invalid_client"
    assert too_many(await guessing.secret(client_id="com.guess/another"))
    assert (await guessing.secret(hub.secret or "", at=ELSEWHERE)).status_code == 200


async def test_guessed_codes_are_counted_and_the_owner_elsewhere_is_not_in_the_way(guessing: Guessing) -> None:
    spa = await guessing.stage.register(PUBLIC, SPA, resources=True)
    code = await guessing.stage.code(spa, await guessing.stage.user())
    guess = code[:-10] + "AAAAAAAAAA"
    for _ in range(5):
        assert error(await guessing.code(guess, spa)) == "invalid_grant"
    guessing.asked.clear()
    refused = await guessing.code(guess, spa)
    assert too_many(refused)
    assert refused.headers["access-control-allow-origin"] == "*"
    assert guessing.asked == []
    assert (await guessing.code(code, spa, at=ELSEWHERE)).status_code == 200


async def test_a_code_that_failed_is_not_held_against_the_secret(guessing: Guessing) -> None:
    hub = await guessing.stage.register(resources=True)
    for _ in range(5):
        assert error(await guessing.code("sdc_guess", hub)) == "invalid_grant"
    assert too_many(await guessing.code("sdc_guess", hub))
    assert (await guessing.secret(hub.secret or "")).status_code == 200


async def test_what_a_client_says_about_its_address_counts_nothing(guessing: Guessing) -> None:
    """The proxy adds what it saw at the end."""
    await guessing.stage.register(resources=True)
    answers = [await guessing.secret(at=f"203.0.113.{number}, 192.0.2.7") for number in range(6)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]


async def test_one_customer_with_very_many_ipv6_addresses_is_one(guessing: Guessing) -> None:
    await guessing.stage.register(resources=True)
    answers = [await guessing.secret(at=f"2001:db8:1:2::{number}") for number in range(6)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    assert (await guessing.secret(at="2001:db8:1:3::1")).status_code == 401


def test_the_usual_limits_are_there_without_any_setting(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TLS_CA_FILE", "TLS_CERTIFICATE_FILE", "TLS_KEY_FILE"):
        monkeypatch.setenv(f"STAGEDOOR_{name}", "/unused")
    assert TokenIssuerSettings().attempts == USUAL
    assert len(stage.issuer.attempts) == 0


def test_a_long_name_is_not_remembered_whole() -> None:
    attempts = Attempts(ClientAddresses(LOOPBACK), USUAL)
    sender = Sent("192.0.2.7", [])
    for number in range(50):
        attempts.failed(sender, ("client", f"{'x' * 400}{number}"))
    assert len(attempts) == 2
