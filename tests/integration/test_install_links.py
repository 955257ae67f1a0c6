"""An install link from end to end: the vendor's document, the administrator's browser, the application, its end."""

import time
from collections.abc import AsyncIterator
from urllib.parse import urlencode, urljoin
from uuid import uuid4

import httpx
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from infra.local.process import until
from infra.local.system import System
from protos.stagedoor.identity.v1 import identity_pb2
from protos.stagedoor.registry.v1 import registry_pb2
from tests.support.assertions import ClientKey, asserted
from tests.support.browsing import Page
from tests.support.documents import Vendor, vendor
from tests.support.outside import Outside, Person

SECONDS = 15.0


@pytest.fixture
async def outside(system: System) -> AsyncIterator[Outside]:
    async with Outside(system) as running:
        yield running


@pytest.fixture
async def by() -> AsyncIterator[Vendor]:
    async with vendor() as running:
        yield running


async def submit(browser: httpx.AsyncClient, page: Page, **fields: str) -> Page:
    answer = await browser.post(
        urljoin(page.url, page.form.action), data={**page.form.fields, **fields}, follow_redirects=True
    )
    return Page(answer)


async def opened(outside: Outside, person: Person, path: str, **query: str) -> Page:
    """A page that somebody comes to after signing in."""
    browser = person.browser.browser
    page = Page(await browser.get(f"{outside.issuer}{path}?{urlencode(query)}", follow_redirects=True))
    if page.path.endswith("/signin"):
        page = await submit(browser, page, user_name=person.name, password=person.password)
    return page


async def token(outside: Outside, client_id: str, key: ClientKey) -> httpx.Response:
    """What the application gets for itself, with its key."""
    now = int(time.time())
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": outside.issuer,
        "iat": now,
        "exp": now + 60,
        "jti": str(uuid4()),
    }
    form = asserted(key.sign(claims), grant_type="client_credentials", scope="read")
    return await outside.http.post(f"{outside.issuer}/connect/token", data=form)


async def test_an_application_comes_and_goes_by_links(outside: Outside, by: Vendor) -> None:
    client_id, key = f"example.setlist/{uuid4()}", ClientKey()
    by.describe(
        client_id,
        jwks_uri=None,
        jwks={"keys": [key.jwk]},
        grant_types=["authorization_code", "client_credentials"],
        initiate_login_uri=by.document,
    )
    roger = await outside.register_person("administrator")
    page = await opened(outside, roger, "/install", document=by.document)
    assert "Install Setlist?" in page.text
    assert "see your tours and merchandise" in page.text
    assert (await token(outside, client_id, key)).status_code == 401
    done = await submit(roger.browser.browser, page, decision="install")
    assert "Setlist is installed" in done.text

    known = await outside.manage(
        outside.registry.GetApplication, registry_pb2.GetApplicationRequest(client_id=client_id)
    )
    assert known.application.document == by.document
    answers: list[httpx.Response] = []

    async def given() -> bool:
        answers.append(await token(outside, client_id, key))
        return answers[-1].status_code == 200

    assert await until(given, SECONDS), answers[-1].text
    access_token = answers[-1].json()["access_token"]

    async def accepted() -> bool:
        return await outside.call("/api/tours", access_token) != 401

    assert await until(accepted, SECONDS)

    page = await opened(outside, roger, "/uninstall", client_id=client_id)
    assert "What it does by itself, as a service" in page.text
    ended = await submit(roger.browser.browser, page, decision="uninstall")
    assert "The application is uninstalled." in ended.text

    async def refused() -> bool:
        return await outside.call("/api/tours", access_token) == 401

    assert await until(refused, SECONDS)
    assert (await token(outside, client_id, key)).status_code == 401


async def test_who_is_an_administrator_no_more_installs_nothing(outside: Outside, by: Vendor) -> None:
    client_id = f"example.setlist/{uuid4()}"
    by.describe(client_id)
    roger = await outside.register_person("administrator")
    page = await opened(outside, roger, "/install", document=by.document)
    assert "Install Setlist?" in page.text
    change = identity_pb2.ChangeUserRequest(
        user=identity_pb2.UserKey(sub=roger.sub), roles=["auditor"], mask=FieldMask(paths=["roles"])
    )
    await outside.manage(outside.identity.ChangeUser, change)
    answer = await submit(roger.browser.browser, page, decision="install")
    assert answer.status == 403
    assert "This is for administrators" in answer.text
    listed = await outside.manage(
        outside.registry.ListApplications, registry_pb2.ListApplicationsRequest(page_size=1000)
    )
    assert client_id not in {one.client_id for one in listed.applications}
