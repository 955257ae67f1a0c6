"""Installing by a link at the registry as it runs: a vendor's document is read, approved, and registered as it was."""

from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any
from uuid import uuid4

import pytest

from protos.stagedoor.registry.v1 import installation_pb2 as pb
from protos.stagedoor.registry.v1 import registry_pb2
from services.registry.events import ApplicationInstalled
from services.registry.history import HISTORY
from shared.clock import system_clock
from shared.errors import Refusal
from tests.support.documents import Vendor, vendor
from tests.support.registry import ORIGIN, Running

DEMO = True
SETLIST = "example.setlist/app"
PAGES = "administrator.signed-in-before.30"


@pytest.fixture
async def by() -> AsyncIterator[Vendor]:
    async with vendor() as running:
        yield running


@pytest.fixture
async def scopes(registry: Running) -> None:
    """An API with the scopes read and update."""
    owned = [registry_pb2.Scope(name=name, description=f"{name} your tours") for name in ("read", "update")]
    settings = registry_pb2.ResourceSettings(display_name="Tours", scopes=owned)
    await registry(registry_pb2.RegisterResourceRequest(identifier=f"{ORIGIN}/api", settings=settings))


pytestmark = pytest.mark.usefixtures("scopes")


async def refused(asking: Any) -> str:
    with pytest.raises(Refusal) as refusal:
        await asking
    return refusal.value.code


async def read(registry: Running, by: Vendor, **how: Any) -> pb.ReadDocumentResponse:
    answer: pb.ReadDocumentResponse = await registry(pb.ReadDocumentRequest(document=by.document), **how)
    return answer


async def install(registry: Running, by: Vendor, digest: str, **how: Any) -> pb.InstallResponse:
    answer: pb.InstallResponse = await registry(pb.InstallRequest(document=by.document, digest=digest), **how)
    return answer


async def test_what_was_read_is_what_is_registered(registry: Running, by: Vendor) -> None:
    by.describe(
        scope="openid update read",
        grant_types=["authorization_code", "refresh_token"],
        contacts=["help@setlist.example"],
        initiate_login_uri=by.document,
    )
    shown = await read(registry, by)
    assert (shown.client_id, shown.host, shown.initiate_login_uri) == (SETLIST, "127.0.0.1", by.document)
    assert [(scope.name, scope.description) for scope in shown.scopes] == [
        ("update", "update your tours"),
        ("read", "read your tours"),
    ]
    assert shown.digest == sha256(by.web.body).hexdigest()
    assert "registry.ApplicationInstalled" not in await registry.events()

    installed = await install(registry, by, shown.digest)
    found = installed.application
    assert found.settings == shown.settings
    assert not found.secrets
    assert (found.document, found.document_digest) == (by.document, shown.digest)
    assert not found.settings.first_party
    assert (found.settings.reference_tokens, found.settings.service_account) == ("none", "")
    recorded = await registry.log.read(0)
    ((fact, actor),) = [(row.event, row.actor) for row in recorded if isinstance(row.event, ApplicationInstalled)]
    assert (fact.document, fact.document_digest, actor) == (by.document, shown.digest, "user:brian")
    facts = [row.event for row in recorded if row.stream == f"application-{SETLIST}"]
    thing = next(thing for thing in HISTORY.things if thing.kind == "application")
    told = thing.tell(SETLIST, facts, (), system_clock())
    assert told is not None
    assert (told["document"], told["document_digest"]) == (by.document, shown.digest)
    listed = (await registry(registry_pb2.ListApplicationsRequest())).applications
    assert [one.client_id for one in listed if one.document] == [SETLIST]


async def test_a_document_that_was_changed_meanwhile_is_not_installed(registry: Running, by: Vendor) -> None:
    shown = await read(registry, by)
    by.describe(scope="openid read update")
    assert await refused(install(registry, by, shown.digest)) == "document_changed"
    by.describe()
    by.web.body += b" "
    assert await refused(install(registry, by, shown.digest)) == "document_changed"
    for wrong in ("", "\u00e4", shown.digest.upper(), shown.digest[:-1]):
        assert await refused(install(registry, by, wrong)) == "document_changed"
    assert "registry.ApplicationInstalled" not in await registry.events()
    by.describe()
    await install(registry, by, shown.digest)


async def test_a_form_that_is_sent_twice_installs_once(registry: Running, by: Vendor) -> None:
    shown, once = await read(registry, by), uuid4()
    first = await install(registry, by, shown.digest, key=once)
    again = await install(registry, by, shown.digest, key=once)
    assert (first.position, first.application.client_id) == (again.position, again.application.client_id)
    assert (await registry.events()).count("registry.ApplicationInstalled") == 1
    assert await refused(install(registry, by, shown.digest, key=uuid4())) == "name_taken"
    assert await refused(read(registry, by)) == "name_taken"


async def test_what_was_uninstalled_does_not_come_back_by_its_link(registry: Running, by: Vendor) -> None:
    shown, once = await read(registry, by), uuid4()
    await install(registry, by, shown.digest, key=once)
    found = await registry(pb.ReadInstalledRequest(client_id=SETLIST), stub=registry.pages, role=PAGES)
    assert (found.application.document, [scope.name for scope in found.scopes]) == (by.document, ["read"])
    await registry(pb.UninstallRequest(client_id=SETLIST), stub=registry.pages, role=PAGES)
    assert await refused(read(registry, by)) == "name_taken"
    for key in (once, uuid4()):
        assert await refused(install(registry, by, shown.digest, key=key)) in ("name_taken", "application_not_found")
    gone = pb.ReadInstalledRequest(client_id=SETLIST)
    assert await refused(registry(gone, stub=registry.pages, role=PAGES)) == "application_not_found"
    assert (await registry.events()).count("registry.ApplicationInstalled") == 1


async def test_the_pages_act_with_tokens_of_their_own_of_somebody_who_is_there(registry: Running, by: Vendor) -> None:
    pages: dict[str, Any] = {"stub": registry.pages}
    shown = await read(registry, by, role=PAGES, **pages)
    for role, code in (
        ("administrator", "token_not_of_the_pages"),
        ("administrator.signed-in-before.700", "sign_in_too_old"),
        ("auditor.signed-in-before.1", "role_missing"),
        ("nobody.signed-in-before.1", "role_missing"),
        ("stolen", "bad_signature"),
        (None, "missing_token"),
    ):
        for asking in (
            read(registry, by, role=role, **pages),
            install(registry, by, shown.digest, role=role, **pages),
            registry(pb.ReadInstalledRequest(client_id="com.stagedoor/cli"), role=role, **pages),
            registry(pb.UninstallRequest(client_id=SETLIST), role=role, **pages),
        ):
            assert await refused(asking) == code, role
    assert "registry.ApplicationInstalled" not in await registry.events()
    own = pb.UninstallRequest(client_id="com.stagedoor/install")
    assert await refused(registry(own, role=PAGES, **pages)) == "system_application"
    await install(registry, by, shown.digest, role=PAGES, **pages)
