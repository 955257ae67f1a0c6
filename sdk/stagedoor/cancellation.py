"""Work that goes on for ever, and has to end when it is told to."""

import asyncio


def obey_cancellation() -> None:
    """End this task if it was cancelled, and whoever was being waited for then did not pass it on.

    `asyncio.wait_for`, by which nats-py waits, loses a cancellation that meets an answer (before Python 3.12). nats-py
    swallows one that meets it while it flushes, and turns one into another error where the connection is closed. A task
    that trusted them might never end.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
