"""The tables are what the facts make of them, and nothing else."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from infra import migrate
from services.identity.events import Role, SessionEndReason, SessionStarted, UserKind
from services.identity.projections import PROJECTIONS
from services.identity.read_model import project
from shared.keys import MasterKey
from shared.log.event import Recorded
from shared.rebuild.rebuilding import rebuild
from tests.support.fake_issuer import CLIENT
from tests.support.identity_service import PASSWORD, Identity, authorization, sign_in
from tests.support.passkeys import ISSUER, SIGN_IN, Authenticator, add, answer, options_on
from tests.support.passkeys import PAGE as PASSKEYS
from tests.support.postgres import Database, Databases
from tests.support.read_models import differences
from tests.support.second_factor import DEMAND, PAGE, send, set_up

MASTER = MasterKey(b"k" * 32)
"""Of the service under test."""


@pytest.fixture
def settings() -> dict[str, Any]:
    """Where browsers know passkeys."""
    return {"issuer": ISSUER}


@pytest.fixture
async def database(databases: Databases) -> AsyncIterator[Database]:
    """One whose log holds the facts of this test alone."""
    async with databases.fresh(migrate.tenants()) as fresh:
        yield fresh


async def test_the_tables_are_what_the_facts_make_of_them(identity: Identity) -> None:
    await much_happens(identity)
    for table in ("users", "passkeys", "sessions", "consents"):
        assert await identity.log.pool.fetchval(f"SELECT count(*) FROM {table}") > 0  # noqa: S608  (a constant)
    assert await differences(identity.database, ["identity"], identity_key=MASTER) == []


async def test_a_rebuild_mends_what_was_spoiled_and_leaves_secrets_alone(identity: Identity) -> None:
    await much_happens(identity)
    left_alone = ("personal_keys", "vault", "passkey_credentials", "session_activity", "instance")
    kept = {table: await rows(identity, table) for table in left_alone}
    async with identity.database.connection() as operator:
        await operator.execute(
            "UPDATE identity.users SET roles = '{administrator}', kept_session = 'x' WHERE user_name = 'freddie';"
            "DELETE FROM identity.consents; UPDATE identity.passkeys SET name = 'x';"
            "INSERT INTO identity.uninstalled_applications VALUES ('com.x/app', 1)"
        )
    found = await differences(identity.database, ["identity"], identity_key=MASTER)
    assert {(one.table, one.what) for one in found} == {
        ("users", "roles kept_session"),
        ("consents", "missing"),
        ("passkeys", "name"),
        ("uninstalled_applications", "unexpected"),
    }
    # A difference names ids and columns, and nothing of what stands in them.
    assert {name for one in found for name in one.key} == {"sub", "client_id", "scope", "passkey_id"}
    for projection in PROJECTIONS:
        assert [told.live async for told in rebuild(identity.log, projection)][-1]
    assert await differences(identity.database, ["identity"], identity_key=MASTER) == []
    assert {table: await rows(identity, table) for table in kept} == kept
    assert (await sign_in(identity.browser(), "freddie", "a-new-one")).status == 200


async def rows(identity: Identity, table: str) -> list[tuple[Any, ...]]:
    found = await identity.log.pool.fetch(f"SELECT * FROM {table} t ORDER BY t::text")  # noqa: S608  (a constant)
    return [tuple(row) for row in found]


async def test_a_user_whose_key_is_gone_leaves_no_row(identity: Identity) -> None:
    sub = await identity.register(display_name="Freddie")
    await identity.log.pool.execute("DELETE FROM personal_keys WHERE sub = $1", sub)
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
    await identity.register("roger")
    browser = identity.browser()
    await sign_in(browser, "roger")
    telephone = await set_up(identity, browser)
    await browser.submit(await browser.get(authorization(claims=DEMAND)), code=telephone.code())
    codes = {"password": PASSWORD, "code": telephone.recovery_codes[0]}
    await send(browser, await browser.get(PAGE), f"{PAGE}/recovery-codes", **codes)
    await identity.register("john")
    browser = identity.browser()
    await sign_in(browser, "john")
    telephone = await set_up(identity, browser)
    codes = {"password": PASSWORD, "code": telephone.recovery_codes[0]}
    await send(browser, await browser.get(PAGE), f"{PAGE}/remove", **codes)
    await identity.register("deacy")
    browser, own = identity.browser(), Authenticator()
    await sign_in(browser, "deacy")
    await add(browser, own)
    page = await browser.get(SIGN_IN, params={"then": "passkeys"})
    await answer(browser, page, own.use(options_on(page)))
    await add(browser, Authenticator(), "A key")
    await send(browser, await browser.get(PASSKEYS), f"{PASSKEYS}/remove")
    return await identity.facts()
