"""What has not caught up with the log, once everything has had its time."""

import asyncpg
import httpx
from prometheus_client.parser import text_string_to_metric_families

from infra.local.ports import LOOPBACK, SERVICES
from infra.local.process import until
from infra.local.system import System

_CAUGHT_UP_SECONDS = 30.0
_VIEWS = " UNION ALL ".join(
    f"SELECT '{service}' AS service, projection, source, position FROM {service}.checkpoints"  # noqa: S608
    for service in SERVICES
)
_STATEMENT = f"""
    SELECT v.*, (SELECT max(e.position) FROM log.events e WHERE e.source = v.source) AS last FROM ({_VIEWS}) v
"""  # noqa: S608  (names of ours, above and here)


async def views_behind(system: System) -> list[str]:
    """Followers that have not come to the last event of every source that they follow."""
    behind: list[str] = []

    async def caught_up() -> bool:
        connection = await asyncpg.connect(system.postgres.dsn(), password=system.postgres.password)
        try:
            rows = await connection.fetch(_STATEMENT)
        finally:
            await connection.close()
        behind[:] = [f"{row['service']} is at {row['position']} of {row['source']}, not {row['last']}" for row in rows
                     if row["position"] != row["last"]]  # fmt: skip
        return bool(rows) and not behind

    await until(caught_up, _CAUGHT_UP_SECONDS, every=0.1)
    return list(behind)


async def relay_behind(system: System) -> list[str]:
    """What the ledger says of its copying events to the stream, if it is not done."""
    said: list[str] = []

    async def copied() -> bool:
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"http://{LOOPBACK}:{system.ports.http('ledger')}/metrics")
        families = text_string_to_metric_families(answer.raise_for_status().text)
        lags = [
            one.value for family in families for one in family.samples if one.name == "stagedoor_relay_lag_positions"
        ]
        said[:] = [] if lags == [0.0] else [f"the relay is behind by {lags} positions"]
        return not said

    await until(copied, _CAUGHT_UP_SECONDS, every=0.5)
    return list(said)
