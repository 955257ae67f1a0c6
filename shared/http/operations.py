"""What the operator's machinery asks of a service: `/healthz`, `/readyz`, `/metrics` on its internal port."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from msgspec.json import encode
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.errors import Refusal
from shared.http.headers import secured
from shared.telemetry import course_of, logger

_log = logger(__name__)
READY_SECONDS: Final = 2.0
PATHS: Final = frozenset({"/healthz", "/readyz", "/metrics"})


@dataclass(frozen=True, slots=True)
class Check:
    """Whether one thing that a service needs is there."""

    ok: bool
    detail: str = ""
    """For the operator; never anything secret."""
    lag: int | None = None
    """For what follows the log: how many positions it is behind."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a service can do its work, and why not."""

    checks: Mapping[str, Check] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """Whether everything that it needs is there."""
        return all(check.ok for check in self.checks.values())


Ready = Callable[[], Awaitable[Readiness]]


class Operations:
    """ASGI middleware that answers the three paths, before any limit and without a line in the access log."""

    def __init__(self, app: ASGIApp, ready: Ready) -> None:
        self._app = app
        self._ready = ready
        self.draining = False
        """Set when the service is going down: it is not ready any more."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["method"] not in {"GET", "HEAD"}:
            await self._app(scope, receive, send)
            return
        match scope["path"]:
            case "/healthz":
                response = Response(b'{"alive":true}', media_type="application/json")
            case "/readyz":
                response = await self._readiness()
            case "/metrics":
                response = Response(generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
            case _:
                await self._app(scope, receive, send)
                return
        response.raw_headers = secured(response.raw_headers)
        await response(scope, receive, send)

    async def _readiness(self) -> Response:
        if self.draining:
            found = Readiness({"serving": Check(ok=False, detail="stopping")})
        else:
            try:
                async with asyncio.timeout(READY_SECONDS):
                    found = await self._ready()
            except TimeoutError:
                found = Readiness({"readiness": Check(ok=False, detail="no answer in time")})
            except Refusal as refusal:
                found = Readiness({"readiness": Check(ok=False, detail=refusal.code)})
            except Exception as failure:  # noqa: BLE001  (an unready service says so, whatever is wrong with it)
                _log.error("readiness_failed", course=course_of(failure))
                found = Readiness({"readiness": Check(ok=False, detail="failed")})
        checks = {
            name: {"ok": check.ok, "detail": check.detail} | ({} if check.lag is None else {"lag": check.lag})
            for name, check in found.checks.items()
        }
        return Response(
            encode({"ready": found.ready, "checks": checks}),
            200 if found.ready else 503,
            media_type="application/json",
        )
