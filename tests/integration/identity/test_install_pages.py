"""The pages of install and uninstall links: what they show, and where they lead."""

from urllib.parse import parse_qs, quote, urlsplit

import pytest

from protos.stagedoor.tokens.v1 import tokens_pb2 as pb
from services.identity.events import Role, UserKind
from shared.errors import Kind, Refusal
from tests.support.browsing import Browser
from tests.support.fake_installation import DOCUMENT, SETLIST, described
from tests.support.identity_service import PASSWORD, Identity, authorization, sign_in

INSTALL = f"/id/install?document={quote(DOCUMENT, safe='')}"
UNINSTALL = f"/id/uninstall?client_id={quote(SETLIST, safe='')}"


@pytest.fixture
async def brian(identity: Identity) -> Browser:
    """An administrator who has signed in a moment ago."""
    await identity.register("brian", PASSWORD, UserKind.INTERNAL, Role.ADMINISTRATOR)
    browser = identity.browser()
    page = await browser.get("/id/signin")
    await browser.submit(page, user_name="brian", password=PASSWORD)
    return browser


async def test_what_the_link_brings_is_shown_and_installed(identity: Identity, brian: Browser) -> None:
    page = await brian.get(INSTALL)
    assert page.status == 200
    for said in (
        "Install Setlist?",
        "what setlist.example says of it",
        "may ask people to let it see your tours",
        "proves with a key of its own",
        SETLIST,
        DOCUMENT,
        "https://setlist.example/callback",
        "https://setlist.example/keys",
        "help@setlist.example",
    ):
        assert said in page.text, said
    assert "acts by itself" not in page.text
    assert "You are at 127.0.0.1:8400" in page.text
    assert not [given for tag, given in page.tags if tag == "img"]
    assert identity.issuer.installation.installed == []

    done = await brian.submit(page, decision="install")
    assert identity.issuer.installation.installed == [SETLIST]
    assert done.path == "/id/install/done"
    assert "Setlist is installed" in done.text
    (onward,) = [link for link in done.links if link.startswith("https://")]
    assert onward.startswith("https://setlist.example/begin?")
    assert parse_qs(urlsplit(onward).query) == {"iss": [identity.settings.issuer], "client_id": [SETLIST]}
    # Each call had a token of its own, got in this session.
    tokens = identity.issuer.installation.tokens
    assert tokens == [f"Bearer token-of-code-{number}" for number in (1, 2)]
    (sid,) = {issued.sid for issued in identity.issuer.issued}
    begun = dict(identity.issuer.begun[0])
    assert (begun["client_id"], begun["scope"], begun["max_age"]) == ("com.stagedoor/install", "sec", "600")
    assert sid


async def test_a_service_says_that_it_acts_by_itself(identity: Identity, brian: Browser) -> None:
    documents = identity.issuer.installation.documents
    documents[DOCUMENT] = described(grants=["authorization_code", "client_credentials"])
    assert "It acts by itself, too" in (await brian.get(INSTALL)).text
    documents[DOCUMENT] = described(grants=["client_credentials"], redirect_uris=[])
    page = await brian.get(INSTALL)
    assert "It acts by itself:" in page.text
    assert "will be able to see your tours" in page.text
    documents[DOCUMENT] = described(scopes=[], type="native", jwks_uri="")
    page = await brian.get(INSTALL)
    assert "It reaches no API" in page.text
    assert "on people's own devices" in page.text


async def test_whoever_leaves_it_has_installed_nothing(identity: Identity, brian: Browser) -> None:
    page = await brian.submit(await brian.get(INSTALL), decision="leave")
    assert "Nothing was installed." in page.text
    page = await brian.submit(await brian.get(UNINSTALL), decision="leave")
    assert "Nothing was uninstalled." in page.text
    assert (identity.issuer.installation.installed, identity.issuer.installation.uninstalled) == ([], [])


async def test_signing_in_leads_back_to_the_link(identity: Identity, brian: Browser) -> None:
    for link, heading in ((INSTALL, "Install Setlist"), (UNINSTALL, "Uninstall Setlist")):
        browser = identity.browser()
        page = await browser.get(link)
        assert page.path == "/id/signin"
        page = await browser.submit(page, user_name="brian", password="wrong-1963")
        assert page.status == 422
        page = await browser.submit(page, user_name="brian", password=PASSWORD)
        assert heading in page.text


async def test_what_ends_is_shown_and_ended(identity: Identity, brian: Browser) -> None:
    page = await brian.get(UNINSTALL)
    assert "at this moment that is nothing" in page.text
    assert f"nothing can be called {SETLIST} again" in page.text
    assert DOCUMENT in page.text
    identity.issuer.change(client_id=SETLIST)
    identity.issuer.applications[SETLIST] = identity.issuer.applications["com.backstagehub/app"]
    await identity.register("freddie")
    freddie = identity.browser()
    await freddie.submit_once(await sign_in(freddie, client_id=SETLIST), decision="allow")
    page = await brian.get(UNINSTALL)
    assert "What one person has allowed it" in page.text
    own = pb.ConnectedApplication(client_id="com.stagedoor/install", display_name="The page", enabled=True, acting=True)
    identity.issuer.own.acting = [own]
    page = await brian.submit(page, decision="uninstall")
    assert "The application is uninstalled." in page.text
    assert "The page" not in page.text, "it is a page of this site, not an application that somebody let in"
    assert identity.issuer.installation.uninstalled == [SETLIST]


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (Refusal(Kind.ALREADY_EXISTS, "name_taken", "the client_id is taken, and names are never reused"), "is taken"),
        (Refusal(Kind.INVALID, "invalid_client_metadata", "client_name: it is odd"), "client_name: it is odd"),
        (Refusal(Kind.PRECONDITION, "document_unreachable", "it could not be fetched"), "it could not be fetched"),
    ],
)
async def test_what_cannot_be_installed_says_why(
    identity: Identity, brian: Browser, refusal: Refusal, said: str
) -> None:
    identity.issuer.installation.refusal = refusal
    page = await brian.get(INSTALL)
    assert page.status in (400, 409)
    assert said in page.text
    assert "Nothing was changed." in page.text


async def test_a_link_without_anything_says_so(brian: Browser) -> None:
    for address in (
        "/id/install",
        "/id/install?document=",
        "/id/uninstall",
        f"/id/install?document=https://{'x' * 2100}",
    ):
        page = await brian.get(address)
        assert page.status == 400, address


async def test_without_the_issuer_nothing_is_shown_and_nothing_lost(identity: Identity, brian: Browser) -> None:
    await identity.issuer.stop()
    page = await brian.get(INSTALL)
    assert page.status == 503
    assert page.headers["retry-after"]


async def test_a_plain_sign_in_is_as_before(identity: Identity, brian: Browser) -> None:
    page = await identity.browser().get(authorization())
    assert "decided by whoever sits here" not in page.text
