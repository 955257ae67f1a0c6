"""Endpoints that stand before the framework are held to the same rules as everything behind it."""

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from shared.errors import Kind, Refusal
from shared.http.body import BODY_BYTES
from shared.http.endpoint import Application, Call, Reply, refused
from tests.integration.http.serving import Running, body_of, serving, status_of
from tests.support.log_lines import LogLines

_TEXT = ((b"content-type", b"text/plain"),)


async def _count(call: Call) -> Reply:
    """How long the body is, and what was said of it."""
    (types,) = call.values(b"content-type")
    return Reply(200, _TEXT, f"{len(call.body)} {','.join(types)}".encode())


async def _refuse(_: Call) -> Reply:
    raise Refusal(Kind.FORBIDDEN, "access_denied", "not you")


async def _answer_refusal(_: Call) -> Reply:
    return refused(Refusal(Kind.INVALID, "invalid_request", "no"), {"Connection": "close"})


async def _break(_: Call) -> Reply:
    raise ValueError("Bearer abcdefghijklmnop")


async def _smuggle(_: Call) -> Reply:
    return Reply(200, ((b"x-name", b"a\r\nset-cookie: b=c"),), b"")


async def _nothing(_: Call) -> Reply:
    return Reply(204, (), b"")


@pytest_asyncio.fixture
async def server(log_lines: LogLines) -> AsyncIterator[Running]:
    posts = {
        "/count": _count,
        "/refuse": _refuse,
        "/answer-refusal": _answer_refusal,
        "/break": _break,
        "/smuggle": _smuggle,
    }
    app = Application([], {path: {"POST": endpoint, "OPTIONS": _nothing} for path, endpoint in posts.items()})
    async with serving(app) as running:
        yield running


async def test_an_answer_is_whole_and_careful(server: Running) -> None:
    answer = await server.client.post("/count", content=b"12345", headers={"Content-Type": "a/b"})
    assert (answer.status_code, answer.text) == (200, "5 a/b")
    assert answer.headers["content-length"] == "5"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert len(answer.headers["correlation-id"]) == 22
    assert "date" in answer.headers


async def test_it_is_logged_and_counted_like_every_other(server: Running, log_lines: LogLines) -> None:
    mine = "A" * 22
    answer = await server.client.post("/count", content=b"1", headers={"Correlation-Id": mine})
    assert answer.headers["correlation-id"] == mine
    (line,) = log_lines.named("request")
    assert (line["method"], line["path"], line["status"], line["correlation_id"]) == ("POST", "/count", 200, mine)
    assert (line["level"], line["service"], line["module"]) == ("info", "test", "shared.http.edge")
    assert line["milliseconds"] >= 0
    metrics = (await server.client.get("/metrics")).text
    assert 'stagedoor_http_requests_total{method="POST",route="/count",status="200"}' in metrics


async def test_requests_in_one_packet_are_answered_in_their_order(server: Running) -> None:
    def request(body: bytes, *more: bytes) -> bytes:
        lines = (b"POST /count HTTP/1.1", b"Host: h", b"Content-Length: %d" % len(body), *more)
        return b"\r\n".join((*lines, b"", body))

    answer = await server.raw(request(b"1") + request(b"22") + request(b"333", b"Connection: close"))
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert [answer.find(b"\r\n\r\n%d " % count) > 0 for count in (1, 2, 3)] == [True] * 3
    assert answer.find(b"\r\n\r\n1 ") < answer.find(b"\r\n\r\n2 ") < answer.find(b"\r\n\r\n3 ")
    assert answer.count(b"connection: close") == 1


async def test_a_body_in_parts_is_put_together(server: Running) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for part in (b"1", b"23", b"456"):
            yield part
            await asyncio.sleep(0.01)

    answer = await server.client.post("/count", content=parts())
    assert answer.text.startswith("6 ")


async def test_a_body_that_is_too_long_is_refused_and_the_client_hears_why(server: Running) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(2 * BODY_BYTES // 4096):
            yield b"x" * 4096

    answer = await server.client.post("/count", content=endless())
    assert (answer.status_code, answer.json()["error"]) == (413, "request_too_large")
    assert answer.headers["connection"] == "close"


async def test_refusals_have_the_one_shape(server: Running) -> None:
    answer = await server.client.post("/refuse")
    assert (answer.status_code, answer.json()["error"]) == (403, "access_denied")
    raw = await server.raw(b"POST /answer-refusal HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
    assert status_of(raw) == 400
    assert b'"invalid_request"' in body_of(raw)  # and the connection ended, as was said, or nothing would come back


async def test_other_methods_are_refused(server: Running) -> None:
    answer = await server.client.get("/count")
    assert (answer.status_code, answer.json()["error"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "OPTIONS, POST"
    answer = await server.client.options("/count")
    assert answer.status_code == 204
    assert "content-length" not in answer.headers
    assert "transfer-encoding" not in answer.headers


async def test_what_is_unforeseen_is_told_to_nobody(server: Running, log_lines: LogLines) -> None:
    answer = await server.client.post("/break")
    assert (answer.status_code, answer.json()["error"]) == (500, "server_error")
    (line,) = log_lines.named("http_failed")
    assert "abcdefghijklmnop" not in str(line)
    assert "ValueError" in line["course"]


async def test_no_header_can_be_smuggled_in(server: Running) -> None:
    answer = await server.client.post("/smuggle")
    assert answer.status_code == 500
    assert "set-cookie" not in answer.headers


async def test_other_paths_come_to_the_application(server: Running) -> None:
    answer = await server.client.post("/elsewhere")
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")
    answer = await server.client.post("/count/")
    assert answer.status_code == 404
