"""What the system registers itself: once, whoever starts, and however often."""

import asyncio

from services.registry import read_model
from services.registry.system import CLI, INSTALLER, SystemRegistrations
from shared.log.log import Log
from tests.support.registry import ISSUER, MASTER, ORIGIN


async def test_replicas_that_start_together_register_once(log: Log) -> None:
    replicas = [SystemRegistrations(log, MASTER, ORIGIN, ISSUER) for _ in range(3)]
    await asyncio.gather(*(replica.run() for replica in replicas))
    assert all(replica.done for replica in replicas)
    names = [recorded.event.stored_as for recorded in await log.read(0)]
    assert sorted(names) == ["registry.ApplicationRegistered"] * 2 + ["registry.ResourceRegistered"]


async def test_a_later_start_finds_what_is_there(log: Log) -> None:
    await SystemRegistrations(log, MASTER, ORIGIN, ISSUER).run()
    head = await log.head()
    await SystemRegistrations(log, MASTER, ORIGIN, ISSUER).run()
    assert await log.head() == head


async def test_management_follows_the_origin(log: Log) -> None:
    await SystemRegistrations(log, MASTER, ORIGIN, ISSUER).run()
    await SystemRegistrations(log, MASTER, "https://localhost:8443", "https://localhost:8443/id").run()
    (management,) = await read_model.resources(log.pool)
    assert management.identifier == "https://localhost:8443/management"
    assert await read_model.known_scopes(log.pool) == {"sec"}


async def test_the_install_page_follows_the_issuer(log: Log) -> None:
    await SystemRegistrations(log, MASTER, ORIGIN, ISSUER).run()
    await SystemRegistrations(log, MASTER, "https://localhost:8443", "https://localhost:8443/id").run()
    page = await read_model.application(log.pool, INSTALLER)
    assert page is not None
    assert page.settings.redirect_uris == ("https://localhost:8443/id/install",)
    assert (page.settings.scopes, page.settings.access_token_seconds) == (("sec",), 60)


async def test_the_command_is_an_application_like_any_other(log: Log) -> None:
    await SystemRegistrations(log, MASTER, ORIGIN, ISSUER).run()
    cli = await read_model.application(log.pool, CLI)
    assert cli is not None
    assert cli.settings.scopes == ("sec",)
    assert cli.settings.redirect_uris == ("http://127.0.0.1/callback",)
    assert cli.secrets == ()
