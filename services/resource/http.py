"""The API over HTTP: translate, call, translate the answer. Every request has an accepted token, or no answer.

    GET  /api/tours        scope read     the user's tours, a page at a time
    POST /api/tours        scope update   one more
    GET  /api/tours/{id}   scope read
    PUT  /api/tours/{id}   scope update   all of it anew
    DELETE                 scope update
    the same for /api/merchandise

Rows are those of the token's `sub`; anybody else's are not found. What is read is answered only after it has been
recorded who read it.
"""

from collections.abc import Awaitable, Callable
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.resource import requests
from services.resource.collection import MERCHANDISE, TOURS, Collection, shown
from services.resource.domain.rows import not_found
from services.resource.events import DataRead
from services.resource.read_model import After, project
from services.resource.requests import Asked, asked
from shared.handle import Handled, handle
from shared.ids import new_ordered_id
from shared.log.append import Append
from shared.log.log import Log
from stagedoor import Guard
from stagedoor.asgi import GuardMiddleware, require
from stagedoor.certificate import ClientCertificates
from stagedoor.dpop import ALGORITHMS

Endpoint = Callable[[Request], Awaitable[Response]]
POSITION = "stagedoor-position"
"""Header of the answer to a write: its position in the log."""
SCOPES = ("read", "update")


def identifier(origin: str) -> str:
    """The API's resource identifier: the audience of its tokens."""
    return f"{origin}/api"


def metadata_path(origin: str) -> str:
    """Where its metadata is (RFC 9728 section 3.1)."""
    return f"/.well-known/oauth-protected-resource{urlsplit(identifier(origin)).path}"


def application(
    guard: Guard, log: Log, *, origin: str, issuer: str, client_certificates: ClientCertificates | None = None
) -> Starlette:
    """The API."""
    path = metadata_path(origin)
    document = msgspec.json.encode(
        {
            "resource": identifier(origin),
            "authorization_servers": [issuer],
            "scopes_supported": list(SCOPES),
            "bearer_methods_supported": ["header"],
            "dpop_signing_alg_values_supported": list(ALGORITHMS),
            **({} if client_certificates is None else {"tls_client_certificate_bound_access_tokens": True}),
            "resource_name": "Tours and merchandise",
        }
    )

    async def metadata(_: Request) -> Response:
        return Response(document, media_type="application/json", headers={"cache-control": "public, max-age=3600"})

    return Starlette(
        routes=[Route(path, metadata), *Rows(log, TOURS).routes(), *Rows(log, MERCHANDISE).routes()],
        middleware=[
            Middleware(
                cast("Any", GuardMiddleware),  # an ASGI middleware; Starlette has types of its own for the same
                guard=guard,
                resource_metadata_url=f"{origin}{path}",
                open_paths=(path,),
                client_certificates=client_certificates,
            )
        ],
    )


class Rows:
    """The addresses of one collection."""

    def __init__(self, log: Log, collection: Collection[Any, Any, Any]) -> None:
        self._log = log
        self._of = collection

    def routes(self) -> list[Route]:
        """Where it is reached, and with which scopes."""
        path, read, update = self._of.path, require("read"), require("update")
        return [
            Route(path, read(self.page), methods=["GET"]),
            Route(path, update(self.add), methods=["POST"]),
            Route(f"{path}/{{row_id}}", read(self.one), methods=["GET"]),
            Route(f"{path}/{{row_id}}", update(self.change), methods=["PUT"]),
            Route(f"{path}/{{row_id}}", update(self.remove), methods=["DELETE"]),
        ]

    async def page(self, request: Request) -> Response:
        """A page of the list; `next` is there if there is another."""
        origin = asked(request)
        after, limit = requests.page_of(request)
        found = await self._of.read_page(self._log.pool, origin.author.sub, after, limit + 1)
        rows, more = found[:limit], len(found) > limit
        await self._record(origin, self._of.name, len(rows))
        answer: dict[str, Any] = {self._of.name: [shown(row_id, row) for row_id, row in rows]}
        if more:
            last_id, last = rows[-1]
            answer["next"] = requests.cursor(After(self._of.key(last), last_id))
        return _json(answer)

    async def one(self, request: Request) -> Response:
        """One row."""
        origin, row_id = asked(request), requests.row_id(request)
        row = None if row_id is None else await self._of.read(self._log.pool, origin.author.sub, row_id)
        await self._record(origin, self._of.one, 0 if row is None else 1)
        if row_id is None or row is None:
            raise not_found(self._of.one)
        return _json(shown(row_id, row))

    async def add(self, request: Request) -> Response:
        """One more row."""
        origin = asked(request)
        row = self._of.row(await requests.read_body(request, self._of.body))
        row_id = origin.new_row_id
        done = await self._carry_out(origin, row_id, self._of.add(row_id, origin.author, row))
        standing = self._of.standing(done.state)
        # A repeated request may find that what it added is gone by now.
        body = {"id": row_id} if standing is None else shown(row_id, standing)
        return _json(body, done.position, status=201, location=f"{self._of.path}/{row_id}")

    async def change(self, request: Request) -> Response:
        """All of a row anew."""
        origin, row_id = asked(request), self._row_id(request)
        row = self._of.row(await requests.read_body(request, self._of.body))
        done = await self._carry_out(origin, row_id, self._of.change(row_id, origin.author, row))
        return _json(shown(row_id, self._of.standing(done.state) or row), done.position)

    async def remove(self, request: Request) -> Response:
        """A row no longer."""
        origin, row_id = asked(request), self._row_id(request)
        done = await self._carry_out(origin, row_id, self._of.remove(row_id, origin.author))
        return Response(status_code=204, headers={POSITION: str(done.position)})

    def _row_id(self, request: Request) -> str:
        row_id = requests.row_id(request)
        if row_id is None:
            raise not_found(self._of.one)
        return row_id

    async def _carry_out(self, origin: Asked, row_id: str, command: Any) -> Handled[Any]:
        return await handle(self._log, self._of.decider, row_id, command, context=origin.context, project=project)

    async def _record(self, origin: Asked, what: str, rows: int) -> None:
        """Record the access. If that is not possible, there is no answer either."""
        access_id = new_ordered_id()
        read = DataRead(
            access_id=access_id,
            sub=origin.author.sub,
            client_id=origin.author.client_id,
            jti=origin.verdict.jti,
            what=what,
            rows=rows,
        )
        await self._log.append(
            Append(stream=f"access-{access_id}", expected_version=None, events=(read,), context=origin.context)
        )


def _json(value: Any, position: int | None = None, *, status: int = 200, location: str | None = None) -> Response:
    headers = {} if position is None else {POSITION: str(position)}
    if location is not None:
        headers["location"] = location
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")
