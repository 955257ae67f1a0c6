"""A guard for programs that do not run an event loop: it has one in a thread of its own."""

import asyncio
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from types import TracebackType
from typing import Self

from stagedoor.guard import Guard
from stagedoor.presented import Possession
from stagedoor.verdict import Denied, Reason, Verdict, denied


class GuardThread:
    """Runs a guard beside threads that ask it.

    `with GuardThread(make) as guard:`, where `make` builds the guard: it is called in the guard's own thread, since
    channels belong to the loop that they were made in. What it raises comes out of the `with`.
    """

    def __init__(self, make: Callable[[], Guard], *, timeout: float = 5.0) -> None:
        """`timeout`: seconds that a question which cannot be answered from here may take."""
        self._make = make
        self._timeout = timeout
        self._begun: Future[tuple[Guard, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(target=self._run, name="stagedoor guard", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._begun.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _, loop, end = self._begun.result()
        loop.call_soon_threadsafe(end.set)
        self._thread.join()

    def ready(self) -> bool:
        """Whether tokens can be judged from here now, without asking."""
        guard, _, _ = self._begun.result()
        return guard.ready()

    def validate(
        self,
        token: str,
        *,
        audience: str | None = None,
        scopes: Collection[str] = (),
        min_position: int = 0,
        proof: Possession | None = None,
    ) -> Verdict:
        """As `Guard.validate`, from any thread but the guard's own; it blocks only where the check is not enough."""
        guard, loop, _ = self._begun.result()
        verdict = guard.check(token, audience=audience, scopes=scopes, min_position=min_position, proof=proof)
        if not isinstance(verdict, Denied) or not (verdict.temporary or verdict.reason is Reason.UNKNOWN_KEY):
            return verdict
        asking = asyncio.run_coroutine_threadsafe(
            guard.validate(token, audience=audience, scopes=scopes, min_position=min_position, proof=proof), loop
        )
        try:
            return asking.result(self._timeout)
        except NotInTime:
            asking.cancel()
            return verdict if verdict.temporary else denied(Reason.TOO_STALE)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as failure:
            if self._begun.done():
                raise
            self._begun.set_exception(failure)

    async def _serve(self) -> None:
        guard, end = self._make(), asyncio.Event()
        async with guard:
            self._begun.set_result((guard, asyncio.get_running_loop(), end))
            await end.wait()
