"""Every table of a service is either made of facts, and named by one projection, or known to be kept otherwise."""

from infra.migrate import PROJECTIONS
from tests.support.postgres import Database
from tests.support.postgres import database as database  # noqa: PLC0414  (a fixture)
from tests.support.postgres import databases as databases  # noqa: PLC0414  (a fixture)

KEPT = {
    "identity": {
        "personal_keys",
        "vault",
        "passkey_credentials",
        "session_activity",
        "sign_in_failures",
        "instance",
    },
    "token_issuer": {"vault", "reference_notes", "pushed_requests", "device_requests", "logouts", "logout_deliveries"},
}
"""Secrets, and what is worth no fact. A rebuild leaves it alone, and a back-up has to have it where it matters."""


async def test_every_table_is_rebuilt_or_kept(database: Database) -> None:
    async with database.connection() as connection:
        rows = await connection.fetch(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname = ANY ($1) AND tablename <> 'checkpoints'",
            list(PROJECTIONS),
        )
    there: dict[str, set[str]] = {service: set() for service in PROJECTIONS}
    for row in rows:
        there[row["schemaname"]].add(row["tablename"])
    for service, projections in PROJECTIONS.items():
        named = [table for projection in projections for table in projection.tables]
        assert len(named) == len(set(named)), "a table has one feeder"
        assert set(named) | KEPT.get(service, set()) == there[service], service
        assert not set(named) & KEPT.get(service, set())
