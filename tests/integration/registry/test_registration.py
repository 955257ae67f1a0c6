"""Dynamic client registration from end to end: RFC 7591 with an initial access token, RFC 7592 with what came of it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from protos.stagedoor.registry.v1 import registration_pb2 as pb
from protos.stagedoor.registry.v1 import registry_pb2
from services.registry import read_model
from services.registry.events import ApplicationDynamicallyRegistered
from services.registry.history import HISTORY
from shared.denials import DenialKind
from shared.errors import Kind, Refusal
from shared.ids import digest
from tests.support.postgres import Database
from tests.support.registering import CALLBACK, REGISTER, Programs, bearer, moment, programs_of
from tests.support.registry import Clock, Running


@pytest.fixture
async def programs(registry: Running, clock: Clock) -> AsyncIterator[Programs]:
    async with programs_of(registry, clock) as running:
        yield running


async def refused(asking: Any) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        await asking
    return refusal.value


async def test_what_a_program_registers_is_answered_and_trusted(programs: Programs) -> None:
    token = await programs.allow(client_id_prefix="com.tour/")
    answer = await programs.register(token, client_name="Tour bus", scope="openid read", contacts=["bus@tour.example"])
    said = answer.json()
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    assert said["client_id"].startswith("com.tour/")
    assert said["client_secret"].startswith("sds_")
    assert said["client_secret_expires_at"] == 0
    assert abs(moment(said["client_id_issued_at"]) - programs.now()) < timedelta(minutes=5)
    assert (said["redirect_uris"], said["client_name"], said["scope"]) == (
        [CALLBACK],
        "Tour bus",
        "openid profile email read",
    )
    request = registry_pb2.GetApplicationRequest(client_id=said["client_id"])
    found = (await programs.registry(request)).application
    assert found.enabled
    assert (found.settings.type, list(found.settings.scopes)) == ("confidential", ["read"])
    assert found.settings.require_pkce
    assert not found.settings.first_party
    assert found.initial_access_token == programs.tokens[token]
    (listed,) = [
        one.client_id
        for one in (await programs.registry(registry_pb2.ListApplicationsRequest())).applications
        if one.initial_access_token
    ]
    assert listed == said["client_id"]


async def test_the_log_says_by_which_token_and_nothing_secret(programs: Programs) -> None:
    token = await programs.allow()
    one = await programs.registered(token)
    recorded = await programs.registry.log.read(0)
    (fact,) = [row.event for row in recorded if isinstance(row.event, ApplicationDynamicallyRegistered)]
    assert (fact.client_id, fact.initial_access_token) == (one.client_id, programs.tokens[token])
    assert fact.registration_token_digest == digest(one.token)
    (actor,) = {row.actor for row in recorded if row.stream == f"application-{one.client_id}"}
    assert actor == f"client:{one.client_id}"
    everything = "".join(row.event.to_json() for row in recorded)
    for secret in (token, one.token, one.said["client_secret"]):
        assert secret not in everything


async def test_its_state_in_the_past_says_who_let_it(programs: Programs) -> None:
    token = await programs.allow()
    one = await programs.registered(token)
    things = {thing.kind: thing for thing in HISTORY.things}
    facts = [row.event for row in await programs.registry.log.read(0) if row.stream == f"application-{one.client_id}"]
    told = things["application"].tell(one.client_id, facts, (), programs.now())
    assert told is not None
    assert (told["initial_access_token"], told["manages_itself"]) == (programs.tokens[token], True)
    stream = things["initial_access_token"].stream(programs.tokens[token])
    facts = [row.event for row in await programs.registry.log.read(0) if row.stream == stream]
    told = things["initial_access_token"].tell(programs.tokens[token], facts, (), programs.now())
    assert told is not None
    assert (told["uses"], told["revoked"], told["expired"]) == (1, False, False)
    assert "digest" not in str(told)


async def test_an_application_reads_changes_and_removes_itself(programs: Programs) -> None:
    one = await programs.registered(client_name="Tour bus", scope="read", contacts=["bus@tour.example"])
    kept = {name: value for name, value in one.said.items() if not name.startswith("client_secret")}
    read = await one.read()
    assert (read.status_code, read.json()) == (200, kept)

    changed = await one.change(
        client_secret=one.said["client_secret"], client_name="Bus", logo_uri="https://tour.example/logo.png"
    )
    assert changed.status_code == 200, changed.text
    said = changed.json()
    assert (said["client_name"], said["logo_uri"]) == ("Bus", "https://tour.example/logo.png")
    assert said["scope"] == "openid profile email", "what is left out has its default again"
    assert "contacts" not in said
    assert (await one.read()).json() == said

    removed = await one.remove()
    assert (removed.status_code, removed.content) == (204, b"")
    assert (await one.read()).status_code == 401
    with pytest.raises(Refusal, match="no such application"):
        await programs.registry(registry_pb2.GetApplicationRequest(client_id=one.client_id))


async def test_what_it_answered_changes_nothing_when_it_is_sent_back(programs: Programs) -> None:
    one = await programs.registered(scope="read", application_type="native", redirect_uris=["http://127.0.0.1/cb"])
    ours = ("registration_access_token", "registration_client_uri", "client_id_issued_at")
    back = {name: value for name, value in one.said.items() if name not in ours}
    before = await programs.registry.events()
    answer = await one.change(**back)
    assert (answer.status_code, answer.json()) == (200, one.said)
    assert await programs.registry.events() == before


@pytest.mark.parametrize(
    ("metadata", "about"),
    [
        ({"client_id": "com.other/app"}, "client_id"),
        ({"client_id": None}, "client_id"),
        ({"client_secret": "chosen"}, "client_secret"),
        ({"client_secret": "ge\u00e4ndert"}, "client_secret"),
        ({"client_secret": 7}, "client_secret"),
        ({"registration_access_token": "x"}, "registration_access_token"),
        ({"registration_client_uri": "x"}, "registration_client_uri"),
        ({"client_secret_expires_at": 0}, "client_secret_expires_at"),
        ({"client_id_issued_at": 0}, "client_id_issued_at"),
    ],
)
async def test_what_a_change_must_not_say(programs: Programs, metadata: dict[str, Any], about: str) -> None:
    one = await programs.registered()
    answer = await one.change(**metadata)
    assert answer.status_code == 400
    assert about in answer.json()["error_description"]
    assert (await one.read()).json()["client_id"] == one.client_id


async def test_a_change_that_narrows_denies_what_was_given(programs: Programs, database: Database) -> None:
    one = await programs.registered(scope="read")
    assert (await one.change()).status_code == 200
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT kind, id, rule FROM log.denials WHERE id = $1", one.client_id)
    assert [(row["kind"], row["rule"]) for row in rows] == [(DenialKind.CLIENT, "cut_off")]


async def test_who_begins_to_need_a_secret_is_given_one(programs: Programs) -> None:
    one = await programs.registered(token_endpoint_auth_method="private_key_jwt", jwks_uri="https://tour.example/keys")
    assert "client_secret" not in one.said
    said = (await one.change()).json()
    assert said["client_secret"].startswith("sds_")
    assert said["client_secret_expires_at"] == 0
    assert "client_secret" not in (await one.change(client_name="Bus")).json()


async def test_a_disabled_application_manages_nothing_until_it_is_enabled(programs: Programs) -> None:
    one = await programs.registered()
    await programs.registry(registry_pb2.DisableApplicationRequest(client_id=one.client_id))
    for answer in (await one.read(), await one.change(), await one.remove()):
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Bearer realm="stagedoor", error="invalid_token"'
    await programs.registry(registry_pb2.EnableApplicationRequest(client_id=one.client_id))
    assert (await one.read()).status_code == 200


async def test_an_administrator_ends_the_registration_access_token_alone(programs: Programs) -> None:
    one = await programs.registered()
    await programs.registry(pb.RevokeRegistrationAccessTokenRequest(client_id=one.client_id))
    assert (await one.read()).status_code == 401
    found = (await programs.registry(registry_pb2.GetApplicationRequest(client_id=one.client_id))).application
    assert found.enabled
    assert len(found.secrets) == 1


async def test_a_token_is_for_so_many_applications_until_it_ends(programs: Programs, clock: Clock) -> None:
    token = await programs.allow(uses=2, days=2)
    for _ in range(2):
        await programs.registered(token)
    assert (await programs.register(token)).status_code == 401
    other = await programs.allow(unlimited=True, days=2)
    for _ in range(3):
        await programs.registered(other)
    clock.ahead = timedelta(days=3)
    assert (await programs.register(other)).status_code == 401
    assert await programs.count() == 5


async def test_a_use_is_not_lost_to_a_request_that_is_refused(programs: Programs) -> None:
    token = await programs.allow()
    assert (await programs.register(token, redirect_uris=["http://tour.example/"])).status_code == 400
    assert (await programs.register(token, scope="update")).status_code == 400
    assert (await programs.register(token)).status_code == 201


async def test_uninstalling_gives_no_use_back(programs: Programs) -> None:
    token = await programs.allow()
    assert (await (await programs.registered(token)).remove()).status_code == 204
    assert (await programs.register(token)).status_code == 401


async def test_many_at_once_have_as_many_applications_as_the_token_has_uses(programs: Programs) -> None:
    token = await programs.allow(uses=7)
    answers = await asyncio.gather(*(programs.register(token) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [201] * 7 + [401] * 13
    assert await programs.count() == 7


async def test_a_revoked_token_registers_nothing_and_takes_nothing_back(programs: Programs) -> None:
    token = await programs.allow(unlimited=True)
    one = await programs.registered(token)
    await programs.revoke(token)
    assert (await programs.register(token)).status_code == 401
    assert (await one.read()).status_code == 200
    await programs.revoke(token)
    unknown = await refused(programs.registry(pb.RevokeInitialAccessTokenRequest(token_id="x" * 22)))
    assert unknown.code == "initial_access_token_not_found"


async def test_nothing_is_registered_on_the_word_of_a_token_that_is_revoked_meanwhile(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request has seen that the token is accepted, and waits; then it is revoked, and the answer is heard."""
    token = await programs.allow(unlimited=True)
    known_scopes, looked = read_model.known_scopes, 0

    async def slow(pool: Any) -> frozenset[str]:
        nonlocal looked
        looked += 1
        if looked == 1:
            await programs.revoke(token)
        return await known_scopes(pool)

    monkeypatch.setattr(read_model, "known_scopes", slow)
    assert (await programs.register(token)).status_code == 401
    assert looked >= 1
    assert await programs.count() == 0


