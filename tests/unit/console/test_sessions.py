"""Who is signed in at the console."""

from services.console.sessions import SessionTable, SignedIn


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def somebody(clock: Clock, seconds: float = 3600) -> SignedIn:
    return SignedIn("sub", "access", "id", clock.now, clock.now + seconds)


def test_a_secret_finds_its_session_and_no_other_does() -> None:
    clock = Clock()
    table = SessionTable(10, clock)
    brian, roger = somebody(clock), somebody(clock)
    first, second = table.begin(brian), table.begin(roger)
    assert first != second
    assert table.find(first) is brian
    assert table.find(second) is roger
    for wrong in (None, "", first[:-1], first + "A", "sub"):
        assert table.find(wrong) is None


def test_it_ends_with_the_token_or_by_hand() -> None:
    clock = Clock()
    table = SessionTable(10, clock)
    secret, other = table.begin(somebody(clock)), table.begin(somebody(clock, 7200))
    table.end(other)
    assert table.find(other) is None
    clock.now += 3599
    assert table.find(secret) is not None
    clock.now += 1
    assert table.find(secret) is None
    assert len(table) == 0


def test_there_are_only_so_many_and_the_oldest_goes() -> None:
    clock = Clock()
    table = SessionTable(3, clock)
    secrets = [table.begin(somebody(clock)) for _ in range(5)]
    assert [table.find(secret) is not None for secret in secrets] == [False, False, True, True, True]


def test_a_token_is_renewed_in_time() -> None:
    clock = Clock()
    table = SessionTable(3, clock)
    usual, short = somebody(clock), somebody(clock, 60)
    assert not table.near_its_end(usual)
    assert not table.near_its_end(short)
    clock.now += 31
    assert table.near_its_end(short)
    clock.now += 2970
    assert table.near_its_end(usual)


def test_a_place_in_a_list_is_an_id_and_never_the_name_that_stands_there() -> None:
    who = somebody(Clock())
    first = who.remember_place("freddie")
    assert "freddie" not in first
    assert who.place(first) == "freddie"
    assert who.place("freddie") == who.place(None) == ""
    for number in range(60):
        who.remember_place(str(number))
    assert who.place(first) == ""
    assert len(who.places) == 50


def test_nothing_that_is_secret_is_shown_of_one() -> None:
    assert "access" not in repr(somebody(Clock()))
