"""Whether every read model is what the log makes of it: for the end of a test in which much has happened."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta

from infra.local import services as local
from infra.local.postgres import Postgres
from infra.local.system import System
from infra.migrate import PROJECTIONS
from services.identity.personal_keys import PersonalKeyRing
from services.identity.read_model import Questions
from shared.keys import MasterKey
from shared.log.log import Log
from shared.rebuild import comparing
from shared.rebuild.comparing import Difference
from tests.support.facts import EVERYTHING
from tests.support.postgres import Database, password

__all__ = ["Difference", "differences"]


async def differences(
    place: Database | System,
    services: Sequence[str] = tuple(PROJECTIONS),
    *,
    identity_key: MasterKey | None = None,
) -> list[Difference]:
    """The rows of these services' tables that are not what the log makes of them; there should be none.

    assert await differences(system) == []
    assert await differences(database, ["registry", "token_issuer"]) == []

    To read identity's facts its master key is needed, which a whole system has in its folder. Everything may go on
    meanwhile; views of others' facts are brought up to the head first, as their followers would.
    """
    found: list[Difference] = []
    async with AsyncExitStack() as stack:
        for service in services:
            ring = _ring(place, identity_key) if service == "identity" else None
            log = await Log.open(*_sign_in(place, service), EVERYTHING, personal_keys=ring)
            stack.push_async_callback(log.close)
            if ring is not None:
                ring.read_from(Questions(log.pool, idle=timedelta()))
            found += await comparing.differences(log, PROJECTIONS[service])
    return found


def _ring(place: Database | System, key: MasterKey | None) -> PersonalKeyRing:
    if key is None and isinstance(place, System):
        key = MasterKey.read(place.home.master_key("identity"))
    if key is None:
        raise ValueError("without the master key of the identity service its facts cannot be read")
    return PersonalKeyRing(key)


def _sign_in(place: Database | System, service: str) -> tuple[str, str]:
    if isinstance(place, Database):
        return place.dsn(service), password(service)
    server = place.part("postgres")
    if not isinstance(server, Postgres):
        raise TypeError("PostgreSQL is something else")
    return server.dsn(service), local.database_password(place.home, service).read_text().strip()
