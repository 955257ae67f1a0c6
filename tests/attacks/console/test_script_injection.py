"""HTML in whatever others choose: names of applications, resources and people, reasons, and what is typed."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from tests.support.console import BRIAN, Desk, desk

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>'\"&amp;{{7*7}}"


@pytest.fixture
async def brian(console: str) -> AsyncIterator[Desk]:
    async with desk(console, BRIAN) as one:
        await one.sign_in()
        yield one


def _harmless(text: str) -> bool:
    return "<script>alert" not in text and "<img" not in text


async def test_names_are_text_on_every_page(brian: Desk) -> None:
    mark = uuid4().hex
    client_id, identifier = f"com.example/{mark}", f"https://{mark}.example/api"
    form = await brian.get("/applications/register")
    fields = {"display_name": EVIL, "contact": EVIL, "redirect_uris": "https://app.example/cb", "scopes": "read"}
    made = await brian.press_once(form, "/applications/register", client_id=client_id, **fields)
    assert made.status == 200
    shown = await brian.get(f"/applications/show?id={client_id}")
    assert "alert(1)" in shown.text
    assert "{{7*7}}" in shown.text
    await brian.press(shown, "/applications/disable", reason=EVIL)
    form = await brian.get("/resources/register")
    resource = {"identifier": identifier, "display_name": EVIL, "scopes": f"{mark}={EVIL}"}
    assert (await brian.press(form, "/resources/register", **resource)).status == 200
    form = await brian.get("/users/add")
    person = {"user_name": f"roger-{mark[:12]}", "display_name": EVIL, "family_name": EVIL, "kind": "internal"}
    user = await brian.press(form, "/users/add", **person)
    assert "The user is added." in user.text
    pages = [
        shown,
        user,
        await brian.get("/applications"),
        await brian.get(f"/applications/change?id={client_id}"),
        await brian.get("/resources"),
        await brian.get(f"/resources/show?id={identifier}"),
        await brian.get(f"/resources/change?id={identifier}"),
        await brian.get("/users"),
        await brian.get("/log"),
        await brian.get(f"/log?client_ids={client_id}"),
    ]
    for page in pages:
        assert page.status == 200, page.url
        assert _harmless(page.response.text), page.url
        assert not [tag for tag, given in page.tags if tag == "img" or any(name.startswith("on") for name in given)]


async def test_what_is_typed_is_text_when_it_is_shown_again(brian: Desk) -> None:
    form = await brian.get("/applications/register")
    page = await brian.press_once(form, "/applications/register", client_id=EVIL, display_name=EVIL, jwks=EVIL)
    assert page.status == 422
    assert _harmless(page.response.text)
    for path in (
        "/applications/show?id=",
        "/grants?client_id=",
        "/log?types=",
        "/log/explain?jti=",
        "/log/live?types=",
    ):
        answer = await brian.once("GET", f"{path}%3Cscript%3Ealert(1)%3C/script%3E")
        assert "<script>alert" not in answer.response.text, path


async def test_a_line_of_the_event_stream_cannot_be_ended_by_what_it_says(brian: Desk) -> None:
    """Everything that goes to the script goes as JSON, so no event can bring another along."""
    form = await brian.get("/applications/register")
    client_id = f"com.example/{uuid4().hex}"
    fields = {"display_name": "A\u2028B\u0085C", "redirect_uris": "https://app.example/cb", "scopes": "read"}
    await brian.press_once(form, "/applications/register", client_id=client_id, **fields)
    path = f"/log/events?types=registry.ApplicationRegistered&client_ids={client_id}&after=0"
    async with brian.browser.stream("GET", f"{brian.console}{path}") as answer:
        async for line in answer.aiter_lines():
            assert line.partition(":")[0] in {"", "retry", "id", "event", "data"}
            if line.startswith("data: {"):
                break
            if line.startswith("event: complete"):
                break
