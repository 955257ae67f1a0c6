"""What becomes of sign-ins that failed: a few facts, however many they were."""

from services.identity.events import SignInsFailed
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
