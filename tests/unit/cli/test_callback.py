"""The loopback address takes one answer: the one with the state that was sent."""

import asyncio

import httpx
import pytest

from services.cli.callback import Callback

STATE = "the-state-that-was-sent"


async def test_it_takes_the_answer_with_its_state() -> None:
    async with Callback() as callback, httpx.AsyncClient(trust_env=False) as browser:
        waiting = asyncio.create_task(callback.answer(STATE))
        await asyncio.sleep(0)
        page = await browser.get(callback.redirect_uri, params={"code": "c", "state": STATE, "iss": "i"})
        assert await asyncio.wait_for(waiting, 30) == {"code": "c", "state": STATE, "iss": "i"}
    assert page.status_code == 200
    assert "<title>You are signed in &ndash; Stagedoor</title>" in page.text
    assert page.headers["content-security-policy"] == "default-src 'none'"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("code=c&state=another", 400),
        ("code=c", 400),
        (f"code=c&state={STATE}&code=d", 404),
        ("", 400),
    ],
)
async def test_it_turns_other_answers_away_and_goes_on_waiting(query: str, status: int) -> None:
    async with Callback() as callback, httpx.AsyncClient(trust_env=False) as browser:
        waiting = asyncio.create_task(callback.answer(STATE))
        await asyncio.sleep(0)
        assert (await browser.get(f"{callback.redirect_uri}?{query}")).status_code == status
        assert not waiting.done()
        assert (await browser.get(f"{callback.redirect_uri}?code=c&state={STATE}")).status_code == 200
        assert (await asyncio.wait_for(waiting, 30))["code"] == "c"
        assert (await browser.get(f"{callback.redirect_uri}?code=d&state={STATE}")).status_code == 400


async def test_it_takes_nothing_before_a_state_was_sent() -> None:
    async with Callback() as callback, httpx.AsyncClient(trust_env=False) as browser:
        assert (await browser.get(f"{callback.redirect_uri}?code=c&state=")).status_code == 400


async def test_it_has_one_page() -> None:
    async with Callback() as callback, httpx.AsyncClient(trust_env=False) as browser:
        waiting = asyncio.create_task(callback.answer(STATE))
        await asyncio.sleep(0)
        other = callback.redirect_uri.replace("/callback", "/favicon.ico")
        assert (await browser.get(f"{other}?code=c&state={STATE}")).status_code == 404
        assert (await browser.post(f"{callback.redirect_uri}?code=c&state={STATE}")).status_code == 404
        assert not waiting.done()
        waiting.cancel()


async def test_garbage_does_not_hurt_it() -> None:
    async with Callback() as callback, httpx.AsyncClient(trust_env=False) as browser:
        waiting = asyncio.create_task(callback.answer(STATE))
        port = httpx.URL(callback.redirect_uri).port
        assert port is not None
        for garbage in (b"\xff\xfe\r\n\r\n", b"GET\r\n\r\n", b"x" * 20_000, b""):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(garbage)
            writer.write_eof()
            assert await asyncio.wait_for(reader.read(), 30) == b""
            writer.close()
        assert (await browser.get(f"{callback.redirect_uri}?code=c&state={STATE}")).status_code == 200
        assert (await asyncio.wait_for(waiting, 30))["code"] == "c"
