"""A service of its own process, for tests of how services begin and end.

program.py <port> [<what the background does>]
"""

import asyncio
import sys

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from shared.errors import Unavailable
from shared.http.serve import Readiness, run, serve
from shared.settings import ServiceSettings, load
from shared.telemetry import configure_logging


async def _slow(_: Request) -> Response:
    sys.stdout.write("entered\n")
    sys.stdout.flush()
    await asyncio.sleep(1)
    return PlainTextResponse("slow")


async def _forever(_: Request) -> Response:
    sys.stdout.write("entered\n")
    sys.stdout.flush()
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


async def _ready() -> Readiness:
    return Readiness()


async def _background(what: str) -> None:
    if what == "crash":
        raise RuntimeError("the follower lost its way, Bearer abcdefghijklmnop")
    if what == "refuse":
        raise Unavailable("log_unavailable", "the log cannot be reached")
    if what == "finish":
        return
    try:
        await asyncio.Event().wait()
    finally:
        sys.stdout.write("background ended\n")
        sys.stdout.flush()


async def _main(what: str) -> None:
    settings = load(ServiceSettings)
    configure_logging("program", settings.log_level)
    if what == "unreachable":
        raise Unavailable("log_unavailable", "the log cannot be reached")
    app = Starlette(routes=[Route("/slow", _slow), Route("/forever", _forever)])
    await serve(settings, app, None, _ready, [_background(what)])


run(_main(sys.argv[1]))
