"""Makes this service's tables again from the log, or holds them against it: after a back-up was put back.

    python -m services.identity.rebuild [--check]     with the settings of the service

The ordinary back-up has no row of a person, so nobody could sign in to have it done by `stagedoor rebuild`. At the end
it tells whose keys are missing although the log does not say that they were erased: people who were erased after the
back-up of the log, or whose keys are in no back-up of these. Exit status 1: rows differ, keys are missing, or it did
not work.
"""

import asyncio
import sys
from datetime import timedelta

from services.identity import events
from services.identity.events import UserErased, UserRegistered
from services.identity.personal_keys import PersonalKeyRing
from services.identity.projections import PROJECTIONS
from services.identity.read_model import Questions
from services.identity.settings import IdentitySettings
from services.registry import events as registry_events
from shared.errors import Refusal
from shared.keys import MasterKey
from shared.log.event import Catalogue, Stamp
from shared.log.log import Log
from shared.rebuild.command import carry_out, only_checking, refused
from shared.settings import load, read_secret
from shared.telemetry import configure_logging


async def main(*, check: bool) -> int:
    """Do it; answers the exit status."""
    settings = load(IdentitySettings)
    configure_logging("identity", settings.log_level)
    keys = PersonalKeyRing(MasterKey.read(settings.master_key_file))
    password = read_secret(settings.database_password_file, "the database password")
    log = await Log.open(settings.database, password, Catalogue.of(events, registry_events), personal_keys=keys)
    try:
        return await make_again(log, keys, check=check)
    except Refusal as refusal:
        return refused(refusal.message, refusal.code)
    finally:
        await log.close()


async def make_again(log: Log, keys: PersonalKeyRing, *, check: bool) -> int:
    """Do it with an open log; answers the exit status. Raises `Refusal`."""
    keys.read_from(Questions(log.pool, idle=timedelta()))
    status = await carry_out(log, PROJECTIONS, check=check)
    missing = await without_key(log)
    for sub in missing:
        print(f"{sub}: no key, and not erased; erase them again, or put back the keys")
    return 1 if missing else status


async def without_key(log: Log) -> list[str]:
    """The users whom nobody erased, as far as the log knows, and whose personal data nobody can read all the same."""
    unreadable: dict[str, None] = {}
    after = 0
    while facts := await log.read(after, sources=("identity",)):
        for fact in facts:
            match fact.event:
                case UserRegistered(sub=sub, user_name=name) if name.reveal() is None:
                    unreadable[sub] = None
                case UserErased(sub=sub):
                    unreadable.pop(sub, None)
        last = facts[-1].position
        if isinstance(last, Stamp):
            raise TypeError("an event in the log has a position")
        after = last
    return list(unreadable)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(check=only_checking("Make the tables of the identity service again from the log."))))
