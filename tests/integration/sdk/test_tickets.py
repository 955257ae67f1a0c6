"""The examples of an API, run as they stand; and with them the interceptors and the guard in a thread."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import grpc
import httpx
import pytest
from grpc import aio

from stagedoor.clock import since_boot
from stagedoor.denials import Denial, DenialKind, DenialRule, DenialView, Snapshot
from stagedoor.guard import Guard
from stagedoor.interceptors import GuardInterceptor, ThreadGuardInterceptor, allowed
from stagedoor.keys import StaticKeys
from stagedoor.thread import GuardThread
from stagedoor.verdict import Allowed, Denied, Reason
from tests.support.dpop import ProofKey
from tests.support.ports import free_port
from tests.support.reference_tokens import Desk, make
from tests.support.sdk_tokens import AUDIENCE, ISSUER, SigningKey, claims
from tests.support.work import eventually
from tickets import api, rpc, rpc_threads
from tickets.worker import Job, work

_KEY = SigningKey()
_DISABLED = Denial(number=1, position=500, epoch=1, kind=DenialKind.CLIENT, id="com.gone/app", rule=DenialRule.STANDING)


class FilledFeed:
    """A feed that has one denial and stays fresh."""

    async def run(self, view: DenialView) -> None:
        view.replace(Snapshot(position=1000, number=1, epoch=1, denials=(_DISABLED,)), since_boot())
        while True:
            await self.ping_view(view)
            await asyncio.sleep(0.5)

    async def ping_view(self, view: DenialView) -> None:
        view.vouch(1000, 1, 1, since_boot())

    async def ping(self) -> None:
        return


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def make_guard(desk: Desk) -> Callable[[], Guard]:
    return lambda: Guard(
        issuer=ISSUER, audience=AUDIENCE, feed=FilledFeed(), keys=StaticKeys([_KEY.public]), online=desk, wait=0.05
    )


@pytest.fixture
async def guard(make_guard: Callable[[], Guard]) -> AsyncIterator[Guard]:
    async with make_guard() as running:
        await eventually(running.ready)
        yield running


@pytest.fixture
def guard_thread(make_guard: Callable[[], Guard]) -> Iterator[GuardThread]:
    with GuardThread(make_guard) as running:
        deadline, moment = since_boot() + 10, threading.Event()
        while not running.ready():
            assert since_boot() < deadline
            moment.wait(0.01)
        yield running


async def test_the_http_api(make_guard: Callable[[], Guard], desk: Desk) -> None:
    checked = make_guard()
    app = api.build(checked, "https://api.example.com", ISSUER)
    transport = httpx.ASGITransport(app)
    async with checked, httpx.AsyncClient(transport=transport, base_url="https://api.example.com") as client:
        await eventually(checked.ready)
        assert (await client.get("/readyz")).status_code == 200
        answer = await client.get("/tickets")
        assert answer.status_code == 401
        assert f"https://api.example.com{api.METADATA}" in answer.headers["www-authenticate"]
        assert (await client.get(api.METADATA)).json()["resource"] == AUDIENCE
        reader, writer = _KEY.sign(claims(scope="read")), _KEY.sign(claims(scope="read update", jti="w"))
        bearer = {"Authorization": f"Bearer {reader}"}
        assert (await client.post("/tickets", headers=bearer, json={"seat": "A1"})).status_code == 403
        bearer = {"Authorization": f"Bearer {writer}"}
        answer = await client.post("/tickets", headers=bearer, json={"seat": "A1"})
        assert answer.json() == {"seat": "A1", "by": "sub-freddie", "through": "com.backstagehub/app"}
        key = desk.issue(scope="read")
        answer = await client.get("/tickets", headers={"X-Api-Key": key})
        assert [sold["seat"] for sold in answer.json()["sold"]] == ["A1"]
        gone = {"Authorization": f"Bearer {_KEY.sign(claims(client_id='com.gone/app'))}"}
        assert (await client.get("/tickets", headers=gone)).status_code == 401


Metadata = tuple[tuple[str, str], ...]


def bearer(**changes: Any) -> Metadata:
    return (("authorization", f"Bearer {_KEY.sign(claims(**changes))}"),)


def _calls(desk: Desk) -> list[tuple[Metadata, grpc.StatusCode]]:
    token, key = _KEY.sign(claims()), desk.issue(scope="update")
    return [
        (bearer(), grpc.StatusCode.OK),
        ((("x-api-key", key),), grpc.StatusCode.OK),
        ((("authorization", f"bearer {key}"),), grpc.StatusCode.OK),
        ((), grpc.StatusCode.UNAUTHENTICATED),
        ((("authorization", token),), grpc.StatusCode.UNAUTHENTICATED),
        ((("authorization", "Basic eDp5"),), grpc.StatusCode.UNAUTHENTICATED),
        (bearer(scope="read"), grpc.StatusCode.PERMISSION_DENIED),
        (bearer(exp=1), grpc.StatusCode.UNAUTHENTICATED),
        (bearer(client_id="com.gone/app"), grpc.StatusCode.UNAUTHENTICATED),
        (bearer(pos=2000, jti="ahead"), grpc.StatusCode.UNAUTHENTICATED),
        ((("x-api-key", token),), grpc.StatusCode.INVALID_ARGUMENT),
        ((("x-api-key", make()),), grpc.StatusCode.UNAUTHENTICATED),
        ((*bearer(), ("x-api-key", key)), grpc.StatusCode.INVALID_ARGUMENT),
        ((*bearer(), *bearer()), grpc.StatusCode.INVALID_ARGUMENT),
    ]


async def _sell(channel: aio.Channel, metadata: Metadata) -> tuple[grpc.StatusCode, bytes]:
    call = channel.unary_unary(rpc.SELL, None, None)(b'{"seat":"B2"}', metadata=metadata, timeout=10)
    try:
        answer = await call
    except aio.AioRpcError as failure:
        return failure.code(), b""
    return grpc.StatusCode.OK, answer


async def test_the_grpc_server(guard: Guard, desk: Desk) -> None:
    address = f"127.0.0.1:{free_port()}"
    server = rpc.build(guard, address)
    await server.start()
    async with aio.insecure_channel(address) as channel:
        for metadata, expected in _calls(desk):
            code, answer = await _sell(channel, metadata)
            assert code is expected
            if code is grpc.StatusCode.OK:
                assert json.loads(answer) == {"seat": "B2", "by": "sub-freddie", "through": "com.backstagehub/app"}
        desk.down = True
        code, _ = await _sell(channel, (("x-api-key", make()),))
        assert code is grpc.StatusCode.UNAVAILABLE
    await server.stop(None)


async def test_the_grpc_server_with_threads(guard_thread: GuardThread, desk: Desk) -> None:
    address = f"127.0.0.1:{free_port()}"
    server = rpc_threads.build(guard_thread, address)
    server.start()
    async with aio.insecure_channel(address) as channel:
        for metadata, expected in _calls(desk):
            code, answer = await _sell(channel, metadata)
            assert code is expected
            if code is grpc.StatusCode.OK:
                assert json.loads(answer) == {"seat": "B2", "by": "sub-freddie", "through": "com.backstagehub/app"}
        subs = [f"sub-{number}" for number in range(40)]
        answers = await asyncio.gather(*(_sell(channel, bearer(sub=sub, jti=sub)) for sub in subs))
        assert [json.loads(answer)["by"] for _, answer in answers] == subs
    await asyncio.to_thread(lambda: server.stop(None).wait())


def _answers_whom(streams: bool, threads: bool) -> Any:
    """A behaviour that answers with the `sub` of the call's token, or `nobody` where there is none."""

    def whom() -> bytes:
        try:
            return allowed().sub.encode()
        except LookupError:
            return b"nobody"

    def in_a_thread(_: Any, __: Any) -> Any:
        return iter([whom()]) if streams else whom()

    async def at_once(_: Any, __: Any) -> bytes:
        return whom()

    async def in_a_stream(_: Any, __: Any) -> AsyncIterator[bytes]:
        yield whom()

    if threads:
        return in_a_thread
    return in_a_stream if streams else at_once


