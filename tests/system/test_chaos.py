"""`make chaos`, one short seed: everything is killed in turn under load; nothing acknowledged is lost or doubled."""

from pathlib import Path

import pytest

from infra.local.ports import SERVICES
from tests.chaos.run import run

SEED = 1986


@pytest.mark.timeout(480)
async def test_nothing_acknowledged_is_lost_or_doubled_whatever_is_killed(folder: Path) -> None:
    report = await run(folder, SEED, seconds=0, few=True)
    told = "\n".join(report.lines())
    assert report.clean, told
    assert {f"kill {name}" for name in SERVICES} | {"kill a back-end", "end connections"} <= set(report.faults), told
    kinds = report.journal.kinds()
    wanted = {"client credentials", "revoke", "sign in", "redeem a code", "refresh", "register", "disable", "enable"}
    assert wanted | {"register a user", "add a tour", "move a tour", "read tours"} <= set(kinds), told
