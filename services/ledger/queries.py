"""Every question that somebody puts to the log is a fact in it, before it is answered."""

import re
from collections.abc import Iterator
from typing import Final

from services.ledger.events import LogQueried, Question
from shared.ids import new_command_id, new_ordered_id
from shared.log.append import Append, Appended, Context
from shared.log.log import Log
from shared.log.row import EventFilter
from shared.rpc import caller

_MOST: Final = 100
"""Values of a filter that are written down."""
_IDENTIFIER = re.compile(r"[A-Za-z0-9._~:/=-]{1,300}")
_LISTS = ("types", "sources", "streams", "client_ids", "subs", "sids", "gids", "jtis", "actors", "correlation_ids")


async def record(
    log: Log, question: Question, after: int, until: int | None, matching: tuple[str, ...] = ()
) -> Appended:
    """Append that this call's person asks; answers where that stands. Without it there is no answer."""
    call = caller.context()
    append = Append(
        stream=f"query-{new_ordered_id()}",
        expected_version=None,
        events=(LogQueried(question=question, after=after, until=until, matching=matching),),
        context=Context(call.actor, call.correlation_id, new_command_id()),
    )
    return await log.append(append)


def in_words(wanted: EventFilter) -> tuple[str, ...]:
    """What a filter asks for. What is no identifier matches nothing and is left out: it may be personal."""
    words = tuple(_words(wanted))
    return words if len(words) <= _MOST else (*words[:_MOST], f"and {len(words) - _MOST} more")


def _words(wanted: EventFilter) -> Iterator[str]:
    for name in _LISTS:
        for value in getattr(wanted, name):
            yield word(name, value)
    for name in ("since", "before"):
        moment = getattr(wanted, name)
        if moment is not None:
            yield f"{name}={moment.isoformat()}"


def word(name: str, value: str) -> str:
    """One thing that is asked for; what is no identifier is not told."""
    return f"{name}={value if _IDENTIFIER.fullmatch(value) else '(no identifier)'}"
