"""What goes out: errors, headers, the access log."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from shared.errors import Kind, Refusal, Unavailable
from shared.http.errors import STATUS
from shared.ids import new_id
from shared.telemetry import correlation
from tests.integration.http.serving import serving
from tests.support.log_lines import LogLines

SENT = "hunter2"
"""Stands for what somebody sent."""


async def _refuse(request: Request) -> Response:
    raise Refusal(Kind(request.path_params["kind"]), "some_reason", 'it is "so": größer')


async def _busy(_: Request) -> Response:
    raise Unavailable("log_unavailable", "the log at 10.0.0.7 cannot be reached", retry_after=2.2)


async def _invalid_client(_: Request) -> Response:
    raise Refusal(Kind.UNAUTHENTICATED, "invalid_client", "client authentication failed")


async def _invalid_token(_: Request) -> Response:
    raise Refusal(Kind.UNAUTHENTICATED, "invalid_token", "the access token is not valid")


async def _break(request: Request) -> Response:
    raise ValueError(f"cannot handle {request.query_params['code']}")


async def _break_late(_: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield b"begun"
        raise ValueError(SENT)

    return StreamingResponse(parts())


async def _redirect(request: Request) -> Response:
    answer = RedirectResponse("/")
    answer.raw_headers = [(b"location", request.query_params["to"].encode())]
    return answer


async def _own(_: Request) -> Response:
    return PlainTextResponse(
        correlation.get(),
        headers={"Cache-Control": "max-age=60", "Content-Security-Policy": "default-src 'self'"},
    )


def _app() -> Starlette:
    return Starlette(
        routes=[
            Route("/refuse/{kind}", _refuse),
            Route("/busy", _busy),
            Route("/invalid-client", _invalid_client, methods=["POST"]),
            Route("/invalid-token", _invalid_token),
            Route("/break", _break),
            Route("/break-late", _break_late),
            Route("/redirect", _redirect),
            Route("/own", _own),
            Mount("/id", routes=[Route("/connect/token", _own, methods=["POST"])]),
        ]
    )


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.UNAVAILABLE])
async def test_a_refusal_is_json_with_the_status_of_its_kind(kind: Kind) -> None:
    async with serving(_app()) as running:
        answer = await running.client.get(f"/refuse/{kind}")
        assert answer.status_code == STATUS[kind]
        assert answer.headers["content-type"] == "application/json"
        # RFC 6749 section 5.2: no quotation mark, no backslash, nothing outside of ASCII.
        assert answer.json() == {"error": "some_reason", "error_description": "it is 'so': gr''er"}


async def test_unavailable_says_when_to_try_again_and_not_what_is_missing() -> None:
    async with serving(_app()) as running:
        answer = await running.client.get("/busy")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")
        assert answer.json()["error"] == "temporarily_unavailable"
        assert "log" not in answer.text
        assert "10.0.0.7" not in answer.text


async def test_a_401_has_a_challenge() -> None:
    async with serving(_app()) as running:
        assert (await running.client.post("/invalid-client")).headers["www-authenticate"].startswith("Basic ")
        challenge = (await running.client.get("/invalid-token")).headers["www-authenticate"]
        assert challenge == 'Bearer realm="stagedoor", error="invalid_token"'


async def test_what_is_unforeseen_is_logged_and_told_to_nobody(log_lines: LogLines) -> None:
    async with serving(_app()) as running:
        answer = await running.client.get("/break", params={"code": "hunter2"})
        assert answer.status_code == 500
        assert answer.json() == {"error": "server_error", "error_description": "something went wrong on this side"}
        line = log_lines.named("http_failed")
        assert len(line) == 1
        assert "builtins.ValueError" in line[0]["course"]
        assert line[0]["correlation_id"] == answer.headers["correlation-id"]
    log_lines.read()
    assert "hunter2" not in log_lines.text


async def test_an_application_without_handlers_of_its_own_fares_the_same(log_lines: LogLines) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if scope["path"] == "/refuse":
            raise Refusal(Kind.FORBIDDEN, "some_reason", "so")
        if scope["path"] == "/break":
            raise ValueError(SENT)
        await PlainTextResponse("fine")(scope, receive, send)

    async with serving(app) as running:
        answer = await running.client.get("/refuse")
        assert (answer.status_code, answer.json()["error"]) == (403, "some_reason")
        answer = await running.client.get("/break")
        assert (answer.status_code, answer.json()["error"]) == (500, "server_error")
        assert (await running.client.get("/")).text == "fine"
    assert len(log_lines.named("http_failed")) == 1
    assert "hunter2" not in log_lines.text


async def test_an_answer_that_breaks_half_way_is_not_complete(log_lines: LogLines) -> None:
    async with serving(_app()) as running:
        raw = await running.raw(b"GET /break-late HTTP/1.1\r\nHost: h\r\n\r\n")
        assert b"begun" in raw
        assert not raw.endswith(b"0\r\n\r\n")
    log_lines.read()
    assert "hunter2" not in log_lines.text


async def test_unknown_paths_and_methods_are_json() -> None:
    async with serving(_app()) as running:
        for path in ("/nowhere", "/id/nowhere", "/own/"):
            answer = await running.client.get(path)
            assert (answer.status_code, answer.json()["error"]) == (404, "not_found")
        answer = await running.client.delete("/own")
        assert (answer.status_code, answer.json()["error"]) == (405, "method_not_allowed")
        assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize("path", ["/own", "/nowhere", "/break?code=1", "/healthz", "/readyz", "/metrics"])
async def test_every_answer_has_the_headers_of_caution(path: str) -> None:
    async with serving(_app()) as running:
        headers = (await running.client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-frame-options"] == "DENY"
        assert "server" not in headers
        if path == "/own":
            assert headers["cache-control"] == "max-age=60"
            assert headers["content-security-policy"] == "default-src 'self'"
        else:
            assert headers["cache-control"] == "no-store"
            assert "frame-ancestors 'none'" in headers["content-security-policy"]


@pytest.mark.parametrize("to", ["/\r\nSet-Cookie: a=b", "/\nx", "/\rx"])
async def test_no_header_can_be_smuggled_into_an_answer(to: str, log_lines: LogLines) -> None:
    async with serving(_app()) as running:
        answer = await running.client.get("/redirect", params={"to": to})
        assert answer.status_code == 500
        assert "set-cookie" not in answer.headers
        assert "location" not in answer.headers
        assert (await running.client.get("/redirect", params={"to": "/fine"})).headers["location"] == "/fine"
    assert log_lines.named("http_failed")


async def test_a_correlation_id_is_taken_over_only_if_it_looks_like_one() -> None:
    current = new_id()
    async with serving(_app()) as running:
        answer = await running.client.get("/own", headers={"Correlation-Id": current})
        assert answer.text == answer.headers["correlation-id"] == current
        for odd in ("x", current + "x", '{"level":"none"}0000000', current[:-1] + "\xe9"):
            answer = await running.client.get("/own", headers=[(b"Correlation-Id", odd.encode("latin-1"))])
            assert len(answer.headers["correlation-id"]) == 22
            assert answer.headers["correlation-id"] != odd
            assert answer.text == answer.headers["correlation-id"]
        answer = await running.client.get("/own", headers=[("Correlation-Id", current), ("Correlation-Id", new_id())])
        assert answer.headers["correlation-id"] != current


async def test_the_access_log_says_what_was_asked_and_not_what_was_carried(log_lines: LogLines) -> None:
    async with serving(_app()) as running:
        await running.client.get("/own?code=sdc_hunter2&state=hunter2", headers={"Authorization": "Bearer hunter2"})
        await running.client.get("/healthz")
    line = log_lines.named("request")[0]
    assert (line["method"], line["path"], line["status"]) == ("GET", "/own", 200)
    assert line["milliseconds"] >= 0
    assert len(line["correlation_id"]) == 22
    assert "hunter2" not in log_lines.text
    assert "healthz" not in log_lines.text


async def test_a_line_cannot_be_smuggled_into_the_log(log_lines: LogLines) -> None:
    async with serving(_app()) as running:
        await running.client.get('/nowhere%22%7D%E2%80%A8{"event":"forged"}')
        await running.client.get("/nowhere%0A%7B%7D")
    assert all(line["event"] != "forged" for line in log_lines.read())
    assert log_lines.named("request")[0]["path"].endswith('{"event":"forged"}')


async def test_requests_are_counted_by_route_and_status() -> None:
    async with serving(_app()) as running:
        for kind in ("invalid", "forbidden", "forbidden"):
            await running.client.get(f"/refuse/{kind}")
        for number in range(3):
            await running.client.get(f"/nowhere/{number}")
        await running.client.post("/id/connect/token")
        text = (await running.client.get("/metrics")).text
        assert 'stagedoor_http_requests_total{method="GET",route="/refuse/{kind}",status="403"}' in text
        assert 'stagedoor_http_requests_total{method="GET",route="unknown",status="404"}' in text
        assert 'route="/id/connect/token"' in text
        assert "stagedoor_http_request_seconds_bucket" in text
        assert "/nowhere/1" not in text


async def test_a_client_that_goes_away_is_no_failure(log_lines: LogLines) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(str(len(await Request(scope, receive).body())))(scope, receive, send)

    async with serving(app) as running:
        _, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n123")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        async with asyncio.timeout(10):
            while not log_lines.named("request"):  # noqa: ASYNC110  (the log has no event to wait for)
                await asyncio.sleep(0.01)
    assert log_lines.named("request")[0]["status"] == 499
    assert not [line for line in log_lines.read() if line["level"] in {"error", "critical"}]


async def test_the_shape_of_an_error_is_the_same_for_head() -> None:
    async with serving(_app()) as running:
        answer = await running.client.head("/nowhere")
        assert (answer.status_code, answer.content) == (404, b"")
        assert json.loads((await running.client.get("/nowhere")).content)["error"] == "not_found"
