"""Signed requests that are not the application's, not for this issuer, not for now, or no requests (RFC 9101, 10)."""

import json
from typing import Any

import jwt
import pytest

from services.token_issuer.authorization.begin import Proceed, Refused
from shared.encoding import base64url
from tests.support.assertions import ClientKey, signing_client
from tests.support.issuing import HUB, ISSUER, Stage, error
from tests.support.request_objects import TYP, asking, begin_signed, request_of

OTHER = "com.mallory/app"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": OTHER},
        {"iss": None},
        {"client_id": OTHER},
        {"client_id": None},
        {"client_id": [HUB]},
        {"aud": "https://mallory.example"},
        {"aud": [ISSUER, "https://mallory.example"]},
        {"aud": f"{ISSUER}/connect/token"},
        {"aud": []},
        {"aud": None},
        {"exp": None},
        {"exp": "soon"},
        {"exp": True},
        {"exp": 1},
        {"exp": 2**34},
        {"nbf": 2**34},
        {"iat": 2**34},
        {"sub": HUB},
        {"request": "e30.e30.e30"},
        {"request_uri": "https://mallory.example/request"},
        {"scope": ["openid", "read"]},
        {"state": {"a": "b"}},
        {"prompt": True},
        {"max_age": 1.5},
        {"resource": [1]},
        {"claims": ["given_name"]},
    ],
    ids=str,
)
async def test_what_it_says_is_not_for_here_and_now(stage: Stage, changes: dict[str, Any]) -> None:
    client = await signing_client(stage)
    outcome = await begin_signed(stage, client, request_of(stage, client, **changes))
    assert isinstance(outcome, Refused), "nobody is sent anywhere because of it"
    assert outcome.error == "invalid_request_object"


@pytest.mark.parametrize("typ", ["at+jwt", "client-authentication+jwt", "dpop+jwt", "logout+jwt"])
async def test_it_is_called_something_else(stage: Stage, typ: str) -> None:
    client = await signing_client(stage)
    outcome = await begin_signed(stage, client, client.key.sign(asking(stage, client), typ=typ))
    assert isinstance(outcome, Refused)


async def test_it_is_signed_by_nobody_or_by_somebody_else(stage: Stage) -> None:
    client = await signing_client(stage)
    good = request_of(stage, client)
    head, body, signature = good.split(".")
    stranger = ClientKey(kid="two")
    claims = asking(stage, client)
    unsigned = jwt.encode(claims, "", "none", headers={"typ": TYP})
    symmetric = jwt.encode(claims, json.dumps(client.key.jwk) + "x" * 32, "HS256", headers={"typ": TYP, "kid": "one"})
    other_state = base64url(json.dumps({**claims, "state": "mallory"}).encode()).decode()
    for request in (
        unsigned,
        symmetric,
        request_of(stage, client, key=stranger),
        stranger.sign(claims, typ=TYP, kid="one"),
        stranger.sign(claims, typ=TYP, kid="one", jwk=stranger.jwk),
        stranger.sign(claims, typ=TYP, kid="one", jku="https://mallory.example/jwks"),
        client.key.sign(claims, typ=TYP, crit=["x"], x=1),
        f"{head}.{other_state}.{signature}",
        f"{head}.{body}.",
        f"{head}.{body}",
        f"{good}=",
        f" {good}",
        "x",
    ):
        outcome = await begin_signed(stage, client, request)
        assert isinstance(outcome, Refused), request
        assert outcome.error == "invalid_request_object"
    assert isinstance(await begin_signed(stage, client, good), Proceed)


async def test_it_is_another_applications(stage: Stage) -> None:
    client = await signing_client(stage)
    mallory = await signing_client(stage, ClientKey(kid="two"), client_id=OTHER, resources=False)
    for request in (request_of(stage, mallory), request_of(stage, mallory, iss=HUB, client_id=HUB)):
        outcome = await begin_signed(stage, client, request)
        assert isinstance(outcome, Refused)
        answer = await stage.http.post("/id/connect/par", data=client.form(request=request))
        assert (answer.status_code, error(answer)) == (400, "invalid_request_object")


async def test_what_stands_beside_it_changes_nothing(stage: Stage) -> None:
    """Somebody in the browser adds and replaces parameters (section 5)."""
    client = await signing_client(stage)
    beside = (
        ("redirect_uri", "https://mallory.example/callback"),
        ("scope", "openid read update offline_access"),
        ("state", "mallory"),
        ("code_challenge", "m" * 43),
        ("prompt", "none"),
        ("response_mode", "fragment"),
        ("resource", "https://mallory.example"),
    )
    outcome = await begin_signed(stage, client, request_of(stage, client), *beside)
    alone = await begin_signed(stage, client, request_of(stage, client))
    assert isinstance(outcome, Proceed)
    assert isinstance(alone, Proceed)
    for name in ("redirect_uri", "scopes", "state", "code_challenge", "prompt", "response_mode", "audiences"):
        assert getattr(outcome.request, name) == getattr(alone.request, name)


async def test_it_stands_there_twice_or_beside_a_reference(stage: Stage) -> None:
    client = await signing_client(stage)
    good = request_of(stage, client)
    for more in (("request", good), ("request", "x"), ("request_uri", "https://mallory.example/request")):
        outcome = await begin_signed(stage, client, good, more)
        assert isinstance(outcome, Refused)
    missing = await begin_signed(stage, client, good, ("client_id", OTHER))
    assert isinstance(missing, Refused)


async def test_neither_is_an_assertion_the_other(stage: Stage) -> None:
    client = await signing_client(stage)
    outcome = await begin_signed(stage, client, client.assertion(client_id=HUB, response_type="code"))
    assert isinstance(outcome, Refused)
    request = request_of(stage, client, jti="one")
    form = {**client.form(), "client_assertion": request, "grant_type": "client_credentials"}
    answer = await stage.http.post("/id/connect/token", data=form)
    assert (answer.status_code, error(answer)) == (401, "invalid_client")
