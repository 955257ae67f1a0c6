"""Tickets over gRPC once more, on a server with threads."""

import json
from concurrent.futures import ThreadPoolExecutor

import grpc

from stagedoor.interceptors import ThreadGuardInterceptor, allowed
from stagedoor.thread import GuardThread
from tickets.rpc import SELL


def sell(request: bytes, _: grpc.ServicerContext) -> bytes:
    """Sell a seat, in the name of whoever's token came along."""
    who = allowed()
    return json.dumps({"seat": json.loads(request)["seat"], "by": who.sub, "through": who.client_id}).encode()


def build(guard: GuardThread, address: str) -> grpc.Server:
    """The server; the guard has to be running beside it. Use `add_secure_port` in production."""
    server = grpc.server(ThreadPoolExecutor(4), interceptors=[ThreadGuardInterceptor(guard, scopes={SELL: ["update"]})])
    handlers = {"Sell": grpc.unary_unary_rpc_method_handler(sell)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("tickets.Tickets", handlers),))
    server.add_insecure_port(address)
    return server
