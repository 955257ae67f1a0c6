"""What becomes of sign-ins that failed: a few facts, however many they were."""

import pytest

from services.identity.events import SignInsFailed
from shared.log.append import LogUnavailable
from tests.support.identity_service import Identity, sign_in


async def failed(identity: Identity) -> list[SignInsFailed]:
    found = [one.event for one in await identity.facts("SignInsFailed")]
    assert all(isinstance(one, SignInsFailed) for one in found)
    return found  # type: ignore[return-value]  # as was just asserted


async def test_failures_are_counted_by_user_and_written_together(identity: Identity) -> None:
    sub = await identity.register()
    failures = identity.parts.failures
    for _ in range(3):
        await sign_in(identity.browser(), secret="not this one")
    began = identity.clock.now
    identity.clock.forward(seconds=20)
    await sign_in(identity.browser(), user_name="nobody")
    await sign_in(identity.browser())
    assert await failed(identity) == []
    await failures.write()
    by_user, by_nobody = sorted(await failed(identity), key=lambda one: one.sub is None)
    assert (by_user.sub, by_user.wrong, by_user.not_looked_at) == (sub, 3, 0)
    assert (by_user.first_at, by_user.last_at) == (began, began)
    assert (by_nobody.sub, by_nobody.wrong) == (None, 1)
    await failures.write()
    assert len(await failed(identity)) == 2


async def test_attempts_that_nobody_looked_at_are_counted_too(identity: Identity) -> None:
    sub = await identity.register()
    for _ in range(13):
        await sign_in(identity.browser(), secret="not this one")
    await identity.parts.failures.write()
    counts = {one.sub: (one.wrong, one.not_looked_at) for one in await failed(identity)}
    assert counts == {sub: (10, 0), None: (0, 3)}


async def test_many_users_at_once_are_few_facts(identity: Identity) -> None:
    failures = identity.parts.failures
    for number in range(300):
        failures.wrong(f"user{number}")
    await failures.write()
    found = await failed(identity)
    assert sum(one.wrong for one in found) == 300
    assert len(found) == 101


async def test_what_could_not_be_written_is_written_later_as_it_was(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = identity.parts.failures

    async def out_of_reach(*_: object) -> None:
        raise LogUnavailable

    failures.wrong("user")
    at = identity.clock.now
    with monkeypatch.context() as outage:
        outage.setattr(identity.log, "append", out_of_reach)
        identity.clock.forward(seconds=60)
        await failures.write()
    await failures.write()
    (one,) = await failed(identity)
    assert (one.wrong, one.first_at, one.last_at) == (1, at, at)
