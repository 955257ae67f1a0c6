"""Parameters and credentials that are said twice, or in a way that another reader reads otherwise."""

import json

import pytest

from tests.support.issuing import HUB, SPA, Stage, error

TOKEN, INTROSPECT, REVOKE = "/id/connect/token", "/id/connect/introspect", "/id/connect/revocation"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize(
    "name", ["grant_type", "code", "client_id", "redirect_uri", "code_verifier", "scope", "unknown"]
)
async def test_nothing_is_said_twice(stage: Stage, name: str) -> None:
    hub = await stage.register(resources=True)
    pairs = f"grant_type=client_credentials&{name}=read&{name}=read"
    answer = await stage.http.post(TOKEN, content=pairs, headers={**hub.headers(), **FORM})
    assert error(answer) == "invalid_request"


async def test_a_client_proves_itself_in_one_way(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    form = {"grant_type": "client_credentials", "client_id": HUB, "client_secret": hub.secret or ""}
    assert error(await stage.http.post(TOKEN, data=form)) == "invalid_client"
    assert error(await stage.http.post(TOKEN, data=form, headers=hub.headers())) == "invalid_request"
    header = hub.headers()["Authorization"]
    twice = await stage.http.post(
        TOKEN, data={"grant_type": "client_credentials"}, headers=[("Authorization", header), ("Authorization", header)]
    )
    assert error(twice) == "invalid_request"
    named = {"grant_type": "client_credentials", "client_id": SPA}
    assert error(await stage.http.post(TOKEN, data=named, headers=hub.headers())) == "invalid_request"


async def test_other_bodies_are_not_read(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    form = {"grant_type": "client_credentials"}
    for content, kind in (
        (json.dumps(form), "application/json"),
        ("grant_type=client_credentials", "text/plain"),
        ("grant_type=client_credentials", "application/x-www-form-urlencoded; charset=utf-16"),
        ("grant_type=client_credentials%ff", FORM["Content-Type"]),
        ("grant_type=client_credentials%zz", FORM["Content-Type"]),
        ("grant_type=client_credentials\xe9", FORM["Content-Type"]),
    ):
        answer = await stage.http.post(TOKEN, content=content, headers={**hub.headers(), "Content-Type": kind})
        assert (answer.status_code, error(answer)) == (400, "invalid_request"), kind
    answer = await stage.http.post(TOKEN, files={"grant_type": (None, "client_credentials")}, headers=hub.headers())
    assert error(answer) == "invalid_request"
