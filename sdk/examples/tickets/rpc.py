"""Tickets over gRPC, on grpc.aio. The messages are JSON, so that there is nothing to generate."""

import json
from typing import Any

import grpc
from grpc import aio

from stagedoor import Guard
from stagedoor.interceptors import GuardInterceptor, allowed

SELL = "/tickets.Tickets/Sell"


async def sell(request: bytes, _: aio.ServicerContext[Any, Any]) -> bytes:
    """Sell a seat, in the name of whoever's token came along."""
    who = allowed()
    return json.dumps({"seat": json.loads(request)["seat"], "by": who.sub, "through": who.client_id}).encode()


def build(guard: Guard, address: str) -> aio.Server:
    """The server; the guard has to be running beside it. Use `add_secure_port` in production."""
    server = aio.server(interceptors=[GuardInterceptor(guard, scopes={SELL: ["update"]})])
    handlers = {"Sell": grpc.unary_unary_rpc_method_handler(sell)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("tickets.Tickets", handlers),))
    server.add_insecure_port(address)
    return server
