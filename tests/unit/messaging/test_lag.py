"""What follows the log falls behind by the second while it stands still, whatever it is that stands still."""

from shared.messaging.lag import Lag


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_grows_for_as_long_as_nobody_has_seen_it_complete() -> None:
    clock = _Clock()
    lag = Lag(clock)
    clock.now = 103.0
    assert (lag.positions(), lag.seconds()) == (0, 3.0), "nobody has looked yet"
    lag.look(102.5, head=7, position=7)
    assert (lag.positions(), lag.seconds()) == (0, 0.5)
    lag.look(103.0, head=9, position=7)
    clock.now = 110.0
    assert (lag.positions(), lag.seconds()) == (2, 7.5)
    lag.look(109.0, head=12, position=11)
    assert (lag.positions(), lag.seconds()) == (1, 7.5), "progress alone does not end it"
    lag.look(109.5, head=12, position=13)
    assert (lag.positions(), lag.seconds()) == (0, 0.5)


def test_an_older_look_takes_nothing_back() -> None:
    clock = _Clock()
    lag = Lag(clock)
    lag.look(100.0, head=1, position=1)
    lag.look(99.0, head=1, position=1)
    assert lag.seconds() == 0.0
