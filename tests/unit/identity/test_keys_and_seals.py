from datetime import UTC, datetime, timedelta

import pytest

from protos.stagedoor.tokens.v1.tokens_pb2 import Logout, Proceed, RequestedScope
from services.identity.own_second_factor import SettingUp
from services.identity.pages.pending import PageExpired, PendingAuthorization, Seals
from services.identity.personal_keys import PersonalKeyRing
from services.identity.sessions import PasswordProved
from services.identity.totp import Seed
from shared.keys import MasterKey

MASTER, OTHER = MasterKey(b"a" * 32), MasterKey(b"b" * 32)
PROCEED = Proceed(
    sealed_request="sealed" * 100,
    client_id="com.backstagehub/app",
    scopes=[RequestedScope(name="read", description="see your tours")],
    prompt=["login"],
    max_age=0,
)


class Clock:
    def __init__(self) -> None:
        self.now = datetime(1985, 7, 13, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def seals(clock: Clock, master: MasterKey = MASTER) -> Seals:
    return Seals(master, clock, timedelta(hours=1))


def test_what_is_sealed_comes_back_whole() -> None:
    clock = Clock()
    pending = PendingAuthorization(PROCEED, 17).choosing("sid")
    opened = seals(clock).open(seals(clock).seal(pending))
    assert opened == pending
    assert opened.demands.max_age == timedelta(0)
    assert opened.demands.prompt == {"login"}
    assert (opened.demands.position, opened.demands.chosen_session) == (17, "sid")


def test_it_lasts_as_long_as_a_page() -> None:
    clock = Clock()
    text = seals(clock).seal(PendingAuthorization(PROCEED, 17))
    clock.now += timedelta(hours=1)
    assert seals(clock).open(text).position == 17
    clock.now += timedelta(seconds=1)
    with pytest.raises(PageExpired):
        seals(clock).open(text)


def test_nobody_else_can_seal() -> None:
    clock = Clock()
    text = seals(clock, OTHER).seal(PendingAuthorization(PROCEED, 17))
    with pytest.raises(PageExpired):
        seals(clock).open(text)


def test_one_kind_is_not_the_other() -> None:
    clock = Clock()
    logout = seals(clock).seal_logout(Logout(sub="x"))
    assert seals(clock).open_logout(logout).sub == "x"
    with pytest.raises(PageExpired):
        seals(clock).open(logout)
    with pytest.raises(PageExpired):
        seals(clock).open_logout(seals(clock).seal(PendingAuthorization(PROCEED, 17)))


def test_the_same_thing_never_looks_the_same() -> None:
    clock = Clock()
    pending = PendingAuthorization(PROCEED, 17)
    assert seals(clock).seal(pending) != seals(clock).seal(pending)


def test_a_wrapped_key_opens_for_its_user_and_its_master_alone() -> None:
    ring = PersonalKeyRing(MASTER)
    key, wrapped = ring.new("freddie")
    assert ring.unwrap("freddie", wrapped) == key
    assert key not in wrapped
    assert len(key) == 32
    for opener, sub, text in (
        (ring, "brian", wrapped),
        (PersonalKeyRing(OTHER), "freddie", wrapped),
        (ring, "freddie", wrapped[:-1] + bytes([wrapped[-1] ^ 1])),
        (ring, "freddie", b"\x02" + wrapped[1:]),
        (ring, "freddie", b""),
    ):
        with pytest.raises(ValueError, match="wrapped key"):
            opener.unwrap(sub, text)


async def test_a_ring_that_was_not_told_where_the_keys_are_says_so() -> None:
    with pytest.raises(RuntimeError):
        await PersonalKeyRing(MASTER).keys(["freddie"])


PROVED = PasswordProved("freddie", epoch=2, position=17)
BEGUN = SettingUp("freddie", "sid", epoch=2, position=17, seed=Seed(b"s" * 20))


def test_a_password_that_was_right_waits_in_its_browser_for_ten_minutes() -> None:
    clock = Clock()
    sealed = seals(clock).seal_proved(PROVED, "browser")
    clock.now += timedelta(minutes=10)
    assert seals(clock).open_proved(sealed, "browser") == PROVED
    for browser in ("another", ""):
        with pytest.raises(PageExpired):
            seals(clock).open_proved(sealed, browser)
    clock.now += timedelta(seconds=1)
    with pytest.raises(PageExpired):
        seals(clock).open_proved(sealed, "browser")


def test_a_seed_that_was_shown_waits_as_long() -> None:
    clock = Clock()
    sealed = seals(clock).seal_setting_up(BEGUN)
    clock.now += timedelta(minutes=10)
    assert seals(clock).open_setting_up(sealed) == BEGUN
    clock.now += timedelta(seconds=1)
    with pytest.raises(PageExpired):
        seals(clock).open_setting_up(sealed)


def test_neither_is_taken_for_the_other_nor_for_a_request() -> None:
    clock = Clock()
    all_of_them = seals(clock)
    proved, begun = all_of_them.seal_proved(PROVED, "browser"), all_of_them.seal_setting_up(BEGUN)
    request = all_of_them.seal(PendingAuthorization(PROCEED, 17))
    for text in (begun, request, seals(clock, OTHER).seal_proved(PROVED, "browser")):
        with pytest.raises(PageExpired):
            all_of_them.open_proved(text, "browser")
    for text in (proved, request):
        with pytest.raises(PageExpired):
            all_of_them.open_setting_up(text)
    for text in (proved, begun):
        with pytest.raises(PageExpired):
            all_of_them.open(text)
