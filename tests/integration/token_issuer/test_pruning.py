"""The issuer lets go of what no request can need, and of nothing else: whatever was refused before stays refused."""

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY

from services.identity import events as identity
from services.registry import events as registry
from services.token_issuer import pruning
from services.token_issuer.events import ReferenceEndReason
from services.token_issuer.pruning import prune, prune_repeatedly
from services.token_issuer.references.issuing import revoke
from shared.log.connections import Connections
from stagedoor import Allowed
from tests.support.issuing import HUB, SPA, Client, Stage, error
from tests.support.log_lines import LogLines
from tests.support.log_lines import log_lines as log_lines  # noqa: PLC0414  (a fixture)
from tests.support.postgres import Database
from tests.support.references import context, judge, make, open_hub
from tests.support.work import Work, eventually

OFFLINE = "openid offline_access read"


@pytest.fixture
async def hub(stage: Stage) -> Client:
    return await stage.register(resources=True)


@pytest.fixture
def pool(stage: Stage) -> Connections:
    return stage.issuer.log.pool


async def age(pool: Connections, days: float) -> None:
    """As if everything had been so many days earlier."""
    await pool.execute(
        "UPDATE token_issuer.grants SET code_expires_at = code_expires_at - $1::interval,"
        " tokens_end_at = tokens_end_at - $1::interval, refresh_expires_at = refresh_expires_at - $1::interval",
        timedelta(days=days),
    )
    for table in ("sessions", "reference_tokens"):
        await pool.execute(
            f"UPDATE token_issuer.{table} SET expires_at = expires_at - $1::interval",  # noqa: S608  (constants)
            timedelta(days=days),
        )


async def rows(pool: Connections, table: str) -> int:
    found: int = await pool.fetchval(f"SELECT count(*) FROM token_issuer.{table}")  # noqa: S608  (a constant)
    return found


async def denials(pool: Connections) -> set[str]:
    return {row["kind"] for row in await pool.fetch("SELECT kind FROM token_issuer.denials")}


async def test_a_grant_goes_a_week_after_its_last_refresh_token(stage: Stage, hub: Client, pool: Connections) -> None:
    body = await stage.tokens(hub, await stage.user(), scope=OFFLINE)
    for days in (20, 16.9):
        await age(pool, days)
        assert await prune(pool) <= 1, "the session"
        assert await rows(pool, "grants") == 1
    await age(pool, 0.2)
    await prune(pool)
    assert await rows(pool, "grants") == 0
    answer = await stage.refresh(hub, body["refresh_token"])
    assert error(answer) == "invalid_grant"


async def test_a_grant_without_refreshing_goes_a_week_after_its_access_token(
    stage: Stage, hub: Client, pool: Connections
) -> None:
    await stage.tokens(hub, await stage.user(), scope="read")
    await age(pool, 7)
    await prune(pool)
    assert await rows(pool, "grants") == 1
    await age(pool, 0.1)
    await prune(pool)
    assert await rows(pool, "grants") == 0


async def test_a_code_that_nobody_used_goes_although_it_could_have_been_refreshed(
    stage: Stage, hub: Client, pool: Connections
) -> None:
    code = await stage.code(hub, await stage.user(), scope=OFFLINE)
    await age(pool, 7.1)
    await prune(pool)
    assert await rows(pool, "grants") == 0
    assert error(await stage.redeem(hub, code)) == "invalid_grant"


async def test_an_ended_grant_goes_a_week_after_its_last_access_token(
    stage: Stage, hub: Client, pool: Connections
) -> None:
    body = await stage.tokens(hub, await stage.user(), scope=OFFLINE)
    assert (await stage.revoke(hub, body["refresh_token"])).status_code == 200
    await age(pool, 7)
    await prune(pool)
    assert await rows(pool, "grants") == 1
    await age(pool, 0.1)
    await prune(pool)
    assert await rows(pool, "grants") == 0
    assert not isinstance(await stage.validate(body["access_token"]), Allowed), "its denial is the log's"


async def test_what_is_alive_stays_alive(stage: Stage, hub: Client, pool: Connections) -> None:
    body = await stage.tokens(hub, await stage.user(), scope=OFFLINE)
    await age(pool, 29)
    await prune(pool)
    answer = await stage.refresh(hub, body["refresh_token"])
    assert answer.status_code == 200


