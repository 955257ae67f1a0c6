"""A service's life: listen, serve HTTP and gRPC, follow what it follows, and go down in order."""

import asyncio
import gc
import signal
import sys
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from socket import socket
from typing import Any, Final, NoReturn

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.types import ASGIApp

from shared import core_dumps
from shared.errors import Refusal
from shared.http.binding import listen, refuse_exposed_demo, room_for
from shared.http.body import BodyLimit
from shared.http.edge import Edge
from shared.http.endpoint import Application, Endpoints
from shared.http.errors import install
from shared.http.operations import Check, Operations, Readiness, Ready
from shared.http.protocol import protocol_class
from shared.rpc.renewal import Renewal
from shared.rpc.server import RpcServer
from shared.settings import ServiceSettings
from shared.telemetry import course_of, logger
from shared.tracing import spans

__all__ = ["Check", "Readiness", "layers", "run", "serve"]

_log = logger(__name__)
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_COLLECTED_AFTER: Final = (10_000, 20, 20)
"""So many more objects that might be parts of a ring (a request makes a hundred) before the young are gone through.
The usual 700 have a service do that every few requests, for a seventh of its time, to find next to nothing."""
_CONNECTIONS_EACH: Final = 4
"""Open connections for each request that may be under way; keeping one open costs little."""


def layers(app: ASGIApp, ready: Ready, limit_concurrency: int) -> Operations:
    """The application with everything around it that every service has."""
    if isinstance(app, Starlette):
        install(app)
    if not isinstance(app, Application):
        return Operations(Edge(BodyLimit(app), limit_concurrency), ready)
    endpoints = Endpoints(app)
    return Operations(Edge(BodyLimit(endpoints), limit_concurrency, endpoints.find), ready)


async def serve(
    settings: ServiceSettings,
    app: ASGIApp,
    rpc: RpcServer | None,
    ready: Ready,
    background: Sequence[Coroutine[Any, Any, None]] = (),
) -> None:
    """Serve until SIGTERM or SIGINT, then stop accepting, finish what is under way and return.

    A Starlette application's lifespan is run. `background` are the service's followers and the like; they are
    cancelled at the end, and one that fails ends the process with status 1, as does an address that is taken (one
    line on standard error). A second signal does not wait for anything.
    """
    try:
        refuse_exposed_demo(settings)
        listener = listen(settings.http_bind)
    except BaseException:
        _close(background)
        raise
    operations = layers(app, ready, settings.http_limit_concurrency)
    server = _Server(
        uvicorn.Config(
            operations,
            http=protocol_class(room_for(settings.http_limit_concurrency * _CONNECTIONS_EACH)),
            loop="none",
            ws="none",
            lifespan="on" if isinstance(app, Starlette) else "off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=ceil(settings.drain_seconds),
        )
    )
    try:
        if rpc is not None:
            await rpc.start()
    except BaseException:
        listener.close()
        _close(background)
        raise
    files = (settings.tls_certificate_file, settings.issuer_ca_file)
    renewal = Renewal(filter(None, files), settings.renewal_seconds)
    try:
        await _Life(operations, server, rpc, settings.drain_seconds, renewal).run(listener, background)
    finally:
        await asyncio.to_thread(spans.end)


def run(main: Coroutine[Any, Any, None]) -> NoReturn:
    """Run a service's `main` and end the process: 0 when it was told to stop, 1 with one line when it cannot go on."""
    core_dumps.leave_none()
    try:
        uvloop.run(main)
    except KeyboardInterrupt:
        sys.exit(130)
    except Refusal as refusal:
        sys.exit(f"stagedoor: {refusal.message}")
    except Exception as failure:  # noqa: BLE001  (the last place where anything can be said)
        _log.critical("ended", error=type(failure).__name__, reason=str(failure), course=course_of(failure))
        sys.exit(1)
    sys.exit(0)


class _Server(uvicorn.Server):
    """Uvicorn without its own handling of signals: there is more to stop than HTTP."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


class _Life:
    """From the first request to the last."""

    def __init__(
        self, operations: Operations, server: _Server, rpc: RpcServer | None, grace: float, renewal: Renewal
    ) -> None:
        self._operations = operations
        self._server = server
        self._rpc = rpc
        self._grace = grace
        self._renewal = renewal
        self._told = asyncio.Event()
        self._failed = False

    async def run(self, listener: socket, background: Sequence[Coroutine[Any, Any, None]]) -> None:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._signalled)
        http = loop.create_task(self._server.serve([listener]))
        told = loop.create_task(self._told.wait())
        tasks = [loop.create_task(work) for work in (*background, self._until_renewed())]
        _spare_the_collector()
        _log.info("serving", http=listener.getsockname()[1], grpc=0 if self._rpc is None else self._rpc.port)
        try:
            await self._until_end(http, told, tasks)
        finally:
            await self._stop(http, told, tasks)
            for number in _SIGNALS:
                loop.remove_signal_handler(number)
        if self._failed:
            raise SystemExit(1)

    async def _until_end(
        self, http: "asyncio.Task[None]", told: "asyncio.Task[bool]", tasks: "list[asyncio.Task[None]]"
    ) -> None:
        """Return when it was told to stop or something failed; background work that is done is simply done."""
        watched: set[asyncio.Task[Any]] = {http, told, *tasks}
        while not self._failed and not told.done():
            done, watched = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {told}:
                failure = None if task.cancelled() else task.exception()
                if task is http or task.cancelled() or failure is not None:
                    self._failed = True
                    self._report(task, failure)

    async def _until_renewed(self) -> None:
        """Whoever starts the process again starts it with the new certificate."""
        await self._renewal.due()
        _log.info("certificate_renewed")
        self._told.set()

    def _report(self, task: "asyncio.Task[Any]", failure: BaseException | None) -> None:
        name = getattr(task.get_coro(), "__qualname__", "work")
        if failure is None:
            _log.critical("background_ended", work=name, reason="it ended by itself")
        else:
            reason = failure.message if isinstance(failure, Refusal) else str(failure)
            _log.critical(
                "background_ended",
                work=name,
                error=type(failure).__name__,
                reason=reason,
                course=course_of(failure),
            )

    async def _stop(
        self, http: "asyncio.Task[None]", told: "asyncio.Task[bool]", tasks: "list[asyncio.Task[None]]"
    ) -> None:
        self._operations.draining = True
        self._server.should_exit = True
        told.cancel()
        ending = [http]
        if self._rpc is not None:
            ending.append(asyncio.ensure_future(self._rpc.stop(self._grace)))
        await asyncio.wait(ending, timeout=self._grace + 2)
        for task in (*tasks, *ending):
            task.cancel()
        await asyncio.gather(told, *tasks, *ending, return_exceptions=True)
        _log.info("stopped", failed=self._failed)

    def _signalled(self) -> None:
        if self._told.is_set():
            self._server.force_exit = True
            if self._rpc is not None:
                self._hurry = asyncio.ensure_future(self._rpc.stop(None))
        self._told.set()


def _spare_the_collector() -> None:
    """Leave what is there now out of garbage collection: it stays for as long as the process does.

    Modules, messages and models are some hundred thousand objects, and requests wait while they are gone through.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTED_AFTER)


def _close(background: Sequence[Coroutine[Any, Any, None]]) -> None:
    for work in background:
        work.close()
