import asyncio
import threading
from collections.abc import Iterator

import pytest

from services.identity.passwords import Argon2Parameters, Passwords
from services.identity.settings import IdentitySettings
from shared.errors import Unavailable

CHEAP = Argon2Parameters(time_cost=1, memory_kib=8)


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    made = Passwords(CHEAP, workers=1, queue=2)
    yield made
    made.close()


async def test_right_and_wrong(passwords: Passwords) -> None:
    stored = await passwords.hash("red-special-1963")
    assert await passwords.verify(stored, "red-special-1963")
    assert not await passwords.verify(stored, "red-special-1964")
    assert not await passwords.verify(None, "red-special-1963")
    assert not await passwords.verify("nonsense", "red-special-1963")


async def test_the_same_password_from_two_keyboards(passwords: Passwords) -> None:
    assert await passwords.verify(await passwords.hash("caf\u00e9-am-see"), "cafe\u0301-am-see")


async def test_every_answer_takes_one_verification(passwords: Passwords) -> None:
    stored = await passwords.hash("red-special-1963")
    before = passwords.verifications
    for hash_, password in (
        (stored, "red-special-1963"),
        (stored, "x"),
        (None, "red-special-1963"),
        (stored, "y" * 999),
    ):
        await passwords.verify(hash_, password)
        assert passwords.verifications == before + 1
        before += 1


def test_the_defaults_are_those_that_are_recommended() -> None:
    fields = IdentitySettings.model_fields
    assert (fields["argon2_time_cost"].default, fields["argon2_memory_kib"].default) == (2, 19456)
    assert fields["argon2_parallelism"].default == 1


async def test_a_hash_says_how_it_was_made() -> None:
    passwords = Passwords(Argon2Parameters(), workers=1, queue=0)
    stored = await passwords.hash("red-special-1963")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert not passwords.outdated(stored)
    assert Passwords(CHEAP, workers=1, queue=0).outdated(stored)
    passwords.close()


async def test_only_so_many_wait(passwords: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(passwords, "_verify", lambda *_: go_on.wait(10))
    waiting = [asyncio.create_task(passwords.verify("stored", "red-special-1963")) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable) as caught:
        await passwords.verify("stored", "red-special-1963")
    assert caught.value.code == "too_many_sign_ins"
    # Who goes away does not make room while the thread is still at it.
    waiting[0].cancel()
    await asyncio.gather(waiting[0], return_exceptions=True)
    with pytest.raises(Unavailable):
        await passwords.verify("stored", "red-special-1963")
    go_on.set()
    assert await asyncio.gather(*waiting[1:]) == [True, True]
    assert await passwords.verify("stored", "red-special-1963")
