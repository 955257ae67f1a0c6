from services.identity.subscriptions import PROJECTION, project_registry
from services.registry.events import ApplicationUninstalled
from shared.handle import pending
from shared.log.event import Recorded
from tests.support.fake_issuer import CLIENT
from tests.support.identity_service import Identity, authorization, sign_in


async def test_it_says_who_asks_for_what(identity: Identity) -> None:
    await identity.register(display_name="Freddie")
    identity.issuer.change(contact="brian@example.com", logo_uri="https://backstagehub.example/logo.png")
    page = await sign_in(identity.browser(), scope="openid profile email offline_access update")
    assert "Allow BackstageHub?" in page.text
    assert "Freddie" in page.text
    assert "brian@example.com" in page.text
    for words in ("know that it is you", "see your name", "e-mail address", "while you are away", "change your tours"):
        assert words in page.text
    assert ("img", "https://backstagehub.example/logo.png") in [(tag, given.get("src")) for tag, given in page.tags]
    assert page.form.buttons == {("decision", "allow"), ("decision", "deny")}


async def test_saying_no(identity: Identity) -> None:
    await identity.register()
    browser = identity.browser()
    page = await browser.submit(await sign_in(browser), decision="deny")
    assert page.answer == {"error": "access_denied", "state": "st4te"}
    assert await identity.facts("ConsentGiven") == []
    assert identity.issuer.issued == []
    assert (await browser.get(authorization())).path == "/id/consent"


async def test_neither_yes_nor_no_is_no_answer(identity: Identity) -> None:
    await identity.register()
    browser = identity.browser()
    page = await browser.submit(await sign_in(browser))
    assert page.status == 400
    assert identity.issuer.issued == []


async def test_it_is_remembered_for_the_application_and_the_scopes(identity: Identity) -> None:
    await identity.register()
    browser = identity.browser()
    await browser.submit(await sign_in(browser), decision="allow")
    assert "code" in (await browser.get(authorization(scope="read"))).answer
    page = await browser.get(authorization(scope="openid read update"))
    assert page.path == "/id/consent"
    await browser.submit(page, decision="allow")
    assert "code" in (await browser.get(authorization(scope="openid read update"))).answer
    given = [one.event.model_dump()["scopes"] for one in await identity.facts("ConsentGiven")]
    assert given == [("openid", "read"), ("update",)]


async def test_it_is_the_users_own(identity: Identity) -> None:
    await identity.register()
    await identity.register("brian", "red-special-1963")
    browser = identity.browser()
    await browser.submit(await sign_in(browser), decision="allow")
    assert (await sign_in(identity.browser(), "brian", "red-special-1963")).path == "/id/consent"


async def test_after_withdrawing_it_is_asked_again(identity: Identity) -> None:
    sub = await identity.register()
    browser = identity.browser()
    await browser.submit(await sign_in(browser), decision="allow")
    await identity.parts.consents.withdraw(sub, CLIENT, identity.context())
    assert (await browser.get(authorization())).path == "/id/consent"


async def test_a_first_party_application_does_not_ask(identity: Identity) -> None:
    await identity.register()
    identity.issuer.change(first_party=True)
    page = await sign_in(identity.browser())
    assert "code" in page.answer
    assert await identity.facts("ConsentGiven") == []
    assert list(identity.issuer.issued[0].consented_scopes) == ["openid", "read"]


async def test_an_application_that_is_gone_takes_its_consents_along(identity: Identity) -> None:
    await identity.register()
    browser = identity.browser()
    await browser.submit(await sign_in(browser), decision="allow")
    waiting = pending(ApplicationUninstalled(client_id=CLIENT), f"application-{CLIENT}", 2, identity.context())
    gone = Recorded(
        event=waiting.event,
        stream=waiting.stream,
        version=2,
        position=1000,
        epoch=1,
        recorded_at=identity.clock.now,
        actor=waiting.actor,
        command_id=waiting.command_id,
        correlation_id=waiting.correlation_id,
    )
    assert await identity.log.apply(PROJECTION, "registry", 0, 1000, list(project_registry(gone)))
    assert (await browser.get(authorization())).path == "/id/consent"
