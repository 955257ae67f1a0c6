"""What all answers of the registry's edge have to keep to."""

from collections.abc import Callable
from typing import TypeVar

from services.registry.domain.refusals import invalid
from shared.errors import Unavailable
from shared.handle import Handled
from shared.log.event import Event
from shared.log.log import Log

S = TypeVar("S")


def answering(handled: Handled[S], is_it: Callable[[Event], bool]) -> Handled[S]:
    """Refuse a repeated idempotency key that stood for something else: that request would be answered, and not done."""
    repeated = handled.appended is None and handled.events
    if repeated and not is_it(handled.events[0]):
        raise invalid("the idempotency key was used for another request", "idempotency_key_reused")
    return handled


async def reached(log: Log, minimum_position: int) -> None:
    """Refuse to answer from before a position.

    The tables are written with the events, so they are complete up to the head, and there is nothing to wait for: a
    position past the head was never handed out by this log.
    """
    if minimum_position > 0 and minimum_position > (await log.head()).position:
        raise Unavailable("position_not_reached", "the log has not come to that position")