async def test_sessions_go_a_week_after_their_end(stage: Stage, hub: Client, pool: Connections) -> None:
    person, _ = await stage.sign_in(await stage.user())
    await stage.follow()
    expires = await pool.fetchval("SELECT expires_at FROM token_issuer.sessions WHERE sid = $1", person.sid)
    ended_in = (expires - datetime.now(UTC)).total_seconds() / 86400
    await age(pool, ended_in + 6.9)
    await prune(pool)
    assert await rows(pool, "sessions") == 1
    await age(pool, 0.2)
    await prune(pool)
    assert await rows(pool, "sessions") == 0


async def test_a_reference_token_goes_a_week_after_its_end_with_its_owner_s_name_for_it(stage: Stage) -> None:
    await open_hub(stage)
    freddie, pool = await stage.user(), stage.issuer.log.pool
    made, other = await make(stage, freddie), await make(stage, freddie, expires_at=stage.clock() + timedelta(days=60))
    await age(pool, 30 + 6.9)
    await prune(pool)
    assert (await rows(pool, "reference_tokens"), await rows(pool, "reference_notes")) == (2, 2)
    await age(pool, 0.2)
    await prune(pool)
    assert [row["jti"] for row in await pool.fetch("SELECT jti FROM token_issuer.reference_tokens")] == [
        other.event.jti
    ]
    assert [row["jti"] for row in await pool.fetch("SELECT jti FROM token_issuer.reference_notes")] == [other.event.jti]
    assert not (await judge(stage, made.token)).allowed
    assert (await judge(stage, other.token)).allowed
    stage.clock.ahead = timedelta(days=37.1)
    assert await revoke(stage.issuer, made.event.jti, ReferenceEndReason.BY_OWNER, freddie, context()) == 0


async def test_a_revoked_reference_token_goes_as_well(stage: Stage) -> None:
    await open_hub(stage)
    freddie, pool = await stage.user(), stage.issuer.log.pool
    made = await make(stage, freddie)
    await revoke(stage.issuer, made.event.jti, ReferenceEndReason.BY_OWNER, freddie, context())
    await age(pool, 37.1)
    await prune(pool)
    assert await rows(pool, "reference_tokens") == 0


async def test_a_token_whose_note_somebody_writes_is_left_for_the_next_time(stage: Stage, database: Database) -> None:
    await open_hub(stage)
    pool = stage.issuer.log.pool
    await make(stage, await stage.user())
    await age(pool, 40)
    async with database.connection("token_issuer") as writing, writing.transaction():
        await writing.execute("SELECT FROM token_issuer.reference_notes FOR UPDATE")
        await prune(pool)
        assert (await rows(pool, "reference_tokens"), await rows(pool, "reference_notes")) == (1, 1)
    await prune(pool)
    assert (await rows(pool, "reference_tokens"), await rows(pool, "reference_notes")) == (0, 0)


async def sign_out(stage: Stage, sub: str, sid: str) -> None:
    ended = identity.SessionEnded(
        sub=sub,
        sid=sid,
        reason=identity.SessionEndReason.SIGNED_OUT,
        tokens_end_at=datetime.now(UTC) + timedelta(days=1),
    )
    await stage.write(stage.identity, f"session-{sid}", ended)
    await stage.follow()


async def test_the_end_of_a_session_is_remembered_as_long_as_a_grant_of_it(
    stage: Stage, hub: Client, pool: Connections
) -> None:
    """A grant outlives the session by weeks; signed out is signed out all that time."""
    sub = await stage.user()
    body = await stage.tokens(hub, sub, scope=OFFLINE)
    sid = await pool.fetchval("SELECT sid FROM token_issuer.grants")
    await sign_out(stage, sub, sid)
    await age(pool, 20)
    await prune(pool)
    assert await rows(pool, "sessions") == 0
    assert await denials(pool) == {"session"}
    assert error(await stage.refresh(hub, body["refresh_token"])) == "invalid_grant"
    await age(pool, 20)
    await prune(pool)
    assert await rows(pool, "grants") == 0
    assert await denials(pool) == set()
    assert error(await stage.refresh(hub, body["refresh_token"])) == "invalid_grant"


