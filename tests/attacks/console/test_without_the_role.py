"""People who are no administrators, or not any more, at the administrators' console."""

from uuid import uuid4

import pytest

from tests.support.console import AUDITOR, BRIAN, FREDDIE, Someone, desk, form_to
from tests.support.work import eventually

ADMINISTRATION = (
    "/applications",
    "/applications/show?id=com.backstagehub/app",
    "/applications/change?id=com.backstagehub/app",
    "/resources",
    "/users",
    "/tokens",
    "/grants",
    "/references",
    "/keys",
)


@pytest.mark.parametrize("who", [FREDDIE, ("fan", "radio-ga-ga-1984")])
async def test_who_is_neither_gets_one_clear_page_and_no_session(console: str, who: tuple[str, str]) -> None:
    async with desk(console, who) as somebody:
        page = await somebody.sign_in("/users")
        assert page.status == 403
        assert "You are no administrator" in page.text
        assert "stagedoor_console" not in somebody.cookies
        assert (await somebody.once("GET", "/log")).status == 303


async def test_an_auditor_reaches_no_administration(console: str) -> None:
    async with desk(console, AUDITOR) as auditor, desk(console, BRIAN) as brian:
        front = await auditor.sign_in()
        await brian.sign_in()
        for path in ADMINISTRATION:
            page = await auditor.get(path)
            assert page.status == 403, path
            assert "role_missing" in page.text
        # The forms that every page has are bound to where they go, so there is none to send; the service would refuse.
        for path in ("/applications/disable", "/users/find", "/tokens/look", "/keys/rotate", "/users/erase"):
            fields = form_to(front, "/sign-out").fields
            assert (await auditor.once("POST", path, data=fields)).status == 403, path
        for path in ("/applications/register", "/users/add", "/resources/register"):
            form = await auditor.get(path)
            assert form.status == 403, path


async def test_a_former_administrator_who_is_still_signed_in_does_nothing_more(console: str) -> None:
    async with desk(console, BRIAN) as brian:
        await brian.sign_in()
        roger = await Someone.added(brian, f"roger-{uuid4().hex[:12]}", "administrator")
        async with desk(console, roger.who) as his:
            await his.sign_in()
            open_before = await his.get("/applications/show?id=com.setlist/app")
            assert open_before.status == 200
            change = await brian.get(f"/users/change?id={roger.sub}")
            form = form_to(change, "/users/change")
            fields = {name: value for name, value in form.fields.items() if not name.startswith("roles:")}
            removed = await brian.follow(await brian.once("POST", "/users/change", data=fields))
            assert "The user is changed." in removed.text

            async def is_out() -> bool:
                return (await his.get("/users")).status == 403

            await eventually(is_out)
            fields = form_to(open_before, "/applications/disable").fields
            assert (await his.once("POST", "/applications/disable", data=fields)).status in {401, 403}
            page = await brian.get("/applications/show?id=com.setlist/app")
            assert any(form.action.endswith("/applications/disable") for form in page.forms)


async def test_somebody_who_was_disabled_is_out(console: str) -> None:
    async with desk(console, BRIAN) as brian:
        await brian.sign_in()
        roger = await Someone.added(brian, f"roger-{uuid4().hex[:12]}", "administrator")
        async with desk(console, roger.who) as his:
            await his.sign_in()
            await brian.press(await brian.get(f"/users/show?id={roger.sub}"), "/users/disable", reason="")

            async def is_out() -> bool:
                page = await his.get("/users")
                return page.path != "/console/users" or page.status in {401, 403}

            await eventually(is_out)
