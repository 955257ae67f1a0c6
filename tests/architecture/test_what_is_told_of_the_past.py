"""Whatever can deny a token is looked at when somebody asks why it was refused."""

import inspect

import pytest

from services.ledger.main import HISTORIES
from services.ledger.verdicts import LEEWAY
from shared.denials import DenialKind
from shared.history import History
from shared.log.event import Event
from stagedoor import Guard
from tests.architecture.test_what_ends_what import TABLE


def test_every_kind_of_denial_is_told_of() -> None:
    told = [kind for history in HISTORIES for kind in history.denied_in]
    assert sorted(told) == sorted(DenialKind)


@pytest.mark.parametrize(("event", "denials"), TABLE, ids=lambda value: type(value).__name__)
def test_by_the_service_whose_fact_denies(event: Event, denials: object) -> None:
    (history,) = (one for one in HISTORIES if one.source == event.source)
    assert event.denial_kinds <= history.denied_in.keys()


@pytest.mark.parametrize("history", HISTORIES, ids=lambda history: history.source)
def test_streams_are_the_services_own(history: History) -> None:
    from infra.migrate import CATEGORIES  # noqa: PLC0415

    names = {stream("a b") for streams in history.denied_in.values() for stream in streams}
    names |= {thing.stream("a") for thing in history.things}
    assert {name.partition("-")[0] for name in names} <= set(CATEGORIES[history.source])


def test_the_leeway_is_that_of_guards() -> None:
    assert inspect.signature(Guard).parameters["leeway"].default == LEEWAY.total_seconds()
