"""Messages that come again, late and in another order, from the one account that may send them."""

import asyncio
import random

from nats.aio.client import Client
from nats.aio.msg import Msg

from infra.local.nats import password_file
from infra.local.ports import LOOPBACK
from infra.local.system import System
from shared.messaging.access import DENIALS, NatsAccess, events_of

_MOST = 500


async def _closed() -> None:
    """Nobody is told."""


async def _signed_in(system: System, user: str) -> Client:
    password = password_file(system.home, user).read_text().strip()
    return await NatsAccess(f"nats://{LOOPBACK}:{system.ports.nats}", user, password).connect(_closed)


async def echo(system: System, dice: random.Random, seconds: float) -> int:
    """Listen for a while to denials, heartbeats and events; then send all of it again, some of it twice, in disorder.

    Answers how many were sent. Events go to the stream as well, under the condition that they had when they were new.
    """
    heard: list[Msg] = []

    async def hear(message: Msg) -> None:
        if len(heard) < _MOST:
            heard.append(message)

    listener, sender = await _signed_in(system, "token_issuer"), await _signed_in(system, "ledger")
    try:
        for subject in (f"{DENIALS}.>", events_of("registry"), events_of("identity")):
            await listener.subscribe(subject, cb=hear)
        await listener.flush()
        await asyncio.sleep(seconds)
        again = [message for message in heard for _ in range(dice.choice((1, 1, 2, 3)))]
        dice.shuffle(again)
        for message in again:
            await sender.publish(message.subject, message.data, headers=message.headers)
            if dice.random() < 0.05:
                await asyncio.sleep(dice.uniform(0.0, 0.1))
        await sender.flush()
        return len(again)
    finally:
        await listener.close()
        await sender.close()
