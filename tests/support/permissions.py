"""What PostgreSQL and NATS let one of their users do."""

import asyncpg
from nats.aio.client import Client
from nats.js.api import ConsumerConfig

from infra.local.process import until
from shared.ids import new_id


class RefusedError(Exception):
    """The NATS server said that something is not permitted."""


async def refused(connection: asyncpg.Connection, statement: str) -> bool:
    """Whether a statement is refused for want of a right, and for nothing else."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(statement)
    except asyncpg.InsufficientPrivilegeError:
        return True
    finally:
        await transaction.rollback()
    return False


async def said(client: Client) -> None:
    """Return when the server has heard everything that the client said. Twice, because a first ping overtakes it."""
    await client.flush()
    await client.flush()


async def settled(client: Client) -> None:
    """Raise if the server has refused something; it has heard everything when the answer is here."""
    await said(client)

    async def told() -> bool:
        return client.last_error is not None

    await until(told, 0.2)
    if client.last_error is not None:
        raise RefusedError(str(client.last_error))


async def consume(client: Client, source: str) -> ConsumerConfig | None:
    """Create a consumer of one source's events."""
    config = ConsumerConfig(name=new_id(), filter_subject=f"stagedoor.events.{source}.>")
    return (await client.jetstream(timeout=0.5).add_consumer("STAGEDOOR_EVENTS", config)).config
