"""What was stored once is read for ever: every event has a golden sample, and no change to its class may break it."""

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, create_model

from services.identity import read_model as identity
from services.identity import subscriptions as identity_follows
from services.identity.domain.consent import CONSENT
from services.identity.domain.session import SESSION
from services.identity.domain.user import USER
from services.registry import read_model as registry
from services.registry.domain import application, initial_access, resource
from services.resource import read_model as tours
from services.resource.domain import merchandise, tour
from services.token_issuer import read_model as issuer
from services.token_issuer import subscriptions as issuer_follows
from services.token_issuer.domain import (
    access_token,
    assertion,
    device_request,
    exchange,
    grant,
    proof,
    pushed_request,
    reference_token,
    revocation,
    signing_keys,
)
from shared.decider import Decider
from shared.denials import Denial
from shared.log.event import SHAPE, Catalogue, Delete, Event, Patch, Personal, Put, Recorded, RowChange
from tests.support.golden import CATALOGUE, FOLDER, KEY, files_of, is_written_so, sample, write

EVERY_EVENT = pytest.mark.parametrize("event", [pytest.param(one, id=one.stored_as) for one in CATALOGUE])
PROJECTIONS: Mapping[str, tuple[Callable[[Recorded], Iterable[RowChange]], ...]] = {
    "registry": (registry.project, issuer_follows.project, identity_follows.project_registry),
    "identity": (identity.project, issuer_follows.project),
    "token_issuer": (issuer.project,),
    "resource": (tours.project,),
    "ledger": (),
}
DECIDERS: Mapping[str, tuple[Decider[Any, Any], ...]] = {
    "registry": (application.decider, initial_access.decider, resource.decider),
    "identity": (USER, SESSION, CONSENT),
    "token_issuer": (
        grant.decider,
        access_token.decider,
        assertion.decider,
        device_request.decider,
        exchange.decider,
        proof.decider,
        pushed_request.decider,
        revocation.decider,
        reference_token.decider,
        signing_keys.decider,
    ),
    "resource": (tour.decider, merchandise.decider),
    "ledger": (),
}
NEVER_LOOKED_BACK_ON = {
    "identity.PasskeyCounterWentBack",
    "identity.RecoveryCodesReplaced",
    "identity.SessionReauthenticated",
    "identity.SessionSteppedUp",
    "identity.SignInsFailed",
    "resource.DataRead",
    "token_issuer.DeviceAuthorizationRefused",
    "token_issuer.ReferenceTokenUsed",
    "ledger.LogQueried",
    "ledger.PartitionArchived",
}
"""Facts that no decision needs."""


def read(event: type[Event]) -> list[Event]:
    return [event.from_json(path.read_text(), KEY) for path in files_of(event)]


def personal(value: object) -> Iterable[Personal[Any]]:
    if isinstance(value, Personal):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from personal(getattr(value, name))
    elif isinstance(value, tuple):
        for one in value:
            yield from personal(one)


@EVERY_EVENT
def test_every_event_has_samples_of_every_shape(event: type[Event]) -> None:
    files = files_of(event)
    assert files, "run python -m tests.support.golden, and commit what it writes"
    shapes = {json.loads(path.read_text()).get(SHAPE, 1) for path in files}
    assert shapes == set(range(1, event.shape() + 1))


def test_there_are_no_samples_of_anything_else() -> None:
    known = {path for event in CATALOGUE for path in files_of(event)}
    assert set(FOLDER.rglob("*.json")) == known, "stored names are permanent, and samples are numbered without a gap"


@EVERY_EVENT
def test_every_sample_is_canonical_and_is_read(event: type[Event]) -> None:
    for path in files_of(event):
        text = path.read_text()
        members = json.loads(text)
        assert json.dumps(members, ensure_ascii=False, sort_keys=True, separators=(",", ":")) == text
        with_key, without = event.from_json(text, KEY), event.from_json(text)
        secrets, sealed = list(personal(with_key)), list(personal(without))
        assert len(secrets) == text.count('"p1.'), "personal data is nowhere else"
        assert all(one.reveal() is not None and str(one.reveal()) not in text for one in secrets)
        assert [one.reveal() for one in sealed] == [None] * len(secrets)


