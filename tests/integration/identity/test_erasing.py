"""A person is erased: what there was of them is gone, what there is denied, and nothing of it comes back."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from infra import migrate
from infra.local.postgres import SUPERUSER
from infra.local.process import until
from protos.stagedoor.identity.v1 import identity_pb2 as pb
from services.identity.events import (
    ProfileChanged,
    Role,
    SessionStarted,
    UserErased,
    UserKind,
    UserRegistered,
)
from services.identity.projections import PROJECTIONS
from shared.errors import Kind, Refusal, Unavailable
from shared.keys import MasterKey
from shared.log.append import LogUnavailable
from shared.rebuild.rebuilding import rebuild
from tests.integration.identity.management import Operator, operating
from tests.integration.identity.test_races import between
from tests.support.fake_issuer import CLIENT
from tests.support.identity_service import PASSWORD, Identity, authorization, sign_in
from tests.support.parties import Parties
from tests.support.postgres import Database, passwords
from tests.support.read_models import differences
from tests.support.second_factor import set_up

MASTER = MasterKey(b"k" * 32)
"""Of the service under test."""
TRACES = ("mercury", "farrokh", "garden lodge", "@example.com", "queenbrowser", b"$argon2".hex())
"""What is to be found nowhere; the user name among it."""
MERCURY = pb.RegisterUserRequest(
    user_name="mercury",
    password=PASSWORD,
    profile=pb.Profile(given_name="Farrokh", email="f@example.com", street_address="Garden Lodge"),
)


@pytest.fixture
async def brian(identity: Identity) -> str:
    return await identity.register("brian", None, UserKind.INTERNAL, Role.ADMINISTRATOR)


@pytest.fixture
async def operator(identity: Identity, parties: Parties, brian: str) -> AsyncIterator[Operator]:
    async with operating(identity, parties) as operator:
        operator.tokens.roles[brian] = frozenset({"administrator"})
        operator.person = brian
        yield operator


async def live(identity: Identity, operator: Operator) -> str:
    """Somebody with a profile, another one, a session, a consent, a second factor, failures; answers the `sub`."""
    sub: str = (await operator("RegisterUser", MERCURY)).sub
    key = pb.UserKey(sub=sub)
    mask = FieldMask(paths=["profile.family_name"])
    await operator("ChangeUser", pb.ChangeUserRequest(user=key, profile=pb.Profile(family_name="Mercury"), mask=mask))
    browser = identity.browser()
    browser.client.headers["user-agent"] = "QueenBrowser/1"
    await browser.submit(await sign_in(browser, "mercury"), decision="allow")
    await sign_in(identity.browser("198.51.100.9"), "mercury", "not-the-password")
    telephone = await set_up(identity, browser)
    page = await sign_in(browser, "mercury", prompt="login")
    page = await browser.submit(page, code=telephone.wrong())
    await browser.submit(page, code=telephone.recovery_codes[0])
    return sub


async def everything(database: Database) -> str:
    """All rows of the service's tables, and all that the log has, as text."""
    async with database.connection() as connection:
        tables = await connection.fetch(
            "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables"
            " WHERE schemaname IN ('identity', 'log')"
        )
        rows = [
            row[0]
            for table in tables
            for row in await connection.fetch(f"SELECT t::text FROM {table['name']} t")  # noqa: S608  (a catalogue's)
        ]
    return "\n".join(rows).lower()


async def rows_of(identity: Identity, sub: str) -> list[str]:
    """The tables of the service that have a row of this user."""
    names = await identity.log.pool.fetch(
        "SELECT table_name::text AS name FROM information_schema.columns"
        " WHERE table_schema = 'identity' AND column_name = 'sub' ORDER BY 1"
    )
    return [
        row["name"]
        for row in names
        if await identity.log.pool.fetchval(f"SELECT count(*) FROM {row['name']} WHERE sub = $1", sub)  # noqa: S608
    ]


async def test_nothing_personal_is_left_anywhere(identity: Identity, operator: Operator) -> None:
    sub = await live(identity, operator)
    before = await everything(identity.database)
    assert all(trace in before for trace in TRACES)
    assert await rows_of(identity, sub) == ["consents", "personal_keys", "sessions", "users", "vault"]
    failures = await identity.log.pool.fetchval("SELECT count(*) FROM sign_in_failures WHERE account <> ''")
    assert failures

    await operator("EraseUser", pb.EraseUserRequest(sub=sub))
    after = await everything(identity.database)
    assert [trace for trace in TRACES if trace in after] == []
    assert await rows_of(identity, sub) == ["erased_users"]
    assert await identity.log.pool.fetchval("SELECT count(*) FROM session_activity") == 0
    assert await identity.log.pool.fetchval("SELECT count(*) FROM sign_in_failures WHERE account <> ''") == 0
    for fact in await identity.facts():
        match fact.event:
            case UserRegistered() if fact.event.sub == sub:
                assert fact.event.user_name.reveal() is None
            case ProfileChanged(profile=profile):
                assert profile.family_name is not None
                assert profile.family_name.reveal() is None
            case SessionStarted(user_agent=user_agent, address=address):
                assert user_agent is not None
                assert address is not None
                assert (user_agent.reveal(), address.reveal()) == (None, None)


