"""The issuer's tables are made again under it, and what it remembers of them is forgotten."""

from datetime import UTC, datetime, timedelta

from services.identity import events as identity
from services.token_issuer.projections import PROJECTIONS
from services.token_issuer.pruning import prune
from shared.rebuild.comparing import differences
from shared.rebuild.rebuilding import rebuild
from tests.support.dpop import ProofKey, refresh
from tests.support.issuing import Stage
from tests.support.postgres import Database
from tests.support.references import make, open_hub
from tests.support.security_profile import held_client
from tests.support.security_profile import tokens as tokens_of_held


async def rebuild_all(stage: Stage) -> None:
    for projection in PROJECTIONS:
        assert [told.live async for told in rebuild(stage.issuer.log, projection)][-1]


async def test_terms_that_were_remembered_wrong_are_read_again(stage: Stage, database: Database) -> None:
    client = await stage.register(resources=True)
    await stage.follow()
    async with database.connection() as operator:
        await operator.execute("UPDATE token_issuer.applications SET enabled = false")
    for _ in range(2):
        assert (await stage.token(client, grant_type="client_credentials", scope="read")).status_code != 200
    await rebuild_all(stage)
    # No fact has come since: only the rebuild says that what was remembered is over.
    assert (await stage.token(client, grant_type="client_credentials", scope="read")).status_code == 200


async def test_grants_go_on_over_a_rebuild(stage: Stage) -> None:
    client = await stage.register(resources=True)
    sub = await stage.user()
    tokens = await stage.tokens(client, sub)
    code = await stage.code(client, sub)
    await rebuild_all(stage)
    assert (await stage.refresh(client, tokens["refresh_token"])).status_code == 200
    assert (await stage.redeem(client, code)).status_code == 200
    await rebuild_all(stage)
    assert (await stage.redeem(client, code)).status_code == 400
    # One whose refresh token stays.
    held, key = await held_client(stage, client_id="com.example/held", resources=False), ProofKey()
    stays = (await tokens_of_held(stage, held, key, sub))["refresh_token"]
    for _ in range(2):
        assert (await refresh(stage, held, key, stays)).status_code == 200
        assert await differences(stage.issuer.log, PROJECTIONS) == []
        await rebuild_all(stage)
    assert (await refresh(stage, held, key, stays)).status_code == 200
    assert await differences(stage.issuer.log, PROJECTIONS) == []


async def test_what_was_pruned_is_not_missed_and_goes_again_after_a_rebuild(stage: Stage, database: Database) -> None:
    client = await open_hub(stage)
    sub = await stage.user()
    stage.clock.ahead = -timedelta(days=60)
    person, _ = await stage.sign_in(sub)
    await make(stage, sub)
    stage.clock.ahead = timedelta()
    await stage.tokens(client, sub)
    ended = identity.SessionEnded(
        sub=sub,
        sid=person.sid,
        reason=identity.SessionEndReason.SIGNED_OUT,
        tokens_end_at=datetime.now(UTC) - timedelta(days=50),
    )
    await stage.write(stage.identity, f"session-{person.sid}", ended)
    await stage.follow()
    pool = stage.issuer.log.pool
    assert await prune(pool) == 4, "a session, its denial, a reference token, and what was noted of it"
    assert await differences(stage.issuer.log, PROJECTIONS) == []
    await rebuild_all(stage)
    assert await prune(pool) == 3
    assert await differences(stage.issuer.log, PROJECTIONS) == []
    async with database.connection() as operator:
        await operator.execute("DELETE FROM token_issuer.sessions; DELETE FROM token_issuer.grants")
    found = {(one.table, one.what) for one in await differences(stage.issuer.log, PROJECTIONS)}
    assert found == {("sessions", "missing"), ("grants", "missing")}
