"""What a service tells the operator's machinery."""

import asyncio

import pytest
from starlette.responses import PlainTextResponse

from shared.errors import Kind, Refusal
from shared.http import operations
from shared.http.operations import Check, Readiness
from tests.integration.http.serving import serving
from tests.support.log_lines import LogLines

FINE = PlainTextResponse("fine")


async def test_ready_with_its_checks_and_lag() -> None:
    async with serving(FINE) as running:
        answer = await running.client.get("/readyz")
        assert answer.status_code == 200
        assert answer.json() == {"ready": True, "checks": {"log": {"ok": True, "detail": "reachable", "lag": 0}}}


async def test_not_ready_says_which_part_is_missing_and_is_alive_all_the_same() -> None:
    async def ready() -> Readiness:
        return Readiness({"log": Check(ok=True), "follower": Check(ok=False, detail="behind", lag=12)})

    async with serving(FINE, ready) as running:
        answer = await running.client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json() == {
            "ready": False,
            "checks": {
                "log": {"ok": True, "detail": ""},
                "follower": {"ok": False, "detail": "behind", "lag": 12},
            },
        }
        assert (await running.client.get("/healthz")).status_code == 200
        assert (await running.client.get("/anything")).text == "fine"


async def test_a_check_that_fails_is_not_ready(log_lines: LogLines) -> None:
    async def ready() -> Readiness:
        raise ValueError("postgresql://registry:hunter2@10.0.0.7")

    async with serving(FINE, ready) as running:
        answer = await running.client.get("/readyz")
        assert (answer.status_code, answer.json()["ready"]) == (503, False)
        assert "hunter2" not in answer.text
    assert log_lines.named("readiness_failed")
    assert "hunter2" not in log_lines.text


async def test_a_check_that_is_refused_is_not_ready() -> None:
    async def ready() -> Readiness:
        raise Refusal(Kind.PRECONDITION, "epoch_changed", "e")

    async with serving(FINE, ready) as running:
        answer = await running.client.get("/readyz")
        assert answer.json() == {"ready": False, "checks": {"readiness": {"ok": False, "detail": "epoch_changed"}}}


async def test_a_check_that_hangs_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "READY_SECONDS", 0.1)

    async def ready() -> Readiness:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async with serving(FINE, ready) as running:
        answer = await running.client.get("/readyz")
        assert (answer.status_code, answer.json()["checks"]["readiness"]["ok"]) == (503, False)


async def test_metrics_are_in_prometheus_text() -> None:
    async with serving(FINE) as running:
        answer = await running.client.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        assert "# TYPE stagedoor_http_requests_total counter" in answer.text


async def test_only_reading_is_answered_there() -> None:
    async with serving(FINE) as running:
        assert (await running.client.post("/healthz")).text == "fine"
        assert (await running.client.head("/healthz")).status_code == 200