async def test_tokens_are_listed_with_what_came_of_them(programs: Programs) -> None:
    first = await programs.allow(purpose="Build server", uses=3)
    await programs.registered(first)
    second = await programs.allow(unlimited=True)
    listed = (await programs.registry(pb.ListInitialAccessTokensRequest())).tokens
    found = {one.token_id: (one.purpose, one.uses, one.used) for one in listed}
    assert found == {programs.tokens[first]: ("Build server", 3, 1), programs.tokens[second]: ("Tests", 0, 0)}
    pages, start = [], ""
    while True:
        page = await programs.registry(pb.ListInitialAccessTokensRequest(page_size=1, page_token=start))
        pages += [one.token_id for one in page.tokens]
        if not (start := page.next_page_token):
            break
    assert pages == sorted(found)
    await programs.revoke(first)
    assert len((await programs.registry(pb.ListInitialAccessTokensRequest())).tokens) == 1


async def test_an_answer_that_was_lost_is_given_again_for_a_while(programs: Programs, clock: Clock) -> None:
    ends = Timestamp()
    ends.FromDatetime((clock() + timedelta(days=1)).replace(tzinfo=None))
    request, key = pb.IssueInitialAccessTokenRequest(purpose="Tests", expires_at=ends), uuid4()
    issued = await programs.registry(request, key=key)
    assert issued.initial_access_token.startswith("stagedoor_iat_")
    assert await programs.registry(request, key=key) == issued
    other = pb.IssueInitialAccessTokenRequest(purpose="Other", expires_at=ends)
    assert (await refused(programs.registry(other, key=key))).code == "idempotency_key_reused"
    clock.ahead = timedelta(hours=1)
    assert (await programs.registry(request, key=key)).initial_access_token == ""


