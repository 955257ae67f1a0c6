import asyncio
from pathlib import Path

import pytest

from shared.rpc.renewal import Renewal

SECONDS = 0.2


@pytest.mark.parametrize("renewed", ["certificate.pem", "ca.pem"])
async def test_a_new_certificate_is_noticed_in_time(tmp_path: Path, renewed: str) -> None:
    file = tmp_path / "certificate.pem"
    file.write_text("the first")
    authority = tmp_path / "ca.pem"
    authority.write_text("the first")
    due = asyncio.ensure_future(Renewal((file, authority), SECONDS).due())
    await asyncio.wait((due,), timeout=2 * SECONDS)
    assert not due.done()
    (tmp_path / renewed).write_text("the second")
    async with asyncio.timeout(30):
        await due


@pytest.mark.parametrize("away", ["", None])
async def test_a_file_that_is_being_replaced_is_no_news(tmp_path: Path, away: str | None) -> None:
    file = tmp_path / "certificate.pem"
    file.write_text("the first")
    due = asyncio.ensure_future(Renewal((file,), SECONDS).due())
    if away is None:
        file.unlink()
    else:
        file.write_text(away)
    await asyncio.wait((due,), timeout=2 * SECONDS)
    assert not due.done()
    file.write_text("the first")
    await asyncio.wait((due,), timeout=2 * SECONDS)
    assert not due.done()
    due.cancel()
