"""The end of a run: a back-up is restored that lost a tail. What was acknowledged before is there, and no more."""

import asyncio
import shutil

from infra.local.demo_data import BACKSTAGEHUB
from infra.local.process import until
from shared.ids import new_id
from tests.chaos import stream
from tests.chaos.aftermath import whole_log
from tests.chaos.clients import Clients, claims
from tests.chaos.load import Load
from tests.chaos.system import ChaosSystem
from tests.support import back_up, read_models

_SECONDS = 45.0
_OK, _UNAUTHORIZED = 200, 401


async def lose_a_tail(system: ChaosSystem, clients: Clients, load: Load, held: list[str]) -> list[str]:
    """Do it, and answer what is wrong; `held` is told if nothing is."""
    kept = await _issue(clients)
    folder = system.postgres.folder / "back-up"
    if system.standby is not None:
        system.tending.leave([system.standby])
        await system.standby.be_left_out()
    system.tending.leave([system.postgres])
    await back_up.take_back_up(system.postgres, folder)
    try:
        await system.ready()
        before = await whole_log(system)
        lost = await _issue(clients)
        await back_up.restore(system.postgres, folder)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    await system.ready()

    wrong = [] if (await whole_log(system))[: len(before)] == before else ["the log is not what the back-up had"]
    living = await _issue(clients)
    if not claims(lost)["epoch"] < claims(living)["epoch"]:
        wrong.append("no new epoch has begun")
    # A position of the lost branch that the living one has not come to could still be asked about; let it come there.
    while claims(await _issue(clients))["pos"] <= claims(lost)["pos"]:
        pass
    for token, status, told in (
        (lost, _UNAUTHORIZED, "a token of the lost branch is not refused"),
        (kept, _OK, "a token of the branch that lives is refused"),
        (living, _OK, "a new token is refused"),
        *((token, _UNAUTHORIZED, "what was revoked before is accepted") for token in load.revoked[-3:]),
    ):
        wrong += [] if await _becomes(clients, token, status) else [told]
    wrong += [f"{one.table} {dict(one.key)}: {one.what}" for one in await read_models.differences(system)]
    wrong += await stream.differences(system)
    held += [] if wrong else ["after a back-up that lost a tail: epoch, tokens, stream and read models"]
    return wrong


async def _issue(clients: Clients) -> str:
    """A token, as soon as there is one."""
    hub = {one["client_id"]: one for one in clients.system.demo["applications"]}[BACKSTAGEHUB]
    issued: list[str] = []

    async def once() -> bool:
        form = {"grant_type": "client_credentials", "scope": "read"}
        answer = await clients.token(BACKSTAGEHUB, hub["client_secret"], new_id(), **form)
        issued.extend([answer.json()["access_token"]] if answer.status_code == _OK else [])
        return bool(issued)

    if not await until(once, _SECONDS):
        raise TimeoutError("no token is issued")
    return issued[0]


async def _becomes(clients: Clients, token: str, status: int) -> bool:
    async def so() -> bool:
        return (await clients.call("GET", "/tours", token, new_id())).status_code == status

    return await until(so, _SECONDS)
