"""Fixation, theft and planting of session cookies."""

from contextlib import AsyncExitStack
from pathlib import Path

from services.identity.events import SessionStarted
from shared.ids import new_secret
from tests.support.browsing import Browser
from tests.support.identity_service import PASSWORD, Identity, authorization, sign_in, start
from tests.support.postgres import Database


def crumbs(headers: list[str]) -> dict[str, set[str]]:
    """Attributes by cookie."""
    return {header.partition("=")[0]: {attribute.lower() for attribute in header.split("; ")[1:]} for header in headers}


async def cookies_of_a_sign_in(identity: Identity) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    browser = identity.browser()
    page = await browser.send("GET", f"{identity.settings.issuer}/signin")
    before = crumbs(page.headers.get_list("set-cookie"))
    answer = await browser.submit_once(page, user_name="freddie", password=PASSWORD, action="sign_in")
    assert answer.status == 303
    return before, crumbs(answer.headers.get_list("set-cookie"))


async def test_attributes_over_http(identity: Identity) -> None:
    await identity.register()
    before, after = await cookies_of_a_sign_in(identity)
    usual = {"httponly", "path=/id", "samesite=lax"}
    assert before == {"stagedoor_form": usual}
    assert after["stagedoor_session"] == usual
    assert after["stagedoor_device"] == usual | {"max-age=31536000"}
    assert "max-age=0" in after["stagedoor_form"]
    assert set(after) == {"stagedoor_session", "stagedoor_device", "stagedoor_form"}


async def test_attributes_over_https(database: Database, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        identity = await start(stack, database, tmp_path, {"issuer": "https://login.example.com/id"})
        await identity.register()
        before, after = await cookies_of_a_sign_in(identity)
        usual = {"httponly", "path=/", "samesite=lax", "secure"}
        assert before == {"__Host-stagedoor_form": usual}
        assert after["__Host-stagedoor_session"] == usual
        assert set(after) == {"__Host-stagedoor_session", "__Host-stagedoor_device", "__Host-stagedoor_form"}
        assert all("secure" in attributes and "path=/" in attributes for attributes in after.values())


async def test_a_planted_session_cookie_is_replaced(identity: Identity) -> None:
    await identity.register()
    planted = new_secret()
    browser = identity.browser()
    browser.client.cookies.set("stagedoor_session", planted, domain="127.0.0.1", path="/id")
    await sign_in(browser)
    assert browser.cookies()["stagedoor_session"] != planted
    thief = identity.browser()
    thief.client.cookies.set("stagedoor_session", planted, domain="127.0.0.1", path="/id")
    assert (await thief.get("/id/account")).path == "/id/signin"


async def test_the_attackers_own_session_does_not_become_the_victims(identity: Identity) -> None:
    await identity.register()
    await identity.register("attacker", "attacker-password")
    attacker = identity.browser()
    await sign_in(attacker, "attacker", "attacker-password")
    planted = attacker.cookies()["stagedoor_session"]
    victim = identity.browser()
    victim.client.cookies.set("stagedoor_session", planted, domain="127.0.0.1", path="/id")
    page = await victim.get(authorization(prompt="login"))
    await victim.submit(page, user_name="freddie", password=PASSWORD, action="sign_in")
    assert "attacker" in (await attacker.get("/id/account")).text
    assert "freddie" in (await victim.get("/id/account")).text


async def test_each_sign_in_makes_the_cookie_before_worthless(identity: Identity) -> None:
    await identity.register()
    browser = identity.browser()
    await sign_in(browser)
    stolen = browser.cookies()["stagedoor_session"]
    page = await browser.get(authorization(prompt="login"))
    await browser.submit(page, user_name="freddie", password=PASSWORD, action="sign_in")
    assert browser.cookies()["stagedoor_session"] != stolen
    thief = identity.browser()
    thief.client.cookies.set("stagedoor_session", stolen, domain="127.0.0.1", path="/id")
    assert (await thief.get("/id/account")).path == "/id/signin"


async def test_the_ids_that_are_told_open_nothing(identity: Identity) -> None:
    await identity.register()
    browser = identity.browser()
    await browser.submit(await sign_in(browser), decision="allow")
    (fact,) = await identity.facts("SessionStarted")
    assert isinstance(fact.event, SessionStarted)
    for value in (fact.event.sid, fact.event.secret_digest, fact.event.sub):
        thief = identity.browser()
        thief.client.cookies.set("stagedoor_session", value, domain="127.0.0.1", path="/id")
        assert (await thief.get("/id/account")).path == "/id/signin"


async def test_of_two_different_session_cookies_neither_counts(identity: Identity) -> None:
    await identity.register()
    browser = identity.browser()
    await sign_in(browser)
    pair = [f"stagedoor_session={browser.cookies()['stagedoor_session']}", f"stagedoor_session={new_secret()}"]
    bare = Browser(identity.app, identity.settings.issuer)
    for cookies in (pair, pair[::-1]):
        page = await bare.send("GET", "/id/account", headers={"cookie": "; ".join(cookies)})
        assert page.status == 303


async def test_nonsense_is_nobody(identity: Identity) -> None:
    bare = Browser(identity.app, identity.settings.issuer)
    for value in ("", "x", "é", "a" * 4000, "' OR 1=1 --", "%00"):
        page = await bare.send("GET", "/id/account", headers={"cookie": f"stagedoor_session={value}".encode()})
        assert page.status == 303, value