async def test_whoever_asks_is_told_that_they_were_erased(identity: Identity, operator: Operator) -> None:
    sub = await live(identity, operator)
    await operator("EraseUser", pb.EraseUserRequest(sub=sub))
    by_sub, by_name = pb.UserKey(sub=sub), pb.UserKey(user_name="mercury")
    for method, request in (
        ("GetUser", pb.GetUserRequest),
        ("EnableUser", pb.EnableUserRequest),
        ("DisableUser", pb.DisableUserRequest),
        ("ResetPassword", pb.ResetPasswordRequest),
        ("ListSessions", pb.ListSessionsRequest),
        ("WithdrawConsent", pb.WithdrawConsentRequest),
    ):
        refusal = await operator.refused(method, request(user=by_sub))
        assert (refusal.kind, refusal.code) == (Kind.NOT_FOUND, "user_erased"), method
        assert (await operator.refused(method, request(user=by_name))).code == "unknown_user", method
    listed = (await operator("ListUsers", pb.ListUsersRequest())).users
    assert [user.user_name for user in listed] == ["brian"]
    refusal = await operator.refused("RegisterUser", pb.RegisterUserRequest(user_name="Mercury "))
    assert (refusal.kind, refusal.code) == (Kind.ALREADY_EXISTS, "name_taken")
    bearer = {"authorization": f"Bearer {identity.token(sub)}"}
    assert (await identity.browser().send("GET", "/id/connect/userinfo", headers=bearer)).status == 401


async def test_their_session_is_over(identity: Identity, operator: Operator) -> None:
    await operator("RegisterUser", MERCURY)
    browser = identity.browser()
    await sign_in(browser, "mercury")
    session = await identity.parts.sessions.current(browser.cookies()["stagedoor_session"], CLIENT)
    assert session is not None
    await operator("EraseUser", pb.EraseUserRequest(sub=session.user.sub))
    assert await identity.parts.sessions.current(browser.cookies()["stagedoor_session"], CLIENT) is None
    assert "password" in (await browser.get(authorization())).form.fields
    with pytest.raises(Unavailable):
        await identity.parts.consents.give(session, CLIENT, ("read",), identity.context())
    with pytest.raises(Refusal, match="erased"):
        await identity.parts.accounts.reset_password(session.user, "another-password", identity.context())
    assert "vault" not in await rows_of(identity, session.user.sub)


