"""Several processes that validate on one port: any of them answers, and one that is gone is not missed."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest

from infra.local.services import python_environment
from services.registry import events as registry
from services.registry.events import ResourceRegistered, ResourceSettings, Scope
from services.token_issuer.events import KeyUse, SigningKeyActivated, SigningKeyCreated
from services.token_issuer.read_model import project as own
from services.token_issuer.signing import SigningKey, generate
from services.token_issuer.subscriptions import PROJECTION, project
from services.token_issuer.tokens import Content, Issued, access_token
from shared.clock import system_clock
from shared.handle import rows_of
from shared.ids import new_command_id, new_id
from shared.log.append import Append, Context
from shared.messaging import Follower
from stagedoor.validation.v1 import validation_pb2 as pb
from stagedoor.validation.v1.validation_pb2_grpc import ValidationStub
from tests.support.facts import Facts
from tests.support.parties import Parties
from tests.support.ports import free_port
from tests.support.postgres import password
from tests.support.sdk_tokens import AUDIENCE, ISSUER
from tests.support.work import eventually

CLIENT = "com.example/app"


@dataclass
class Validating:
    """Two processes on one port."""

    facts: Facts
    parties: Parties
    port: int
    http: tuple[int, int]
    processes: list[asyncio.subprocess.Process]
    key: SigningKey

    async def token(self) -> str:
        head = await (await self.facts.log("token_issuer")).head()
        content = Content(new_id(), "freddie", CLIENT, ("read",), (AUDIENCE,), 600)
        return access_token(self.key, ISSUER, content, Issued(head.epoch, head.position, system_clock()))

    async def ask(self, token: str) -> pb.ValidateResponse:
        """One question, over a connection of its own."""
        tls = self.parties.resource("stagehands")
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", "token_issuer")]
        async with grpc.aio.secure_channel(
            f"127.0.0.1:{self.port}", tls.channel_credentials(), options=options
        ) as channel:
            request = pb.ValidateRequest(token=token, audience=AUDIENCE)
            answer: pb.ValidateResponse = await ValidationStub(channel).Validate(
                request, timeout=10, wait_for_ready=True
            )
            return answer

    async def answered(self) -> list[int]:
        """How many questions each process has answered."""
        counts = []
        async with httpx.AsyncClient(trust_env=False) as client:
            for port in self.http:
                text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
                found = re.search(r'stagedoor_rpc_requests_total\{code="OK",method="[^"]*/Validate"\} ([0-9.]+)', text)
                counts.append(int(float(found.group(1))) if found else 0)
        return counts


@pytest.fixture
async def validating(facts: Facts, parties: Parties, tmp_path: Path) -> AsyncIterator[Validating]:
    log = await facts.log("token_issuer")
    pairs = {use: generate(use) for use in KeyUse}
    for use, (key, jwk) in pairs.items():
        events = (
            SigningKeyCreated(kid=key.kid, algorithm=key.public.algorithm, use=use, public_jwk=jwk),
            SigningKeyActivated(kid=key.kid),
        )
        context = Context("service:test", new_id(), new_command_id())
        version = (await log.load("keys-signing")).version
        rows = rows_of(events, "keys-signing", version, context, own)
        await log.append(Append("keys-signing", version, events, context, rows=rows))
    settings = ResourceSettings(
        display_name="Tours", scopes=(Scope(name="read", description="read"),), callers=("resource/stagehands",)
    )
    registered = ResourceRegistered(resource_id="tours", identifier=AUDIENCE, settings=settings)
    position = (await facts.write("resource-tours", registered)).position
    await Follower(log, PROJECTION, ("registry", "identity"), project, None).reach(position)

    shown = parties.authority.service("token_issuer")
    (tmp_path / "password").write_text(password("token_issuer"))
    port, ports = free_port(), (free_port(), free_port())
    environment = {
        **python_environment(),
        "STAGEDOOR_GRPC_BIND": f"127.0.0.1:{port}",
        "STAGEDOOR_ORIGIN": ISSUER.removesuffix("/id"),
        "STAGEDOOR_ISSUER": ISSUER,
        "STAGEDOOR_DATABASE": facts.database.dsn("token_issuer"),
        "STAGEDOOR_DATABASE_PASSWORD_FILE": str(tmp_path / "password"),
        "STAGEDOOR_TLS_CA_FILE": str(parties.authority.certificate),
        "STAGEDOOR_TLS_CERTIFICATE_FILE": str(shown.certificate),
        "STAGEDOOR_TLS_KEY_FILE": str(shown.key),
    }
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.token_issuer.validating"),
            env={**environment, "STAGEDOOR_HTTP_BIND": f"127.0.0.1:{http}"},
        )
        for http in ports
    ]
    running = Validating(facts, parties, port, ports, processes, pairs[KeyUse.ACCESS_TOKEN][0])
    try:
        await eventually(lambda: _ready(running), 60.0)
        yield running
    finally:
        for process in processes:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def _ready(validating: Validating) -> bool:
    async with httpx.AsyncClient(trust_env=False) as client:
        try:
            answers = [await client.get(f"http://127.0.0.1:{port}/readyz") for port in validating.http]
        except httpx.TransportError:
            return False
    return all(answer.status_code == 200 for answer in answers)


async def test_any_process_answers_and_all_of_them_hear_of_denials(validating: Validating) -> None:
    token = await validating.token()
    log = await validating.facts.log("token_issuer")
    before = (await log.head()).position
    for _ in range(30):
        assert (await validating.ask(token)).allowed
    first, second = await validating.answered()
    assert first + second == 30
    assert first > 0
    assert second > 0
    assert (await log.head()).position == before

    await validating.facts.write("application-x", registry.ApplicationUninstalled(client_id=CLIENT))

    async def refused() -> bool:
        return [(await validating.ask(token)).reason for _ in range(6)] == ["denied_client"] * 6

    await eventually(refused)
    gone = validating.processes[0]
    gone.kill()
    await gone.wait()
    for _ in range(6):
        assert (await validating.ask(token)).reason == "denied_client"
