"""Looks after the log's partitions: makes those that will be needed, drops expired once-keys."""

import asyncio

from prometheus_client import Counter, Gauge

from shared.log.append import LogUnavailable
from shared.log.log import Log
from shared.questions import ask
from shared.telemetry import logger

_log = logger(__name__)
_CHANGES = Counter("stagedoor_care_changes", "Partitions made or dropped.")
_CARED_AT = Gauge("stagedoor_care_last_success_seconds", "When the partitions were last looked after (Unix time).")

EVERY_SECONDS = 600.0
_RETRY_SECONDS = 10.0


async def take_care(log: Log) -> None:
    """Look after them every ten minutes, for ever. Partitions are made weeks ahead, so a missed time does no harm."""
    while True:
        try:
            changed = await ask(log.pool.fetchval("SELECT log.care()"))
        except LogUnavailable:
            await asyncio.sleep(_RETRY_SECONDS)
            continue
        if changed:
            _log.info("partitions_changed", number=changed)
            _CHANGES.inc(changed)
        _CARED_AT.set_to_current_time()
        await asyncio.sleep(EVERY_SECONDS)