async def test_somebody_who_is_erased_while_they_sign_in_is_not_let_in(
    identity: Identity, operator: Operator, brian: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sub = (await operator("RegisterUser", MERCURY)).sub
    between(monkeypatch, lambda: identity.parts.erasure.erase(sub, identity.context(), by=brian))
    assert (await sign_in(identity.browser(), "mercury")).status == 422
    assert await identity.facts("SessionStarted") == []


async def test_to_erase_again_changes_nothing(identity: Identity, operator: Operator) -> None:
    sub, key = await live(identity, operator), str(uuid4())
    first = await operator("EraseUser", pb.EraseUserRequest(sub=sub), key=key)
    for again in (key, "", str(uuid4())):
        assert (await operator("EraseUser", pb.EraseUserRequest(sub=sub), key=again)).position == first.position
    assert len(await identity.facts("UserErased")) == 1


async def test_who_may_erase_whom(identity: Identity, operator: Operator, brian: str) -> None:
    freddie = await identity.register("freddie", None, UserKind.INTERNAL, Role.ADMINISTRATOR)
    erase = pb.EraseUserRequest(sub=freddie)
    assert (await operator.refused("EraseUser", erase, person="auditor")).kind is Kind.FORBIDDEN
    assert (await operator.refused("EraseUser", erase, person="")).kind is Kind.UNAUTHENTICATED
    # A token says administrator, and nobody of that name is one any more.
    assert (await operator.refused("EraseUser", erase, person="brian-sub")).code == "role_missing"
    assert (await operator.refused("EraseUser", pb.EraseUserRequest(sub=brian))).code == "own_account"
    for nobody in ("", "freddie", "x" * 22, "x" * 5000):
        refusal = await operator.refused("EraseUser", pb.EraseUserRequest(sub=nobody))
        assert (refusal.kind, refusal.code) == (Kind.NOT_FOUND, "unknown_user")
    assert await identity.facts("UserErased") == []


async def test_of_two_who_erase_each_other_one_stays(
    identity: Identity, brian: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both were looked at while both were administrators; the one that comes later is fenced, and looks again."""
    freddie = await identity.register("freddie", None, UserKind.INTERNAL, Role.ADMINISTRATOR)
    erasure = identity.parts.erasure
    what_goes = erasure._what_goes
    done: list[str] = []

    async def and_meanwhile(sub: str) -> list[object]:
        found = await what_goes(sub)
        if sub == brian and not done:
            done.append(sub)
            await erasure.erase(freddie, identity.context(), by=brian)
        return found  # type: ignore[return-value]  # it is handed through

    monkeypatch.setattr(erasure, "_what_goes", and_meanwhile)
    with pytest.raises(Refusal) as refused:
        await erasure.erase(brian, identity.context(), by=freddie)
    assert refused.value.code == "role_missing"
    (fact,) = await identity.facts("UserErased")
    assert isinstance(fact.event, UserErased)
    assert fact.event.sub == freddie
    assert await identity.parts.questions.user(brian) is not None


async def test_a_rebuild_brings_nobody_back(identity: Identity, operator: Operator) -> None:
    await operator("EraseUser", pb.EraseUserRequest(sub=await live(identity, operator)))
    for projection in PROJECTIONS:
        assert [told.live async for told in rebuild(identity.log, projection)][-1]
    after = await everything(identity.database)
    assert [trace for trace in TRACES if trace in after] == []
    own = [one for one in PROJECTIONS if one.name == "own"]
    assert own
    found = await differences(identity.database, ["identity"], identity_key=MASTER)
    # Facts of earlier tests stay in the log of this database; theirs are the only rows that may differ.
    since = {fact.event.data_subject() for fact in await identity.facts()}
    assert [one for one in found if one.key.get("sub") in since] == []


async def test_a_key_that_a_back_up_brings_back_is_not_used_and_is_destroyed_again(
    identity: Identity, operator: Operator
) -> None:
    sub, other = await live(identity, operator), await identity.register("roger", given_name="Roger")
    pool, keys = identity.log.pool, "SELECT sub, wrapped FROM personal_keys"
    secrets = await pool.fetch("SELECT sub, kind, value FROM vault WHERE sub = $1", sub)
    before = {row["sub"]: row["wrapped"] for row in await pool.fetch(keys)}
    await operator("EraseUser", pb.EraseUserRequest(sub=sub))

    await pool.execute("INSERT INTO personal_keys VALUES ($1, $2)", sub, before[sub])
    await pool.execute("INSERT INTO vault VALUES ($1, $2, $3)", *secrets[0])
    registered = (await identity.log.load(f"user-{sub}")).events[0].event
    assert isinstance(registered, UserRegistered)
    assert registered.user_name.reveal() is None
    assert (await operator.refused("GetUser", pb.GetUserRequest(user=pb.UserKey(sub=sub)))).code == "user_erased"
    assert (await sign_in(identity.browser(), "mercury")).status == 422

    await identity.parts.erasure.destroy_again()
    del before[sub]
    assert {row["sub"]: row["wrapped"] for row in await pool.fetch(keys)} == before
    assert await rows_of(identity, sub) == ["erased_users"]
    assert "personal_keys" in await rows_of(identity, other)
    assert await identity.parts.questions.destroy_again() == 0


async def test_it_is_looked_for_such_keys_again_and_again(
    identity: Identity, brian: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever happens meanwhile: one failure is no reason to stop."""
    monkeypatch.setattr("services.identity.erasure._AGAIN_SECONDS", 0.01)
    sub, questions = await identity.register("mercury"), identity.parts.questions
    await identity.parts.erasure.erase(sub, identity.context(), by=brian)
    again, failures = questions.destroy_again, [LogUnavailable(), asyncpg.UndefinedTableError("swapped")]

    async def failing_at_first() -> int:
        if failures:
            raise failures.pop()
        return await again()

    monkeypatch.setattr(questions, "destroy_again", failing_at_first)
    await identity.log.pool.execute("INSERT INTO vault VALUES ($1, 'password', 'old')", sub)

    async def gone() -> bool:
        return await rows_of(identity, sub) == ["erased_users"]

    looking = asyncio.create_task(identity.parts.erasure.destroy_repeatedly())
    try:
        assert await until(gone, 10)
        assert not failures
        assert not looking.done()
    finally:
        looking.cancel()


async def test_keys_of_before_are_moved_by_the_migration(identity: Identity) -> None:
    sub = await identity.register("mercury", given_name="Farrokh")
    pool = identity.log.pool
    await pool.execute(
        "WITH taken AS (DELETE FROM personal_keys WHERE sub = $1 RETURNING sub, wrapped)"
        " INSERT INTO vault (sub, kind, value) SELECT sub, 'personal_key', wrapped FROM taken",
        sub,
    )
    database = identity.database
    async with database.connection() as superuser:
        await superuser.execute("DELETE FROM log.steps")  # those of before were taken without being written down
    await migrate.migrate(database.dsn(SUPERUSER), database.server.password, passwords(migrate.tenants()))
    assert await rows_of(identity, sub) == ["personal_keys", "users", "vault"]
    assert await pool.fetchval("SELECT count(*) FROM vault WHERE kind = 'personal_key'") == 0
    registered = (await identity.log.load(f"user-{sub}")).events[0].event
    assert isinstance(registered, UserRegistered)
    assert registered.user_name.reveal() == "mercury"