@EVERY_EVENT
def test_the_last_sample_is_what_would_be_stored_now(event: type[Event]) -> None:
    text = files_of(event)[-1].read_text()
    assert is_written_so(event, text), "run python -m tests.support.golden: the event is written in another way now"
    assert event.from_json(text).to_json() == text, "who has no key writes the same"


@EVERY_EVENT
def test_every_sample_is_projected(event: type[Event]) -> None:
    for number, fact in enumerate(read(event), start=1):
        recorded = Recorded(fact, "some-stream", number, 7, 1, datetime(2026, 1, 1, tzinfo=UTC), "x", UUID(int=1), "c")
        for project in PROJECTIONS[event.source]:
            assert all(isinstance(change, Put | Patch | Delete) for change in project(recorded))
        assert {denial.kind for denial in fact.denies()} <= event.denial_kinds
        assert all(isinstance(denial, Denial) for denial in fact.denies())


@EVERY_EVENT
def test_every_sample_moves_the_state_of_its_aggregate(event: type[Event]) -> None:
    """After what came before it in its stream, at most two facts; which of them it follows on is found out."""
    others = [read(other)[-1] for other in CATALOGUE if other.source == event.source]
    histories = [(), *((one,) for one in others), *itertools.permutations(others, 2)]
    for fact in read(event):
        moved = any(moves(decider, before, fact) for decider in DECIDERS[event.source] for before in histories)
        assert moved is not (event.stored_as in NEVER_LOOKED_BACK_ON)


def moves(decider: Decider[Any, Any], before: Sequence[Event], fact: Event) -> bool:
    try:
        state = decider.fold(before)
        return bool(decider.evolve(state, fact) != state)
    except (LookupError, AttributeError, TypeError):  # it does not follow on those
        return False


@pytest.mark.parametrize("changed", ["added", "removed", "renamed", "retyped"])
@EVERY_EVENT
def test_a_change_that_old_events_do_not_fit_is_noticed(event: type[Event], changed: str) -> None:
    """Each event with a member added, removed, renamed or of another type: its sample is not read any more."""
    text = files_of(event)[-1].read_text()
    fields: dict[str, Any] = {
        name: (field.annotation, field if not field.is_required() else ...)
        for name, field in event.model_fields.items()
    }
    victim = next(name for name, field in event.model_fields.items() if field.is_required())
    match changed:
        case "added":
            fields["more"] = (int, ...)
        case "removed":
            del fields[victim]
        case "renamed":
            fields["more"] = fields.pop(victim)
        case "retyped":
            fields[victim] = (dict[str, float], ...)
    other = create_model(event.__name__, __base__=Event, **fields)
    other.stored_as = event.stored_as
    with pytest.raises(ValueError):  # noqa: PT011  (whatever is wrong with it)
        other.from_json(text, KEY)
    assert not is_written_so(other, text)


def test_a_member_added_with_a_default_needs_one_more_sample(tmp_path: Path) -> None:
    class Before(Event, stored_as="office.Painted"):
        colour: str

    class After(Event, stored_as="office.Painted"):
        colour: str
        glossy: bool = False

    assert [path.name for path in write(Catalogue(Before), tmp_path)] == ["Painted.json"]
    assert write(Catalogue(Before), tmp_path) == []
    (first,) = files_of(After, tmp_path)
    assert not is_written_so(After, first.read_text())
    assert not After.from_json(first.read_text()).glossy
    old = first.read_bytes()
    assert [path.name for path in write(Catalogue(After), tmp_path)] == ["Painted.v2.json"]
    assert first.read_bytes() == old, "samples are never changed"
    assert is_written_so(After, files_of(After, tmp_path)[-1].read_text())
    assert write(Catalogue(After), tmp_path) == []


def test_a_sample_has_every_member() -> None:
    for event in CATALOGUE:
        members = json.loads(sample(event))
        members.pop(SHAPE, None)
        assert set(members) == set(event.model_fields)
        assert None not in itertools.chain(members.values())
