"""A deployment without demo data: what `infra/compose.yaml` says, from nothing to a sign-in, played by processes."""

import asyncio
import json
import shutil
import ssl
import stat
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import nats
import pytest_asyncio

from infra.compose.prepare import NODES
from infra.local.certificates import Authority
from infra.local.process import Process, until
from infra.local.sign_in import CodeFlow, Visitor
from shared.messaging.access import STREAM
from tests.support.composed import SERVICES, Composed, stagedoor, start_stagedoor
from tests.support.ports import free_ports
from tests.support.system import new_folder

HUB = "com.example/hub"
BACK = "https://hub.example.com/callback"


@dataclass
class Deployment:
    """The deployment, and what its operator has."""

    composed: Composed
    operator: dict[str, str]
    trust: ssl.SSLContext

    async def tell(self, *arguments: str, given: str = "") -> Any:
        """A command of the operator; the document that it prints."""
        status, out, err = await stagedoor(self.operator, *arguments, "--json", given=given)
        assert status == 0, err
        return json.loads(out)

    async def get(self, path: str, token: str = "") -> httpx.Response:
        """What the door answers."""
        async with httpx.AsyncClient(verify=self.trust, trust_env=False, timeout=10) as client:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            return await client.get(f"{self.composed.origin}{path}", headers=headers)

    async def ready(self) -> bool:
        """Whether all services are."""
        await self.composed.tending.look()
        with suppress(httpx.HTTPError):
            return (await self.get("/readyz")).is_success
        return False

    async def sign_in(self, name: str, password: str) -> dict[str, Any]:
        """Somebody signs in at the application; what it is given for the code."""
        flow = CodeFlow(f"{self.composed.origin}/id", HUB, BACK, "openid read")
        async with Visitor(name, password, self.trust) as person:
            code = flow.code(await person.go(flow.address))
        return await flow.redeem(code, trust=self.trust)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployment() -> AsyncIterator[Deployment]:
    folder = new_folder()
    composed = Composed(folder / "deployment", free_ports(tls=True))
    try:
        await composed.make()
        trust = ssl.create_default_context(cafile=composed.prepared / "door" / "issuer-ca.pem")
        running = Deployment(composed, composed.operator(), trust)
        await composed.start()
        assert await until(running.ready, 60, every=0.1), (await running.get("/readyz")).text
        yield running
    finally:
        await composed.stop()
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def _claim(deployment: Deployment) -> None:
    """Brian makes himself the first administrator, and nobody does so after him."""
    secret = deployment.composed.folder / "claim"
    arguments = ("--deploy-secret-file", str(secret))
    shutil.copyfile(deployment.composed.secrets / "deploy", secret)
    await deployment.tell("bootstrap", "brian", *arguments, given="red-special-1963\n")
    status, _, err = await stagedoor(deployment.operator, "bootstrap", "thief", *arguments, given="thief-password\n")
    assert (status, "already_bootstrapped" in err) == (1, True)

    await _login(deployment)


async def _login(deployment: Deployment) -> None:
    login = await start_stagedoor(deployment.operator, ("login",))
    assert login.stderr is not None
    async with asyncio.timeout(60), Visitor("brian", "red-special-1963", deployment.trust) as brian:
        address = ""
        while "/connect/authorize?" not in address:
            line = await login.stderr.readline()
            assert line, "it ended without showing an address"
            address = line.decode().strip()
        assert (await brian.browser.get(await brian.go(address))).status_code == 200
        assert await login.wait() == 0


async def _register(deployment: Deployment) -> None:
    api = f"{deployment.composed.origin}/api"
    scopes = ("--scope", "read=see your tours", "--scope", "update=change your tours")
    await deployment.tell("resources", "register", api, "--name", "Tours", *scopes, "--caller", "service/resource")
    grants = ("--grant", "authorization_code", "--scope", "read", "--redirect-uri", BACK)
    await deployment.tell("apps", "register", HUB, "--name", "Hub", "--type", "public", *grants)
    await deployment.tell("users", "add", "freddie", given="a-kind-of-magic-1986\n")


async def test_from_nothing_to_a_sign_in(deployment: Deployment) -> None:
    await _claim(deployment)
    await _register(deployment)
    given = await deployment.sign_in("freddie", "a-kind-of-magic-1986")
    token = str(given["access_token"])
    assert (await deployment.get("/api/tours", token)).json() == {"tours": []}
    assert (await deployment.get("/api/tours")).status_code == 401

    # A node of NATS is lost; what is revoked is refused by the others' word within moments.
    await _lose_a_node(deployment)
    await deployment.tell("apps", "disable", HUB, "--reason", "lost laptop")

    async def refused() -> bool:
        return (await deployment.get("/api/tours", token)).status_code == 401

    assert await until(refused, 10, every=0.05)