@asynccontextmanager
async def _serving(guard: Guard | GuardThread, kind: str, public_url: str | None = None) -> AsyncIterator[aio.Channel]:
    """`/a.B/Do` of a kind, and `/a.B/Open` that needs no token."""
    threads, streams = isinstance(guard, GuardThread), kind.endswith("_stream")
    server: Any
    if isinstance(guard, GuardThread):
        server = grpc.server(
            ThreadPoolExecutor(2),
            interceptors=[ThreadGuardInterceptor(guard, open_methods=["/a.B/Open"], public_url=public_url)],
        )
    else:
        server = aio.server(interceptors=[GuardInterceptor(guard, open_methods=["/a.B/Open"], public_url=public_url)])
    methods = {
        "Do": getattr(grpc, f"{kind}_rpc_method_handler")(_answers_whom(streams, threads)),
        "Open": grpc.unary_unary_rpc_method_handler(_answers_whom(streams=False, threads=threads)),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.B", methods),))
    address = f"127.0.0.1:{free_port()}"
    server.add_insecure_port(address)
    started = server.start()
    if not threads:
        await started
    try:
        async with aio.insecure_channel(address) as channel:
            yield channel
    finally:
        if threads:
            await asyncio.to_thread(lambda: server.stop(None).wait())
        else:
            await server.stop(None)


async def _silent() -> AsyncIterator[bytes]:
    """Requests of a caller who listens first: one who sends into a refused call may not hear why."""
    await asyncio.Event().wait()
    yield b""


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
@pytest.mark.parametrize("threads", [False, True])
async def test_every_kind_of_method_is_guarded(
    guard: Guard, guard_thread: GuardThread, kind: str, threads: bool
) -> None:
    several = kind.startswith("stream")
    async with _serving(guard_thread if threads else guard, kind) as channel:

        async def call(requests: Any, metadata: Metadata) -> bytes:
            made = getattr(channel, kind)("/a.B/Do")(requests, metadata=metadata, timeout=10)
            return b"".join([part async for part in made]) if kind.endswith("_stream") else await made

        with pytest.raises(aio.AioRpcError) as refused:
            await call(_silent() if several else b"", ())
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert await call(iter([b""]) if several else b"", bearer()) == b"sub-freddie"
        assert await channel.unary_unary("/a.B/Open", None, None)(b"", timeout=10) == b"nobody"
        with pytest.raises(aio.AioRpcError) as missing:
            await channel.unary_unary("/a.B/Missing", None, None)(b"", metadata=bearer(), timeout=10)
        assert missing.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("public_url", [None, "https://grpc.example.com", "https://grpc.example.com/"])
@pytest.mark.parametrize("threads", [False, True])
async def test_a_call_with_a_bound_token(
    guard: Guard, guard_thread: GuardThread, threads: bool, public_url: str | None
) -> None:
    key, uri = ProofKey(), "https://grpc.example.com/a.B/Do"
    token = _KEY.sign(claims(cnf={"jkt": key.jkt}))

    def shown(*proofs: str, scheme: str = "DPoP", text: str = token) -> Metadata:
        return (("authorization", f"{scheme} {text}"), *(("dpop", one) for one in proofs))

    async with _serving(guard_thread if threads else guard, "unary_unary", public_url) as channel:

        async def code(metadata: Metadata) -> grpc.StatusCode:
            try:
                await channel.unary_unary("/a.B/Do", None, None)(b"", metadata=metadata, timeout=10)
            except aio.AioRpcError as failure:
                return failure.code()
            return grpc.StatusCode.OK

        good, plain = key.proof("POST", uri, token), _KEY.sign(claims())
        for wrong in (
            shown(),
            shown(scheme="Bearer"),
            shown(good, scheme="Bearer"),
            shown(good, key.proof("POST", uri, token)),
            shown(key.proof("GET", uri, token)),
            shown(key.proof("POST", f"{uri}More", token)),
            shown(key.proof("POST", "https://mallory.example/a.B/Do", token)),
            shown(ProofKey().proof("POST", uri, token)),
            shown(key.proof("POST", uri, plain), text=plain),
        ):
            assert await code(wrong) is grpc.StatusCode.UNAUTHENTICATED
        expected = grpc.StatusCode.UNAUTHENTICATED if public_url is None else grpc.StatusCode.OK
        assert await code(shown(good)) is expected
        assert await code(shown(good)) is grpc.StatusCode.UNAUTHENTICATED
        assert await code(shown(scheme="Bearer", text=plain)) is grpc.StatusCode.OK


def test_the_worker(guard_thread: GuardThread, desk: Desk) -> None:
    sold: list[tuple[str, str]] = []
    later: list[Job] = []
    desk.down = True
    jobs = [
        Job("C1", _KEY.sign(claims())),
        Job("C2", _KEY.sign(claims(client_id="com.gone/app"))),
        Job("C3", _KEY.sign(claims(scope="read"))),
        Job("C4", make()),
    ]
    assert work(guard_thread, jobs, lambda seat, by: sold.append((seat, by)), later.append) == 1
    assert sold == [("C1", "sub-freddie")]
    assert later == [jobs[3]]


class TestGuardThread:
    def test_it_waits_for_what_it_cannot_tell_by_itself(self, guard_thread: GuardThread, desk: Desk) -> None:
        token = desk.issue()
        assert isinstance(guard_thread.validate(token), Allowed)
        assert isinstance(guard_thread.validate(token), Allowed)
        assert desk.asked == [token]

    def test_from_many_threads_at_once(self, guard_thread: GuardThread) -> None:
        tokens = [_KEY.sign(claims(jti=str(number))) for number in range(30)]
        wrong: list[object] = []

        def check() -> None:
            for token in tokens * 20:
                verdict = guard_thread.validate(token)
                if not isinstance(verdict, Allowed):
                    wrong.append(verdict)

        threads = [threading.Thread(target=check) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []

    def test_a_question_that_takes_too_long_is_a_refusal(self, make_guard: Callable[[], Guard], desk: Desk) -> None:
        async def never(*_: object, **__: object) -> Any:
            await asyncio.sleep(60)

        desk.validate = never  # type: ignore[method-assign]
        with GuardThread(make_guard, timeout=0.1) as running:
            verdict = running.validate(make())
        assert isinstance(verdict, Denied)
        assert verdict.reason is Reason.NOT_LOOKED_UP

    def test_what_goes_wrong_in_the_making_is_told(self) -> None:
        def fail() -> Guard:
            raise ValueError("no such issuer")

        with pytest.raises(ValueError, match="no such issuer"), GuardThread(fail):
            pass
