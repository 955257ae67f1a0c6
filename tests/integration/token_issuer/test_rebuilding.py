"""The issuer's tables are made again under it, and what it remembers of them is forgotten."""

from services.token_issuer.projections import PROJECTIONS
from shared.rebuild.comparing import differences
from shared.rebuild.rebuilding import rebuild
from tests.support.issuing import Stage
from tests.support.postgres import Database


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
    assert await differences(stage.issuer.log, PROJECTIONS) == []
