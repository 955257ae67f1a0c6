"""The registry's calls, from end to end."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from protos.stagedoor.registry.v1 import registry_pb2 as pb
from protos.stagedoor.registry.v1.registry_pb2_grpc import RegistryStub
from services.registry.events import SecretAdded
from services.registry.system import CLI, INSTALLER
from shared.denials import DenialKind, DenialRule
from shared.errors import Kind, Refusal, Unavailable
from shared.ids import digest
from shared.rpc.client import channel
from tests.support.parties import Parties
from tests.support.postgres import Database
from tests.support.registry import Clock, Running

HUB = "com.backstagehub/app"
API = "http://127.0.0.1:8400/api"


def settings(**changes: Any) -> pb.ApplicationSettings:
    """A confidential application without API scopes."""
    values: dict[str, Any] = {
        "display_name": "BackstageHub",
        "type": "confidential",
        "redirect_uris": ["http://localhost:8480/callback"],
        "grants": ["authorization_code", "refresh_token"],
        **changes,
    }
    return pb.ApplicationSettings(**values)


def register(client_id: str = HUB, **changes: Any) -> pb.RegisterApplicationRequest:
    return pb.RegisterApplicationRequest(client_id=client_id, settings=settings(**changes))


def api(identifier: str = API, *scopes: str) -> pb.RegisterResourceRequest:
    owned = [pb.Scope(name=name, description=f"use {name}") for name in scopes or ("read", "update")]
    return pb.RegisterResourceRequest(
        identifier=identifier, settings=pb.ResourceSettings(display_name="Tours", scopes=owned)
    )


async def refused(asking: Any) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        await asking
    return refusal.value


async def test_what_is_registered_is_found(registry: Running) -> None:
    registered = await registry(register())
    assert registered.client_secret.startswith("sds_")
    got = await registry(pb.GetApplicationRequest(client_id=HUB, minimum_position=registered.position))
    assert got.application == registered.application
    assert got.application.position == registered.position
    assert got.application.enabled
    assert len(got.application.secrets) == 1
    assert got.application.settings.auth_method == "client_secret_basic"
    assert got.application.settings.require_pkce
    listed = await registry(pb.ListApplicationsRequest())
    assert [one.client_id for one in listed.applications] == [HUB, CLI, INSTALLER]


async def test_a_secret_is_nowhere_in_the_database(registry: Running, database: Database) -> None:
    secret = (await registry(register())).client_secret
    (added,) = [one.event for one in await registry.log.read(0) if isinstance(one.event, SecretAdded)]
    assert added.secret_digest == digest(secret)
    async with database.connection() as connection:
        tables = await connection.fetch(
            "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables"
            " WHERE schemaname IN ('log', 'registry')"
        )
        texts = [
            str(await connection.fetchval(f"SELECT string_agg(t::text, ' ') FROM {table['name']} t"))  # noqa: S608
            for table in tables
        ]
    assert digest(secret) in " ".join(texts)
    assert secret.removeprefix("sds_") not in " ".join(texts)


async def test_a_lost_answer_can_be_asked_for_again(registry: Running) -> None:
    key = uuid4()
    first = await registry(register(), key=key)
    events = await registry.events()
    assert await registry(register(), key=key) == first
    assert await registry.events() == events
    add = pb.AddSecretRequest(client_id=HUB)
    added = await registry(add, key=(another := uuid4()))
    assert added.client_secret != first.client_secret
    assert await registry(add, key=another) == added
    assert len(await registry.events()) == len(events) + 1


async def test_but_not_for_ever(registry: Running, clock: Clock) -> None:
    key = uuid4()
    first = await registry(register(), key=key)
    clock.ahead = timedelta(minutes=11)
    again = await registry(register(), key=key)
    assert (again.position, again.client_secret) == (first.position, "")


async def test_a_clock_that_is_wrong_does_not_hide_a_new_secret(registry: Running, clock: Clock) -> None:
    clock.ahead = timedelta(hours=1)
    assert (await registry(register())).client_secret


async def test_an_idempotency_key_stands_for_one_request(registry: Running) -> None:
    key = uuid4()
    await registry(register(), key=key)
    for other in (
        register(display_name="Other"),
        pb.DisableApplicationRequest(client_id=HUB),
        pb.AddSecretRequest(client_id=HUB),
    ):
        assert (await refused(registry(other, key=key))).code == "idempotency_key_reused"
    assert (await registry(pb.GetApplicationRequest(client_id=HUB))).application.enabled


async def test_every_write_can_be_repeated(registry: Running) -> None:
    await registry(register())
    second = (await registry(pb.AddSecretRequest(client_id=HUB))).secret_id
    third = (await registry(pb.AddSecretRequest(client_id=HUB))).secret_id
    mask = FieldMask(paths=["display_name"])
    writes = [
        pb.ChangeApplicationRequest(client_id=HUB, settings=settings(display_name="Hub"), mask=mask),
        pb.DisableApplicationRequest(client_id=HUB, reason="leaked"),
        pb.EnableApplicationRequest(client_id=HUB),
        pb.RevokeSecretRequest(client_id=HUB, secret_id=second),
        pb.ReportSecretCompromisedRequest(client_id=HUB, secret_id=third),
        api(),
        pb.ChangeResourceRequest(
            identifier=API,
            settings=pb.ResourceSettings(admits_community_users=True),
            mask=FieldMask(paths=["admits_community_users"]),
        ),
        pb.RemoveResourceRequest(identifier=API),
        pb.UninstallApplicationRequest(client_id=HUB),
    ]
    for write in writes:
        key = uuid4()
        done = await registry(write, key=key)
        events = await registry.events()
        assert done.position == len(events), write
        if not isinstance(write, pb.ChangeResourceRequest | pb.RegisterResourceRequest):
            assert (await registry(write, key=key)).position == done.position
        assert await registry.events() == events


async def test_asking_for_what_already_is_writes_nothing(registry: Running) -> None:
    await registry(register())
    disabled = await registry(pb.DisableApplicationRequest(client_id=HUB))
    events = await registry.events()
    assert (await registry(pb.DisableApplicationRequest(client_id=HUB))).position == disabled.position
    assert await registry.events() == events


async def test_the_kill_switch_is_a_denial_at_the_same_position(registry: Running, database: Database) -> None:
    await registry(register())
    disabled = await registry(pb.DisableApplicationRequest(client_id=HUB, reason="leaked"))
    async with database.connection() as connection:
        denied = await connection.fetch("SELECT position, kind, rule FROM log.denials WHERE id = $1", HUB)
    assert [tuple(row) for row in denied] == [(disabled.position, DenialKind.CLIENT, DenialRule.STANDING)]
    assert not (await registry(pb.GetApplicationRequest(client_id=HUB))).application.enabled


async def test_a_name_is_never_used_again(registry: Running) -> None:
    await registry(register())
    await registry(pb.UninstallApplicationRequest(client_id=HUB))
    assert (await refused(registry(pb.GetApplicationRequest(client_id=HUB)))).kind is Kind.NOT_FOUND
    assert (await refused(registry(register()))).code == "name_taken"


async def test_many_registrations_of_one_name_make_one_application(registry: Running) -> None:
    answers = await asyncio.gather(*(registry(register()) for _ in range(10)), return_exceptions=True)
    made = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert len(made) == 1
    assert {answer.code for answer in answers if isinstance(answer, Refusal)} == {"name_taken"}
    assert (await registry.events()).count("registry.ApplicationRegistered") == 3  # the two of the system, and this one


async def test_scopes_have_to_belong_to_a_resource(registry: Running) -> None:
    asking = register(scopes=["read"])
    assert (await refused(registry(asking))).code == "invalid_scope"
    await registry(api())
    assert (await registry(asking)).application.settings.scopes == ["read"]


async def test_a_scope_that_many_resources_claim_at_once_belongs_to_one(registry: Running) -> None:
    asking = (registry(api(f"urn:example:{number}", "read")) for number in range(3))
    answers = await asyncio.gather(*asking, return_exceptions=True)
    made = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert len(made) == 1
    assert {answer.code for answer in answers if isinstance(answer, Refusal)} == {"scope_taken"}
    resources = (await registry(pb.ListResourcesRequest())).resources
    assert sum(scope.name == "read" for one in resources for scope in one.settings.scopes) == 1


async def test_changes_of_different_settings_at_once_are_all_kept(registry: Running) -> None:
    await registry(register())

    def change(path: str, **values: Any) -> pb.ChangeApplicationRequest:
        return pb.ChangeApplicationRequest(
            client_id=HUB, settings=pb.ApplicationSettings(**values), mask=FieldMask(paths=[path])
        )

    await asyncio.gather(
        registry(change("display_name", display_name="Hub")),
        registry(change("contact", contact="hub@example.com")),
        registry(change("first_party", first_party=True)),
    )
    found = (await registry(pb.GetApplicationRequest(client_id=HUB))).application.settings
    assert (found.display_name, found.contact, found.first_party) == ("Hub", "hub@example.com", True)


async def test_pages(registry: Running) -> None:
    names = sorted(f"com.example/app-{number:02d}" for number in range(12))
    for name in names:
        await registry(register(name))
    found: list[str] = []
    sizes: list[int] = []
    request = pb.ListApplicationsRequest(page_size=5)
    while True:
        page = await registry(request)
        found += [one.client_id for one in page.applications]
        sizes.append(len(page.applications))
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert found == sorted([*names, CLI, INSTALLER])
    assert sizes == [5, 5, 4]
    assert (await refused(registry(pb.ListApplicationsRequest(page_token="?")))).code == "invalid_page"


async def test_a_position_that_the_log_has_not_reached(registry: Running) -> None:
    refusal = await refused(registry(pb.ListApplicationsRequest(minimum_position=10_000)))
    assert isinstance(refusal, Unavailable)
    assert refusal.code == "position_not_reached"


@pytest.mark.parametrize(
    "client_id", ["", "x", "com.example/\x00", "com.example/app'; --", "com.example/" + "a" * 1000]
)
@pytest.mark.parametrize(
    "request_of",
    [
        lambda client_id: pb.GetApplicationRequest(client_id=client_id),
        lambda client_id: pb.DisableApplicationRequest(client_id=client_id),
        register,
    ],
)
async def test_names_that_are_none(registry: Running, request_of: Callable[[str], Any], client_id: str) -> None:
    assert (await refused(registry(request_of(client_id)))).code == "invalid_client_metadata"


@pytest.mark.parametrize("identifier", ["", "x", "urn:a\x00b", "urn:example:unknown"])
async def test_resources_that_are_none(registry: Running, identifier: str) -> None:
    assert (await refused(registry(pb.GetResourceRequest(identifier=identifier)))).code == "resource_not_found"
    assert (await refused(registry(pb.RemoveResourceRequest(identifier=identifier)))).code == "resource_not_found"


async def test_resources(registry: Running) -> None:
    registered = await registry(api())
    assert (await registry(pb.GetResourceRequest(identifier=API))).resource == registered.resource
    changed = await registry(
        pb.ChangeResourceRequest(
            identifier=API, settings=pb.ResourceSettings(callers=["operator"]), mask=FieldMask(paths=["callers"])
        )
    )
    assert list(changed.resource.settings.callers) == ["operator"]
    assert [scope.name for scope in changed.resource.settings.scopes] == ["read", "update"]
    listed = (await registry(pb.ListResourcesRequest())).resources
    assert [one.identifier for one in listed] == [API, "http://127.0.0.1:8400/management"]
    await registry(pb.RemoveResourceRequest(identifier=API))
    assert len((await registry(pb.ListResourcesRequest())).resources) == 1


@pytest.mark.parametrize(
    ("role", "kind"), [(None, Kind.UNAUTHENTICATED), ("forged", Kind.UNAUTHENTICATED), ("auditor", Kind.FORBIDDEN)]
)
async def test_an_administrator_is_needed(registry: Running, role: str | None, kind: Kind) -> None:
    events = await registry.events()
    for request in (register(), pb.ListApplicationsRequest(), pb.DisableApplicationRequest(client_id=CLI)):
        assert (await refused(registry(request, role=role))).kind is kind
    assert await registry.events() == events


async def test_an_operator_is_needed(registry: Running, parties: Parties) -> None:
    for party in (parties.service("identity"), parties.resource("stagehands")):
        async with channel(f"127.0.0.1:{registry.server.port}", party, "registry") as opened:
            refusal = await refused(registry(register(), stub=RegistryStub(opened)))
        assert refusal.kind is Kind.FORBIDDEN


async def test_who_did_it_is_in_the_log(registry: Running) -> None:
    key = UUID(int=7)
    await registry(register(), key=key)
    last = (await registry.log.read(0))[-1]
    assert (last.actor, last.command_id) == ("user:brian", key)
    assert {one.actor for one in (await registry.log.read(0))[:2]} == {"service:registry"}
