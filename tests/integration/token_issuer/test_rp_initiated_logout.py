"""RP-initiated logout on a real log: who is meant, and where the browser may go afterwards."""

from datetime import timedelta
from urllib.parse import urlsplit

import jwt
import pytest

from services.registry.events import ApplicationType
from services.token_issuer.authorization.begin import Refused
from services.token_issuer.authorization.logout import Logout, begin_logout
from services.token_issuer.signing import generate
from shared.ids import new_command_id, new_id
from shared.log.append import Context
from tests.support.issuing import CALLBACK, HUB, PUBLIC, SPA, Stage, query


async def test_logging_out_with_a_hint(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    sub = await stage.user()
    hint = (await stage.tokens(hub, sub))["id_token"]
    after = "http://localhost:8480/signed-out"
    outcome = await begin_logout(
        stage.issuer, [("id_token_hint", hint), ("post_logout_redirect_uri", after), ("state", "a b")]
    )
    assert isinstance(outcome, Logout)
    assert (outcome.client_id, outcome.sub, outcome.display_name) == (HUB, sub, "BackstageHub")
    assert outcome.sid == jwt.decode(hint, options={"verify_signature": False})["sid"]
    assert urlsplit(outcome.redirect).path == "/signed-out"
    assert query(outcome.redirect) == {"state": "a b"}


async def test_logging_out_without_anything(stage: Stage) -> None:
    assert await begin_logout(stage.issuer, []) == Logout()


@pytest.mark.parametrize(
    "pairs",
    [
        [("client_id", HUB), ("post_logout_redirect_uri", "https://mallory.example")],
        [("client_id", HUB), ("post_logout_redirect_uri", CALLBACK)],
        [("client_id", "com.mallory/app")],
        [("post_logout_redirect_uri", "http://localhost:8480/signed-out")],
        [("id_token_hint", "a.b.c")],
        [("client_id", HUB), ("client_id", HUB)],
        [("state", "x" * 5000)],
    ],
)
async def test_logouts_that_lead_nowhere(stage: Stage, pairs: list[tuple[str, str]]) -> None:
    await stage.register(resources=True)
    outcome = await begin_logout(stage.issuer, pairs)
    assert isinstance(outcome, Refused)
    assert "mallory" not in outcome.description


@pytest.mark.parametrize(
    ("uri", "allowed"),
    [
        ("http://127.0.0.1:50123/signed-out", True),
        ("http://127.0.0.1/signed-out", True),
        ("http://127.0.0.1:50123/signed-out?x", False),
        ("http://localhost:50123/signed-out", False),
        ("http://127.0.0.1:50123/callback", False),
    ],
)
async def test_a_native_application_comes_back_at_any_port(stage: Stage, uri: str, allowed: bool) -> None:
    """RFC 8252 section 7.3."""
    native = PUBLIC.model_copy(
        update={
            "type": ApplicationType.NATIVE,
            "redirect_uris": ("http://127.0.0.1/callback",),
            "post_logout_redirect_uris": ("http://127.0.0.1/signed-out",),
        }
    )
    await stage.register(native, "com.bus/app")
    outcome = await begin_logout(stage.issuer, [("client_id", "com.bus/app"), ("post_logout_redirect_uri", uri)])
    assert isinstance(outcome, Logout) is allowed


async def test_hints_that_say_who_or_how_change_nothing(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    hint = (await stage.tokens(hub, await stage.user()))["id_token"]
    without = await begin_logout(stage.issuer, [("id_token_hint", hint)])
    more = [("logout_hint", "fan"), ("ui_locales", "bg en"), ("unheard_of", "x")]
    assert await begin_logout(stage.issuer, [("id_token_hint", hint), *more]) == without
    assert await begin_logout(stage.issuer, [("logout_hint", "fan")]) == Logout()


async def test_an_old_hint_will_do(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It only says who is meant. If the key that signed it was stolen it does not even say that."""
    monkeypatch.setattr("services.token_issuer.key_changes.generate", generate)
    hub = await stage.register(resources=True)
    hint = (await stage.tokens(hub, await stage.user()))["id_token"]
    stage.clock.ahead = timedelta(days=400)
    outcome = await begin_logout(stage.issuer, [("id_token_hint", hint)])
    assert isinstance(outcome, Logout)
    assert outcome.client_id == hub.client_id
    kid = jwt.get_unverified_header(hint)["kid"]
    await stage.issuer.keys.compromise(kid, Context("user:brian", new_id(), new_command_id()))
    assert isinstance(await begin_logout(stage.issuer, [("id_token_hint", hint)]), Refused)


async def test_a_hint_of_another_application(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    await stage.register(PUBLIC, SPA)
    hint = (await stage.tokens(hub, await stage.user()))["id_token"]
    assert isinstance(await begin_logout(stage.issuer, [("id_token_hint", hint), ("client_id", SPA)]), Refused)
