"""Redirect URIs that are nearly the registered one (RFC 9700 section 4.1)."""

from services.registry.events import ApplicationType, AuthMethod
from services.token_issuer.authorization.begin import Proceed, Refused
from services.token_issuer.authorization.logout import Logout, begin_logout
from tests.support.issuing import PUBLIC, Stage

MALLORY = "com.mallory/app"


NEARLY = [
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
]


async def test_a_redirect_uri_is_compared_to_the_letter(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    for uri in NEARLY:
        outcome = await stage.begin(hub, redirect_uri=uri.format(hub.redirect_uri))
        assert isinstance(outcome, Refused), uri
        assert "mallory" not in outcome.description


async def test_a_redirect_uri_cannot_be_smuggled_in_twice(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    for more in (("redirect_uri", "https://mallory.example"), ("client_id", MALLORY)):
        assert isinstance(await stage.begin(hub, more), Refused)


NATIVE = PUBLIC.model_copy(
    update={
        "type": ApplicationType.NATIVE,
        "auth_method": AuthMethod.NONE,
        "redirect_uris": ("http://127.0.0.1:7777/callback", "com.roadie.native:/callback"),
    }
)


OTHER_PLACES = [
    "http://localhost:7777/callback",
    "http://[::1]:7777/callback",
    "http://127.0.0.2:7777/callback",
    "http://0.0.0.0:7777/callback",
    "http://127.1:7777/callback",
    "http://2130706433:7777/callback",
    "http://0x7f.0.0.1:7777/callback",
    "http://0177.0.0.1:7777/callback",
    "http://[::ffff:127.0.0.1]:7777/callback",
    "http://127.0.0.1.mallory.example:7777/callback",
    "http://127.0.0.1:7777.mallory.example/callback",
    "http://127.0.0.1:7777@mallory.example/callback",
    "http://127.0.0.1@mallory.example:7777/callback",
    "http://x@127.0.0.1:7777/callback",
    "http://127.0.0.1:0/callback",
    "http://127.0.0.1:65536/callback",
    "http://127.0.0.1:07777/callback",
    "http://127.0.0.1:/callback",
    "http://127.0.0.1:7777/callback/",
    "http://127.0.0.1:7777/callback/../other",
    "http://127.0.0.1:7777/callback?x=y",
    "http://127.0.0.1:7777/Callback",
    "http://127.0.0.1:7777//callback",
    "http://127.0.0.1:7777/%63allback",
    "https://127.0.0.1:7777/callback",
    "com.roadie.native://callback",
    "com.roadie.native:/callback2",
    "COM.ROADIE.NATIVE:/callback",
    "com.roadie.native.mallory:/callback",
]


async def test_a_loopback_address_differs_in_its_port_alone(stage: Stage) -> None:
    """RFC 8252 section 7.3, and for native applications only."""
    native = await stage.register(NATIVE, "com.roadie/native", resources=True)
    for uri in OTHER_PLACES:
        assert isinstance(await stage.begin(native, redirect_uri=uri), Refused), uri
    assert isinstance(await stage.begin(native, redirect_uri="http://127.0.0.1:51004/callback"), Proceed)


async def test_the_port_is_not_free_for_other_applications(stage: Stage) -> None:
    settings = PUBLIC.model_copy(update={"redirect_uris": ("http://127.0.0.1:7777/callback",)})
    spa = await stage.register(settings, "com.roadie/spa", resources=True)
    assert isinstance(await stage.begin(spa), Proceed)
    assert isinstance(await stage.begin(spa, redirect_uri="http://127.0.0.1:51004/callback"), Refused)


ELSEWHERE = [
    "{}.mallory.example",
    "{}/",
    "{}?next=https://mallory.example",
    "{}#x",
    "{}/../x",
    "http://localhost:8480@mallory.example/signed-out",
    "http://localhost:8480/callback",
    "//localhost:8480/signed-out",
    "javascript:alert(1)",
]


async def test_nor_is_the_way_after_signing_out_another_one(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    after = "http://localhost:8480/signed-out"
    who = ("client_id", hub.client_id)
    for uri in ELSEWHERE:
        asked = [who, ("post_logout_redirect_uri", uri.format(after))]
        assert isinstance(await begin_logout(stage.issuer, asked), Refused), uri
    allowed = await begin_logout(stage.issuer, [who, ("post_logout_redirect_uri", after)])
    assert isinstance(allowed, Logout)
    assert allowed.redirect == after
    twice = [("post_logout_redirect_uri", after)] * 2
    assert isinstance(await begin_logout(stage.issuer, [who, *twice]), Refused)
    assert isinstance(await begin_logout(stage.issuer, twice[:1]), Refused)
