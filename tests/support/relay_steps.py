"""The steps of a relay at which a test can end it."""

from collections.abc import Awaitable, Callable
from typing import Any

from nats.js import JetStreamContext

from shared.log.log import Log
from shared.relay import _Window

STEPS = {
    "read": "rows were read and nothing of them was published",
    "published": "the first message was published, and its acknowledgement has not come",
    "answered": "the first acknowledgement has come, and was not noted",
    "window": "in the middle of a window, many messages on their way",
    "window answered": "in the middle of a window, many of its messages acknowledged",
    "deleted": "the stream was deleted, to be made anew",
    "created": "the stream was made anew, and is empty",
}
_IN_THE_MIDDLE = 137
_READING = 100
"""A read for more rows than this is one for relaying."""


def end_at(step: str, end: Callable[[], None]) -> None:
    """Have every relay of this process end at a step."""
    match step:
        case "read":
            _after(Log, "read_rows", lambda rows, named: bool(rows) and named.get("limit", 0) > _READING, end)
        case "published":
            _after(_Window, "publish", _nth(1), end)
        case "window":
            _after(_Window, "publish", _nth(_IN_THE_MIDDLE), end)
        case "answered":
            _before(_Window, "_answered", _nth(1), end)
        case "window answered":
            _before(_Window, "_answered", _nth(_IN_THE_MIDDLE), end)
        case "deleted":
            _after(JetStreamContext, "delete_stream", _nth(1), end)
        case "created":
            _after(JetStreamContext, "add_stream", _nth(1), end)
        case _:
            raise ValueError(step)


def _nth(number: int) -> Callable[[Any, Any], bool]:
    """True at the call of this number, and at no other."""
    calls = 0

    def is_it(_: Any, __: Any) -> bool:
        nonlocal calls
        calls += 1
        return calls == number

    return is_it


def _after(owner: type, name: str, is_it: Callable[[Any, Any], bool], end: Callable[[], None]) -> None:
    original: Callable[..., Awaitable[Any]] = getattr(owner, name)

    async def ending(*arguments: Any, **named: Any) -> Any:
        result = await original(*arguments, **named)
        if is_it(result, named):
            end()
        return result

    setattr(owner, name, ending)


def _before(owner: type, name: str, is_it: Callable[[Any, Any], bool], end: Callable[[], None]) -> None:
    original: Callable[..., Awaitable[Any]] = getattr(owner, name)

    async def ending(*arguments: Any, **named: Any) -> Any:
        if is_it(None, named):
            end()
        return await original(*arguments, **named)

    setattr(owner, name, ending)
