"""Tickets over HTTP: reading needs `read`, selling needs `update`, and each sale says who made it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from stagedoor import Guard
from stagedoor.asgi import GuardMiddleware, require
from stagedoor.dpop import ALGORITHMS

METADATA = "/.well-known/oauth-protected-resource/tickets"


def build(guard: Guard, origin: str, authorization_server: str) -> Starlette:
    """The application. `origin` is where it is reached, `authorization_server` is the issuer."""
    sold: list[dict[str, str]] = []

    @require("read")
    async def tickets(_: Request) -> JSONResponse:
        return JSONResponse({"sold": sold})

    @require("update")
    async def sell(request: Request) -> JSONResponse:
        who = request.scope["stagedoor"]
        sold.append({"seat": (await request.json())["seat"], "by": who.sub, "through": who.client_id})
        return JSONResponse(sold[-1], status_code=201)

    async def metadata(_: Request) -> JSONResponse:
        """Where to get a token (RFC 9728)."""
        return JSONResponse(
            {
                "resource": guard.audience,
                "authorization_servers": [authorization_server],
                "scopes_supported": ["read", "update"],
                "bearer_methods_supported": ["header"],
                "dpop_signing_alg_values_supported": list(ALGORITHMS),
            }
        )

    async def readyz(_: Request) -> JSONResponse:
        return JSONResponse({"ready": guard.ready()}, status_code=200 if guard.ready() else 503)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with guard:
            yield

    return Starlette(
        routes=[
            Route("/tickets", tickets, methods=["GET"]),
            Route("/tickets", sell, methods=["POST"]),
            Route(METADATA, metadata),
            Route("/readyz", readyz),
        ],
        middleware=[
            Middleware(
                GuardMiddleware,
                guard=guard,
                resource_metadata_url=f"{origin}{METADATA}",
                open_paths=[METADATA, "/readyz"],
            )
        ],
        lifespan=lifespan,
    )
