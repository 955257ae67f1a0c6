"""Redirect URIs that are nearly the registered one (RFC 9700 section 4.1)."""

import pytest

from services.token_issuer.authorization.begin import Refused
from tests.support.issuing import Stage

MALLORY = "com.mallory/app"


@pytest.mark.parametrize(
    "uri",
    [
        "{}.mallory.example",
        "{}/../../mallory",
        "{}/..%2f..%2fmallory",
        "{}%00",
        "{}?next=https://mallory.example",
        "{}#mallory",
        "{}/%2e%2e",
        "{};x",
        "{}%20",
        "{}@mallory.example",
        "https://mallory.example/?{}",
        "http://mallory.example#{}",
        "http://localhost:8480@mallory.example/callback",
        "http://localhost:8480\\@mallory.example/callback",
        "http://localhost:8480:443/callback",
        "http://LOCALHOST:8480/callback",
        "HTTP://localhost:8480/callback",
        "http://localhost:8480//callback",
        "http://localhost:8480/Callback",
        "http://localhost:8480/%63allback",
        "http://localhost:08480/callback",
        "http://127.0.0.1:8480/callback",
        "http://[::1]:8480/callback",
        "http://localhost:8480/callback\t",
        "http://localhost:8480/callback\r\nSet-Cookie: a=b",
        "javascript:alert(1)//http://localhost:8480/callback",
        "data:text/html,x",
        "//localhost:8480/callback",
        "/callback",
        "*",
    ],
)
async def test_a_redirect_uri_is_compared_to_the_letter(stage: Stage, uri: str) -> None:
    hub = await stage.register(resources=True)
    outcome = await stage.begin(hub, redirect_uri=uri.format(hub.redirect_uri))
    assert isinstance(outcome, Refused)
    assert "mallory" not in outcome.description


async def test_a_redirect_uri_cannot_be_smuggled_in_twice(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    for more in (("redirect_uri", "https://mallory.example"), ("client_id", MALLORY)):
        assert isinstance(await stage.begin(hub, more), Refused)
