"""Read models do not depend on what has left the log: made again from the rest they are the same."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.migrate import PROJECTIONS
from services.token_issuer import events as token_issuer
from services.token_issuer.pruning import prune
from shared.rebuild.rebuilding import rebuild
from tests.support.archiving import Archived, archived
from tests.support.parties import Parties
from tests.support.parties import parties as parties  # noqa: PLC0414  (a fixture, as are the others)
from tests.support.postgres import Database
from tests.support.postgres import database as database  # noqa: PLC0414
from tests.support.postgres import databases as databases  # noqa: PLC0414
from tests.support.read_models import differences

AGO = datetime.now(UTC) - timedelta(days=500)
LIFE = timedelta(days=365)


def opened(gid: str, at: datetime) -> token_issuer.GrantOpened:
    return token_issuer.GrantOpened(
        gid=gid,
        client_id="app",
        sub="freddie",
        sid="sid",
        scopes=("read",),
        audiences=("api",),
        redirect_uri="https://app.example/callback",
        redirect_uri_given=True,
        code_digest=f"code-{gid}",
        code_challenge=None,
        nonce=None,
        auth_time=at,
        amr=("pwd",),
        opened_at=at,
        code_expires_at=at + timedelta(minutes=1),
        refresh_expires_at=at + LIFE,
    )


def redeemed(gid: str, at: datetime) -> token_issuer.CodeRedeemed:
    return token_issuer.CodeRedeemed(
        gid=gid,
        jti=f"first-{gid}",
        scopes=("read",),
        audiences=("api",),
        access_token_seconds=3600,
        refresh_digest=f"one-{gid}",
        tokens_end_at=at + timedelta(hours=1),
    )


def rotated(gid: str, at: datetime) -> token_issuer.RefreshTokenRotated:
    return token_issuer.RefreshTokenRotated(
        gid=gid,
        jti=f"second-{gid}",
        presented_digest=f"one-{gid}",
        refresh_digest=f"two-{gid}",
        scopes=("read",),
        audiences=("api",),
        access_token_seconds=3600,
        rotated_at=at,
        tokens_end_at=at + timedelta(hours=1),
    )


async def rebuilt(log: Archived) -> list[str]:
    """All of the issuer's tables of facts, made again; the grants that are there then."""
    issuer = await log.facts.log("token_issuer")
    for projection in PROJECTIONS["token_issuer"]:
        assert [told async for told in rebuild(issuer, projection)][-1].live
    rows = await issuer.pool.fetch("SELECT gid FROM grants ORDER BY gid")
    return [row["gid"] for row in rows]


@pytest.fixture
async def log(database: Database, parties: Parties, tmp_path: Path) -> AsyncIterator[Archived]:
    """A grant that was opened in a partition that leaves, and refreshed in one that stays; one that is alive."""
    async with archived(database, parties, tmp_path, events=0, keep=False) as running:
        await running.facts.write("grant-old", opened("old", AGO), redeemed("old", AGO))
        await running.write(43)
        later = AGO + timedelta(days=300)
        await running.facts.write("grant-old", rotated("old", later))
        now = datetime.now(UTC)
        await running.facts.write("grant-new", opened("new", now), redeemed("new", now))
        await running.facts.execute(
            "UPDATE log.events SET recorded_at = recorded_at - interval '500 days' WHERE position <= 45"
        )
        await running.age_hashes()
        await running.ledger.evidence.catch_up()
        yield running


async def test_rebuilt_from_a_log_with_gaps_they_are_the_live_ones(log: Archived) -> None:
    issuer = await log.facts.log("token_issuer")
    assert await rebuilt(log) == ["new", "old"]
    await prune(issuer.pool)
    rows = await issuer.pool.fetch("SELECT * FROM grants")
    assert [row["gid"] for row in rows] == ["new"]
    async with log.keeping():
        await log.take()
    assert len(log.files()) == 2
    assert len(await log.positions()) < 40
    assert await differences(log.facts.database, ["token_issuer", "registry"]) == []
    assert await rebuilt(log) == ["new"]
    assert await issuer.pool.fetch("SELECT * FROM grants") == rows
    assert await differences(log.facts.database, ["token_issuer", "registry"]) == []


async def test_nothing_can_be_done_with_a_grant_that_has_left(log: Archived) -> None:
    """Its stream goes on from the version that it had, and what is left of it opens nothing."""
    async with log.keeping():
        await log.take()
    issuer = await log.facts.log("token_issuer")
    stream = await issuer.load("grant-old")
    assert (stream.version, [event.version for event in stream.events]) == (3, [3])
