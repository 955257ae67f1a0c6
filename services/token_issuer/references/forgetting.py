"""Forgets what people called their reference tokens, once they have been erased.

The names are in no fact, so they are in no projection that could be made again; a follower of its own deletes them. The
tokens themselves are refused by the denial that comes with the erasure, whether this has happened yet or not.
"""

from collections.abc import Iterable

from services.identity import events as identity
from services.token_issuer.references.tables import NOTES
from shared.log.event import Delete, Recorded, RowChange

PROJECTION = "erased"
SOURCES = ("identity",)


def project(recorded: Recorded) -> Iterable[RowChange]:
    """The notes that go with a fact."""
    match recorded.event:
        case identity.UserErased(sub=sub):
            return (Delete(NOTES, {"sub": sub}),)
        case _:
            return ()
