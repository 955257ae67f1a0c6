"""Tours and merchandise over HTTP: what a user does with rows of their own, and cannot do with anybody else's."""

import asyncio
import uuid
from typing import Any

import pytest

from services.resource.events import DataRead, TourAdded
from shared.log.append import LogUnavailable
from tests.integration.resource.conftest import ARTICLE, TOUR, Added, Api
from tests.support.sdk_tokens import CHAIN, EXCHANGED

BOTH = pytest.mark.parametrize(
    ("path", "name", "row"), [("/api/tours", "tours", TOUR), ("/api/merchandise", "merchandise", ARTICLE)]
)


@BOTH
async def test_the_life_of_a_row(api: Api, path: str, name: str, row: dict[str, Any]) -> None:
    added = await api("POST", path, json=row)
    assert added.status_code == 201
    row_id = added.json()["id"]
    assert added.headers["location"] == f"{path}/{row_id}"
    assert added.json() == {"id": row_id, **row}

    changed = await api("PUT", f"{path}/{row_id}", json={**row, "title": "Another title"})
    assert changed.json() == {"id": row_id, **row, "title": "Another title"}
    assert int(changed.headers["stagedoor-position"]) > int(added.headers["stagedoor-position"])

    assert (await api("GET", f"{path}/{row_id}")).json() == changed.json()
    assert (await api("GET", path)).json() == {name: [changed.json()]}

    removed = await api("DELETE", f"{path}/{row_id}")
    assert (removed.status_code, removed.content) == (204, b"")
    assert (await api("GET", f"{path}/{row_id}")).status_code == 404
    assert (await api("GET", path)).json() == {name: []}
    for method in ("PUT", "DELETE"):
        assert (await api(method, f"{path}/{row_id}", json=row)).status_code == 404


@BOTH
async def test_rows_of_others_are_not_there(api: Api, path: str, name: str, row: dict[str, Any]) -> None:
    row_id = (await api("POST", path, json=row)).json()["id"]
    before = await api.events()
    assert (await api("GET", path, who="fan")).json() == {name: []}
    theirs = [await api(method, f"{path}/{row_id}", who="fan", json=row) for method in ("GET", "PUT", "DELETE")]
    absent = [await api(method, f"{path}/{'A' * 22}", who="fan", json=row) for method in ("GET", "PUT", "DELETE")]
    assert [answer.status_code for answer in theirs] == [404, 404, 404]
    assert [answer.json() for answer in theirs] == [answer.json() for answer in absent]
    assert (await api("GET", f"{path}/{row_id}")).json() == {"id": row_id, **row}
    assert set((await api.events())[len(before) :]) == {"resource.DataRead"}


async def test_an_application_that_acts_for_itself_has_rows_of_its_own(api: Api) -> None:
    client = "com.backstagehub/app"
    answer = await api("POST", "/api/tours", who=client, json=TOUR, claims={"sid": None, "gid": None})
    assert answer.status_code == 201
    assert len((await api("GET", "/api/tours", who=client)).json()["tours"]) == 1
    assert (await api("GET", "/api/tours")).json() == {"tours": []}
    recorded = (await api.log.read(0))[0]
    assert recorded.actor == f"client:{client}"


async def test_who_acts_for_somebody_by_an_exchange_is_who_did_it(api: Api) -> None:
    """The row is the person's, and the application that acts by now is told; of a service it is the service's."""
    answer = await api("POST", "/api/tours", json=TOUR, claims=dict(EXCHANGED))
    assert answer.status_code == 201
    assert len((await api("GET", "/api/tours")).json()["tours"]) == 1
    first = CHAIN[-1]
    by_itself = {**EXCHANGED, "sid": None, "gid": None}
    assert (await api("POST", "/api/tours", who=first, json=TOUR, claims=by_itself)).status_code == 201
    added = [each for each in await api.log.read(0) if isinstance(each.event, TourAdded)]
    assert [each.actor for each in added] == ["user:freddie", f"client:{first}"]
    assert [each.event.client_id for each in added if isinstance(each.event, TourAdded)] == [CHAIN[0], CHAIN[0]]


async def test_every_write_names_who_did_it(api: Api, added: Added) -> None:
    tour_id = await added()
    (recorded,) = await api.log.read(0)
    assert recorded.actor == "user:freddie"
    assert recorded.event == TourAdded(tour_id=tour_id, sub="freddie", client_id="com.backstagehub/app", **TOUR)


async def test_every_read_is_recorded_once(api: Api, added: Added) -> None:
    tour_id = await added()
    await added(title="Another")
    await api("GET", "/api/tours")
    jti = api.jtis[-1]
    await api("GET", f"/api/tours/{tour_id}")
    await api("GET", f"/api/tours/{'A' * 22}")
    reads = [recorded.event for recorded in await api.log.read(0) if isinstance(recorded.event, DataRead)]
    assert [(read.what, read.rows) for read in reads] == [("tours", 2), ("tour", 1), ("tour", 0)]
    assert (reads[0].sub, reads[0].client_id, reads[0].jti) == ("freddie", "com.backstagehub/app", jti)


async def test_what_cannot_be_recorded_is_not_answered(api: Api, added: Added, monkeypatch: pytest.MonkeyPatch) -> None:
    await added(title="A secret tour")

    async def out_of_reach(_: object) -> None:
        raise LogUnavailable

    monkeypatch.setattr(api.log, "append", out_of_reach)
    answer = await api("GET", "/api/tours")
    assert answer.status_code == 503
    assert "retry-after" in answer.headers
    assert "secret" not in answer.text


async def test_a_change_that_changes_nothing_writes_nothing(api: Api, added: Added) -> None:
    tour_id = await added()
    before = await api.events()
    answer = await api("PUT", f"/api/tours/{tour_id}", json=TOUR)
    assert (answer.status_code, answer.json()) == (200, {"id": tour_id, **TOUR})
    assert await api.events() == before


async def test_a_repeated_write_is_carried_out_once(api: Api) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    answers = await asyncio.gather(*(api("POST", "/api/tours", json=TOUR, headers=key) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len({answer.headers["stagedoor-position"] for answer in answers}) == 1
    assert await api.events() == ["resource.TourAdded"]
    # The key is this user's: somebody else's command of the same name is another one.
    assert (await api("POST", "/api/tours", who="fan", json=TOUR, headers=key)).status_code == 201
    assert await api.events() == ["resource.TourAdded"] * 2


async def test_tours_come_by_date_and_in_pages(api: Api, added: Added) -> None:
    for day in (14, 11, 13, 12, 12):
        await added(date=f"1986-07-{day}")
    await added(who="fan")
    dates, after, pages = [], "", 0
    while True:
        answer = (await api("GET", f"/api/tours?limit=2{after}")).json()
        dates += [tour["date"][-2:] for tour in answer["tours"]]
        pages += 1
        if "next" not in answer:
            break
        after = f"&after={answer['next']}"
    assert (dates, pages) == (["11", "12", "12", "13", "14"], 3)


async def test_concurrent_changes_leave_one_of_them(api: Api, added: Added) -> None:
    tour_id = await added()
    answers = await asyncio.gather(
        *(api("PUT", f"/api/tours/{tour_id}", json={**TOUR, "title": f"Title {number}"}) for number in range(6))
    )
    assert {answer.status_code for answer in answers} <= {200, 503}
    last = max((a for a in answers if a.status_code == 200), key=lambda a: int(a.headers["stagedoor-position"]))
    assert (await api("GET", f"/api/tours/{tour_id}")).json() == last.json()
