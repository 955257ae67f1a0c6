"""The log loses a tail under an issuer that goes on: what it knew of that is not taken for what is there now."""

from datetime import UTC, datetime, timedelta

import pytest

from services.identity import events as identity
from services.token_issuer import read_model
from tests.support.issuing import Client, Stage
from tests.support.postgres import Database
from tests.support.references import open_hub


async def test_what_was_remembered_of_the_lost_branch_is_asked_anew(
    stage: Stage, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The living branch may have come to the very checkpoints that the lost one had when the answer was remembered."""
    monkeypatch.setattr(read_model, "LATELY_SECONDS", -1.0)  # no failover is as quick as that
    client = await stage.register(resources=True)
    await stage.follow()
    asked = {"grant_type": "client_credentials", "scope": "read"}
    assert (await stage.token(client, **asked)).status_code == 200
    async with database.connection() as operator:
        await operator.execute(
            "UPDATE token_issuer.applications SET enabled = false; UPDATE log.head SET epoch = epoch + 1"
        )
    assert (await stage.token(client, **asked)).status_code == 401


async def lose_a_tail(stage: Stage, database: Database, kept: int, lost: str) -> None:
    """All that came after a position, which is a user."""
    database.spoiled = True
    async with database.connection() as operator:
        await operator.execute(f"""
            DELETE FROM log.events WHERE position > {kept};
            DELETE FROM log.streams WHERE stream = 'user-{lost}';
            UPDATE log.head SET position = {kept}, server_started_at = '-infinity';
            UPDATE log.epochs SET system_identifier = system_identifier + 1;
            DELETE FROM token_issuer.users WHERE sub = '{lost}';
            UPDATE token_issuer.checkpoints SET position = least(position, {kept})
        """)  # noqa: S608  (ids and numbers)


@pytest.fixture
async def refreshed(stage: Stage, database: Database) -> tuple[Client, str, str]:
    """A client, and two refresh tokens, the second in exchange for the first. Then their session ends, in a log that
    has lost a tail: at a position that the issuer had heard of before.
    """
    client = await open_hub(stage)
    sub = await stage.user()
    first = (await stage.tokens(client, sub, scope="openid read offline_access"))["refresh_token"]
    second = (await stage.refresh(client, first)).json()["refresh_token"]
    (session,) = (stream for stream in stage.versions if stream.startswith("session-"))
    kept = (await stage.issuer.log.head()).position
    lost = await stage.user()
    await stage.user()
    await stage.follow()
    await lose_a_tail(stage, database, kept, lost)
    ended = identity.SessionEnded(
        sub=sub,
        sid=session.removeprefix("session-"),
        reason=identity.SessionEndReason.SIGNED_OUT,
        tokens_end_at=datetime.now(UTC) + timedelta(days=1),
    )
    assert await stage.write(stage.identity, session, ended) == kept + 1
    return client, first, second


async def test_a_repeated_refresh_hears_of_it(stage: Stage, refreshed: tuple[Client, str, str]) -> None:
    client, first, _ = refreshed
    assert (await stage.refresh(client, first)).status_code == 400


async def test_introspection_of_a_refresh_token_hears_of_it(stage: Stage, refreshed: tuple[Client, str, str]) -> None:
    client, _, second = refreshed
    assert (await stage.introspect(client, second)).json() == {"active": False}