async def test_the_end_of_a_session_is_remembered_as_long_as_the_session(
    stage: Stage, hub: Client, pool: Connections
) -> None:
    sub = await stage.user()
    person, _ = await stage.sign_in(sub)
    await sign_out(stage, sub, person.sid)
    await prune(pool)
    assert await denials(pool) == {"session"}
    await age(pool, 40)
    await prune(pool)
    assert await denials(pool) == set()


async def test_a_changed_password_is_remembered_as_long_as_a_grant_of_before(
    stage: Stage, hub: Client, pool: Connections
) -> None:
    sub = await stage.user()
    before = await stage.tokens(hub, sub, scope=OFFLINE)
    await stage.of_user(sub, identity.PasswordChanged(sub=sub, kept_session=None))
    await stage.follow()
    await prune(pool)
    assert await denials(pool) == {"subject_sessions"}
    assert error(await stage.refresh(hub, before["refresh_token"])) == "invalid_grant"
    await age(pool, 40)
    after = await stage.tokens(hub, sub, scope=OFFLINE)
    await prune(pool)
    assert await denials(pool) == set()
    assert (await stage.refresh(hub, after["refresh_token"])).status_code == 200
    assert error(await stage.refresh(hub, before["refresh_token"])) == "invalid_grant"


async def test_denials_of_clients_and_subjects_stay(stage: Stage, hub: Client, pool: Connections) -> None:
    """What they match may live for ever, and there is at most one of each for an id."""
    sub = await stage.user()
    await stage.of_application(registry.SecretReportedCompromised(client_id=HUB, secret_id="s"))
    await stage.of_application(registry.ApplicationDisabled(client_id=HUB, reason=""))
    await stage.of_user(sub, identity.PasswordReset(sub=sub), identity.UserDisabled(sub=sub, reason=""))
    await stage.write(stage.identity, "consent-c", identity.ConsentWithdrawn(sub=sub, client_id=SPA))
    await stage.follow()
    before = await rows(pool, "denials")
    await age(pool, 900)
    await prune(pool)
    assert await rows(pool, "denials") == before == 5


async def test_all_pages_are_gone_through(
    stage: Stage, hub: Client, pool: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "_PAGE", 2)
    sub = await stage.user()
    for _ in range(7):
        await stage.code(hub, sub, scope="read")
    await age(pool, 40)
    alive = await stage.code(hub, sub, scope="read")
    before = REGISTRY.get_sample_value("stagedoor_issuer_pruned_rows_total", {"table": "grants"}) or 0
    assert await prune(pool) == 7 + 7, "a session each"
    assert await rows(pool, "grants") == 1
    assert (await stage.redeem(hub, alive)).status_code == 200
    assert REGISTRY.get_sample_value("stagedoor_issuer_pruned_rows_total", {"table": "grants"}) == before + 7


async def test_a_row_that_somebody_writes_is_left_for_the_next_time(
    stage: Stage, hub: Client, pool: Connections, database: Database
) -> None:
    await stage.code(hub, await stage.user(), scope="read")
    await age(pool, 40)
    async with database.connection("token_issuer") as writing, writing.transaction():
        await writing.execute("SELECT FROM token_issuer.grants FOR UPDATE")
        await prune(pool)
        assert await rows(pool, "grants") == 1
    await prune(pool)
    assert await rows(pool, "grants") == 0


async def test_a_failure_is_counted_and_tried_again(
    stage: Stage, hub: Client, pool: Connections, database: Database, work: Work, log_lines: LogLines
) -> None:
    database.spoiled = True
    await stage.code(hub, await stage.user(), scope="read")
    await age(pool, 40)
    async with database.connection() as superuser:
        await superuser.execute("REVOKE DELETE ON token_issuer.grants FROM token_issuer")
        work.start(prune_repeatedly(pool, 0.1))
        await eventually(lambda: len(log_lines.named("pruning_failed")) >= 2)
        assert (REGISTRY.get_sample_value("stagedoor_issuer_pruning_failures_total") or 0) >= 2
        await superuser.execute("GRANT DELETE ON token_issuer.grants TO token_issuer")

    async def gone() -> bool:
        return await rows(pool, "grants") == 0

    await eventually(gone)
