"""What the README shows works as it stands there."""

import inspect
import re
from pathlib import Path
from typing import Any

import httpx
from grpc import aio

import stagedoor
from stagedoor.clock import since_boot
from stagedoor.denials import Snapshot
from stagedoor.guard import Guard
from stagedoor.interceptors import _current
from stagedoor.keys import StaticKeys
from stagedoor.verdict import Allowed, Denied, Reason
from tests.support.client_certificates import certificate, der, thumbprint
from tests.support.dpop import ProofKey
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
    made = _run(_BLOCKS[4])["guard_over_grpc"]
    for name in ("ca.pem", "tickets.pem", "tickets.key"):
        (tmp_path / name).write_bytes(b"")
    assert isinstance(made(tmp_path), Guard)


async def test_a_grpc_server() -> None:
    names = _run(_BLOCKS[5])
    token = _current.set(_allowed())
    try:
        assert await names["sell"](None, None) == "sold to sub-freddie"
    finally:
        _current.reset(token)
    assert isinstance(names["server"](guard(SigningKey())), aio.Server)


async def test_with_a_proof() -> None:
    key, held = SigningKey(), ProofKey()
    token = key.sign(claims(cnf={"jkt": held.jkt}))
    proof = held.proof("GET", "https://api.example.com/tickets", token)
    with_proof = _run(_BLOCKS[2])["with_proof"]
    checked = guard(key)
    assert isinstance(await with_proof(checked, token, proof), Allowed)
    assert isinstance(await with_proof(checked, token, proof), Denied)


async def test_with_a_certificate() -> None:
    key, own = SigningKey(), certificate("own")
    token = key.sign(claims(cnf={"x5t#S256": thumbprint(own)}))
    with_certificate = _run(_BLOCKS[3])["with_certificate"]
    assert isinstance(await with_certificate(guard(key), token, der(own)), Allowed)
    assert isinstance(await with_certificate(guard(key), token, der(certificate("other"))), Denied)


def _allowed() -> Allowed:
    key = SigningKey()
    verdict = guard(key).check(key.sign(claims()))
    assert isinstance(verdict, Allowed)
    return verdict


def test_without_an_event_loop() -> None:
    key = SigningKey()
    tokens = [key.sign(claims()), key.sign(claims(scope="read"))]
    assert _run(_BLOCKS[6])["permitted"](lambda: guard(key), tokens) == tokens[:1]


def test_every_setting_is_listed() -> None:
    listed = _README.partition("## Settings of a guard")[2].partition("## ")[0]
    settings = set(inspect.signature(Guard).parameters) - {"now", "boot", "dangerously_accept_stale"}
    assert set(re.findall(r"`([a-z_]+)`", listed)) >= settings


def test_every_reason_is_listed() -> None:
    listed = _README.partition("## Reasons")[2].partition("## ")[0]
    assert set(re.findall(r"`([a-z_]+)`", listed)) == set(Reason)


def test_the_blocks_are_all_run() -> None:
    assert len(_BLOCKS) == 7
