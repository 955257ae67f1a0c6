"""The tables are what the facts make of them, and nothing else."""

from collections.abc import Mapping
from typing import Any

from services.identity.events import Role, SessionEndReason, SessionStarted, UserKind
from services.identity.read_model import CONSENTS, SESSIONS, USERS, project
from shared.log.event import Delete, Patch, Put, Recorded, RowChange
from tests.support.fake_issuer import CLIENT
from tests.support.identity_service import PASSWORD, Identity, authorization, sign_in

KEYS: Mapping[str, tuple[str, ...]] = {USERS: ("sub",), SESSIONS: ("sid",), CONSENTS: ("sub", "client_id", "scope")}


class Tables:
    """Rows in memory."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = {name: {} for name in KEYS}

    def take(self, change: RowChange) -> None:
        rows = self.rows[change.table]
        match change:
            case Put(row=row):
                rows[tuple(row[column] for column in KEYS[change.table])] = dict(row)
            case Patch(where=where, values=values):
                for row in self._found(change.table, where):
                    row.update(values)
            case Delete(where=where):
                for row in self._found(change.table, where):
                    del rows[tuple(row[column] for column in KEYS[change.table])]

    def _found(self, table: str, where: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [
            row for row in self.rows[table].values() if all(row[column] == value for column, value in where.items())
        ]


async def test_replaying_the_facts_gives_the_same_rows(identity: Identity) -> None:
    await much_happens(identity)
    replayed = Tables()
    for fact in await identity.facts():
        for change in project(fact):
            replayed.take(change)
    for table, key in KEYS.items():
        live = await identity.log.pool.fetch(f"SELECT * FROM {table}")  # noqa: S608  (a constant)
        assert len(live) > 0
        assert {tuple(row[column] for column in key): dict(row) for row in live} == replayed.rows[table]


async def test_a_user_whose_key_is_gone_leaves_no_row(identity: Identity) -> None:
    sub = await identity.register(display_name="Freddie")
    await identity.log.pool.execute("DELETE FROM vault WHERE sub = $1", sub)
    (fact,) = await identity.facts("UserRegistered")
    assert list(project(fact)) == []


async def much_happens(identity: Identity) -> list[Recorded]:
    freddie = await identity.register("freddie", PASSWORD, UserKind.INTERNAL, given_name="Farrokh", locale="en-GB")
    brian = await identity.register("brian", PASSWORD, UserKind.INTERNAL, Role.ADMINISTRATOR)
    await identity.register("fan", None, UserKind.COMMUNITY)
    accounts, context = identity.parts.accounts, identity.context
    await accounts.change(
        freddie,
        context(),
        profile=lambda old: old.model_copy(update={"given_name": None}),
        roles=(Role.AUDITOR,),
        by=brian,
    )
    browser = identity.browser()
    for _ in range(3):
        browser = identity.browser()
        await browser.submit(await sign_in(browser), decision="allow")
    page = await browser.get("/id/account/password")
    await browser.submit(page, current_password=PASSWORD, new_password="a-new-one", new_password_again="a-new-one")
    identity.clock.forward(minutes=5)
    await browser.submit(await browser.get(authorization(prompt="login")), user_name="freddie", password="a-new-one")
    first = (await identity.facts("SessionStarted"))[0].event
    assert isinstance(first, SessionStarted)
    await identity.parts.sessions.end(first.sid, SessionEndReason.ENDED_BY_ADMINISTRATOR, context())
    await identity.parts.consents.withdraw(freddie, CLIENT, context())
    await sign_in(identity.browser(), "brian", scope="read")
    other = identity.browser()
    await other.submit(await sign_in(other, "brian", scope="openid read"), decision="allow")
    await accounts.disable(brian, "gone", context(), by=freddie)
    return await identity.facts()
