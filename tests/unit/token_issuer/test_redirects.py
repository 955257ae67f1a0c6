"""Where a browser may be sent: exactly where was registered."""

import pytest

from services.registry.events import ApplicationType
from services.token_issuer.authorization.redirects import origin, registered, with_parameters
from tests.unit.token_issuer.world import CALLBACK, application, public, settings

WEB = application(settings(redirect_uris=(CALLBACK, "https://app.example/cb?tenant=1")))
NATIVE = application(
    public(
        type=ApplicationType.NATIVE,
        redirect_uris=("http://127.0.0.1/callback", "http://[::1]:7000/cb?x=1", "com.example.app:/cb", CALLBACK),
    )
)


def test_the_same_text() -> None:
    assert registered(WEB, CALLBACK)
    assert registered(WEB, "https://app.example/cb?tenant=1")


@pytest.mark.parametrize(
    "uri",
    [
        CALLBACK + "/",
        CALLBACK + "?x=1",
        CALLBACK + "#",
        CALLBACK + "/../callback",
        CALLBACK + "%2F",
        CALLBACK.replace("callback", "Callback"),
        CALLBACK.replace("callback", "%63allback"),
        CALLBACK.replace("localhost", "LOCALHOST"),
        CALLBACK.replace("localhost", "localhost."),
        CALLBACK.replace("localhost", "user@localhost"),
        CALLBACK.replace("localhost:8480", "localhost:8481"),
        CALLBACK.replace("localhost:8480", "localhost"),
        CALLBACK.replace("localhost:8480", "localhost:8480@mallory.example"),
        CALLBACK.replace("localhost", "localhost.mallory.example"),
        CALLBACK.replace("http:", "https:"),
        CALLBACK.replace("http:", "HTTP:"),
        CALLBACK + "\n",
        " " + CALLBACK,
        CALLBACK + "\\..\\x",
        "//localhost:8480/callback",
        "https://app.example/cb",
        "https://app.example/cb?tenant=1&tenant=2",
        "https://app.example/cb?tenant=2",
        "javascript:alert(1)",
        "",
    ],
)
def test_nothing_but_the_same_text(uri: str) -> None:
    assert not registered(WEB, uri)


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1/callback",
        "http://127.0.0.1:1/callback",
        "http://127.0.0.1:65535/callback",
        "http://[::1]:51004/cb?x=1",
        "http://[::1]/cb?x=1",
        "com.example.app:/cb",
        CALLBACK,
    ],
)
def test_a_native_application_listens_on_any_port_of_its_loopback_address(uri: str) -> None:
    assert registered(NATIVE, uri)


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:0/callback",
        "http://127.0.0.1:08080/callback",
        "http://127.0.0.1:65536/callback",
        "http://127.0.0.1:99999/callback",
        "http://127.0.0.1:/callback",
        "http://127.0.0.1:80 /callback",
        "http://127.0.0.1:80@mallory.example/callback",
        "http://127.0.0.1:1/callback?x=1",
        "http://127.0.0.1:1/callback/",
        "http://127.0.0.1:1",
        "http://127.0.0.1.mallory.example:1/callback",
        "http://127.0.0.2:1/callback",
        "http://127.1:1/callback",
        "http://[::1]:1/callback",
        "https://127.0.0.1:1/callback",
        "http://localhost:1/callback",
        "http://localhost:8481/callback",
        "com.example.app:/cb/",
        "com.example.app:1/cb",
    ],
)
def test_and_differs_in_nothing_else(uri: str) -> None:
    assert not registered(NATIVE, uri)


def test_a_web_application_has_the_port_that_it_registered() -> None:
    web = application(settings(redirect_uris=("http://127.0.0.1/callback",)))
    assert not registered(web, "http://127.0.0.1:8080/callback")


def test_parameters_are_added_to_those_that_are_there() -> None:
    added = {"code": "a&b=c", "state": None, "iss": "http://x/id"}
    assert (
        with_parameters("https://a.example/cb", added) == "https://a.example/cb?code=a%26b%3Dc&iss=http%3A%2F%2Fx%2Fid"
    )
    assert with_parameters("https://a.example/cb?t=1", {"code": "c"}) == "https://a.example/cb?t=1&code=c"
    assert with_parameters("https://a.example/cb", {"state": None}) == "https://a.example/cb"
    assert "\n" not in with_parameters("https://a.example/cb", {"state": "x\r\nSet-Cookie: a=b"})


def test_the_origin_that_a_form_may_lead_to() -> None:
    assert origin(CALLBACK) == "http://localhost:8480"
    assert origin("com.example.app:/cb") == "com.example.app:"
