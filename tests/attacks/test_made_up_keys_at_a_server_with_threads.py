"""Made-up keys at a gRPC server with threads: while the issuer is asked about one, everybody else is to be served."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from services.token_issuer.events import ReferenceKind
from services.token_issuer.references.texts import new_reference
from stagedoor.feed import Answer, OnlineError
from stagedoor.guard import Guard
from stagedoor.interceptors import ThreadGuardInterceptor, allowed
from stagedoor.thread import GuardThread
from tests.support.sdk_tokens import SigningKey, claims, guard

KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
PATIENCE_SECONDS = 30.0


class Hanging:
    """An issuer that does not answer until it is told to."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.free = threading.Event()

    async def validate(self, token: str, **_: object) -> Answer:
        assert token.startswith("stagedoor_")
        self.asked.set()
        await asyncio.to_thread(self.free.wait)
        raise OnlineError("it has no time")


def _who(_: object, __: grpc.ServicerContext) -> bytes:
    return allowed().sub.encode()


def _who_again(_: object, __: grpc.ServicerContext) -> Iterator[bytes]:
    yield allowed().sub.encode()


@pytest.fixture
def issuer() -> Iterator[Hanging]:
    hanging = Hanging()
    yield hanging
    hanging.free.set()


@pytest.fixture
def channel(key: SigningKey, issuer: Hanging) -> Iterator[grpc.Channel]:
    """To a server with two threads."""

    def make() -> Guard:
        return guard(key, online=issuer)

    with GuardThread(make, timeout=60.0) as guarding:
        server = grpc.server(ThreadPoolExecutor(2), interceptors=[ThreadGuardInterceptor(guarding)])
        handlers = {
            kind: getattr(grpc, f"{kind}_rpc_method_handler")(_who_again if kind.endswith("_stream") else _who)
            for kind in KINDS
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.B", handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as opened:
            yield opened
        issuer.free.set()
        server.stop(None).wait()


def ask(channel: grpc.Channel, kind: str, token: str) -> Any:
    """Call a method of a kind; what it answers, or for one with an answer what will come."""
    method = getattr(channel, kind)(f"/a.B/{kind}")
    request = iter([b""]) if kind.startswith("stream_") else b""
    metadata = (("authorization", f"Bearer {token}"),)
    return method(request, metadata=metadata, timeout=PATIENCE_SECONDS)


@pytest.mark.parametrize("kind", KINDS)
def test_everybody_else_is_served_meanwhile(channel: grpc.Channel, issuer: Hanging, key: SigningKey, kind: str) -> None:
    made_up = new_reference(ReferenceKind.PERSONAL)
    waiting = channel.unary_unary("/a.B/unary_unary", None, None).future(
        b"", metadata=(("authorization", f"Bearer {made_up}"),), timeout=60
    )
    assert issuer.asked.wait(PATIENCE_SECONDS)
    answer = ask(channel, kind, key.sign(claims()))
    assert (b"".join(answer) if kind.endswith("_stream") else answer) == b"sub-freddie"
    assert not waiting.done()
    issuer.free.set()
    with pytest.raises(grpc.RpcError) as refused:
        waiting.result(timeout=PATIENCE_SECONDS)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_comes_in_without_a_token(channel: grpc.Channel, kind: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        b"".join(ask(channel, kind, "eyJ.eyJ.x"))
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