async def _lose_a_node(deployment: Deployment) -> None:
    composed = deployment.composed
    password = (composed.secrets / "ledger.nats").read_text().strip()
    tls = ssl.create_default_context(cafile=composed.prepared / "ledger" / "ca.pem")
    tls.load_cert_chain(composed.prepared / "ledger" / "certificate.pem", composed.prepared / "ledger" / "key.pem")
    client = await nats.connect(
        composed.environment("ledger")["STAGEDOOR_NATS_URL"].split(","),
        user="ledger",
        password=password,
        inbox_prefix=b"_INBOX_ledger",
        tls=tls,
        tls_handshake_first=True,
    )
    stream = client.jetstream()
    info = await stream.stream_info(STREAM)
    assert info.config.num_replicas == 3

    # What was made for one node is spread over three by the ledger itself.
    await stream.update_stream(info.config.evolve(num_replicas=1))

    async def spread() -> bool:
        nonlocal info
        info = await stream.stream_info(STREAM)
        behind = (info.cluster.replicas or []) if info.cluster is not None else []
        return info.config.num_replicas == 3 and len(behind) == 2 and all(peer.current for peer in behind)

    assert await until(spread, 30, every=0.2)
    assert info.cluster is not None
    await client.close()
    leader = info.cluster.leader or ""
    assert leader in NODES
    composed.tending.leave([composed.parts[leader]])
    await composed.parts[leader].kill()


async def test_secrets_are_for_one_service_each(deployment: Deployment) -> None:
    composed = deployment.composed
    services = composed.file["services"]
    holders: dict[str, set[str]] = {}
    for name, service in services.items():
        for secret in service.get("secrets", ()):
            holders.setdefault(secret, set()).add(name)
    for secret, holding in holders.items():
        owner = secret.partition(".")[0].replace("_", "-")
        wanted = {"deploy": {"identity"}, "postgres.superuser": {"postgres", "archive"}}.get(secret, {owner})
        assert holding - {"migrate"} == wanted - {"migrate"}
    assert all((composed.secrets / secret).exists() for secret in holders)
    assert stat.S_IMODE(composed.secrets.stat().st_mode) == 0o700
    keys = [path for path in composed.prepared.rglob("*") if path.is_file() and path.suffix in {".key", ".conf"}]
    keys += composed.prepared.glob("*/key.pem")
    assert keys
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in keys)


async def test_running_the_scripts_again_changes_nothing(deployment: Deployment) -> None:
    composed = deployment.composed

    def files() -> dict[Path, bytes]:
        """All but what is written by who runs."""
        found = [*composed.secrets.iterdir(), *composed.prepared.rglob("*")]
        data = composed.prepared / "data"
        return {path: path.read_bytes() for path in found if path.is_file() and data not in path.parents}

    before = files()
    await composed.make()
    assert files() == before
    assert await composed.run("migrate") == (0, "")


async def test_a_certificate_for_the_door_may_be_of_another_authority(deployment: Deployment) -> None:
    composed = deployment.composed
    own = Authority(composed.folder / "own")
    shown = own.server("door", ("localhost",))
    for name, source in (("door.pem", shown.certificate), ("door.key", shown.key), ("door-ca.pem", own.certificate)):
        shutil.copyfile(source, composed.secrets / name)
    before = {name: _pid(composed.parts[name]) for name in SERVICES}
    await composed.make()
    await composed.parts["door"].kill()
    deployment.trust = ssl.create_default_context(cafile=own.certificate)

    async def taken_up() -> bool:
        ready = await deployment.ready()
        return ready and all(_pid(composed.parts[name]) != pid for name, pid in before.items())

    assert await until(taken_up, 60, every=0.1)
    await _login(deployment)


def _pid(part: Any) -> int | None:
    assert isinstance(part, Process)
    return part.pid if part.running else None


async def test_told_to_stop_they_end_in_order(deployment: Deployment) -> None:
    composed = deployment.composed
    parts = [composed.parts[name] for name in SERVICES]
    composed.tending.leave(parts)
    ends: list[int | None] = []
    for part in parts:
        assert isinstance(part, Process)
        part.terminate()
    for part in parts:

        async def ended(part: Any = part) -> bool:
            return not part.running

        assert await until(ended, 15)
        ends.append(part.exit_status)
    assert ends == [0] * len(SERVICES)
