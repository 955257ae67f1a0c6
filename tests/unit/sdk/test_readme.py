"""What the README shows works as it stands there."""

import re
from pathlib import Path
from typing import Any

import httpx

import stagedoor
from stagedoor.clock import since_boot
from stagedoor.denials import Snapshot
from stagedoor.guard import Guard
from stagedoor.keys import StaticKeys
from stagedoor.verdict import Reason
from tests.support.sdk_tokens import SigningKey, claims, guard

_README = (Path(stagedoor.__file__).parent.parent / "README.md").read_text()
_BLOCKS = re.findall(r"```python\n(.*?)```", _README, re.DOTALL)


def _run(block: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(block, "README.md", "exec"), names)  # noqa: S102  (it is our own text)
    return names


async def test_the_api_in_twenty_lines() -> None:
    names = _run(_BLOCKS[0])
    shown: Guard = names["guard"]
    key = SigningKey()
    shown._keys = StaticKeys([key.public])
    shown.view.replace(Snapshot(position=1000, number=0, epoch=1, denials=()), since_boot())
    token = key.sign(claims(iss=shown.issuer, aud=[shown.audience], scope="read"))
    bearer = {"Authorization": f"Bearer {token}"}
    transport = httpx.ASGITransport(names["app"])
    async with httpx.AsyncClient(transport=transport, base_url="https://api.example.com") as client:
        assert (await client.get("/tickets")).status_code == 401
        answer = await client.get("/tickets", headers=bearer)
    assert answer.json() == {"user": "sub-freddie", "through": "com.backstagehub/app"}


async def test_without_a_framework() -> None:
    key = SigningKey()
    may = _run(_BLOCKS[1])["may"]
    assert await may(guard(key), key.sign(claims()))
    assert not await may(guard(key), key.sign(claims(scope="read")))


async def test_over_grpc(tmp_path: Path) -> None:
    made = _run(_BLOCKS[2])["guard_over_grpc"]
    for name in ("ca.pem", "tickets.pem", "tickets.key"):
        (tmp_path / name).write_bytes(b"")
    assert isinstance(made(tmp_path), Guard)


def test_every_reason_is_listed() -> None:
    listed = _README.partition("## Reasons")[2].partition("## ")[0]
    assert set(re.findall(r"`([a-z_]+)`", listed)) == set(Reason)


def test_the_blocks_are_all_run() -> None:
    assert len(_BLOCKS) == 3