@pytest.mark.parametrize("role", ["auditor", "nobody", None])
async def test_administrators_alone_let_programs_register(programs: Programs, role: str | None) -> None:
    for request in (
        pb.IssueInitialAccessTokenRequest(purpose="Tests"),
        pb.ListInitialAccessTokensRequest(),
        pb.RevokeInitialAccessTokenRequest(token_id="x" * 22),
        pb.RevokeRegistrationAccessTokenRequest(client_id="com.example/app"),
    ):
        refusal = await refused(programs.registry(request, role=role))
        assert refusal.kind in {Kind.FORBIDDEN, Kind.UNAUTHENTICATED}


@pytest.mark.parametrize(
    "changes", [{"uses": 2, "unlimited": True}, {"grants": ["password"]}, {"scopes": ["read", "read"]}]
)
async def test_what_is_no_token(programs: Programs, changes: dict[str, Any]) -> None:
    assert (await refused(programs.allow(**changes))).code == "invalid_client_metadata"
    none = await refused(programs.registry(pb.IssueInitialAccessTokenRequest(purpose="Without an end")))
    assert none.code == "invalid_time"


async def test_without_a_token_nothing_is_done(programs: Programs) -> None:
    answer = await programs.http.post(REGISTER, json={"redirect_uris": [CALLBACK]})
    assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == 'Bearer realm="stagedoor"'
    assert await programs.count() == 0


async def test_other_methods_and_origins(programs: Programs) -> None:
    for method, path in (("GET", REGISTER), ("PUT", REGISTER), ("POST", f"{REGISTER}/com.example/app")):
        assert (await programs.http.request(method, path)).status_code == 405
    preflight = await programs.http.options(REGISTER, headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in preflight.headers


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b"{}", "text/plain", 415),
        (b"redirect_uris=x", "application/x-www-form-urlencoded", 415),
        (b"", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'{"a":1,"a":2}', "application/json", 400),
        (b"{", "application/json", 400),
        (b'{"a":NaN}', "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[" * 60_000, "application/json", 400),
        (b'{"client_name":"' + b"a" * 70_000 + b'"}', "application/json", 413),
    ],
)
async def test_what_is_no_metadata(programs: Programs, body: bytes, media_type: str, status: int) -> None:
    headers = {**bearer(await programs.allow()), "Content-Type": media_type}
    answer = await programs.http.post(REGISTER, content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert await programs.count() == 0
