"""However the feed's messages arrive, the view denies what it should: it equals a model that only remembers.

The model keeps the log's denials as a list, and the set of numbers that were received. What it denies: all that the
unbroken beginning of the list denies, and whatever else was received and does not lift.
"""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from stagedoor.denials import Denial, DenialKind, DenialRule, DenialView, Snapshot
from stagedoor.keys import PublicKey
from stagedoor.token import AccessToken, Said
from tests.support.sdk_tokens import SigningKey

_KEYS: list[PublicKey] = [SigningKey("a").public, SigningKey("b").public]
_NAMES = st.sampled_from(["a", "a", "b"])
_KINDS = st.sampled_from(list(DenialKind))


@dataclass(frozen=True)
class Step:
    what: str
    number: int
    """Of the denial, or of the last one that a head or a snapshot has."""


@st.composite
def logs(draw: st.DrawFn) -> list[Denial]:
    """Denials as the log numbers them; two may have one event's position."""
    position, denials = 1, []
    # Few kinds and names in one log, so that several denials are about the same.
    kinds = st.sampled_from(draw(st.lists(_KINDS, min_size=1, max_size=2, unique=True)))
    names = st.sampled_from(draw(st.sampled_from([["a"], ["a"], ["a", "b"]])))
    for number in range(1, draw(st.integers(1, 9)) + 1):
        position += draw(st.integers(0 if number > 1 else 1, 3))
        kind, name = draw(kinds), draw(names)
        denials.append(
            Denial(
                number=number,
                position=position,
                epoch=1,
                kind=kind,
                id=f"{name} {draw(names)}" if kind is DenialKind.SUBJECT_CLIENT else name,
                rule=draw(st.sampled_from(list(DenialRule))),
                except_id=draw(st.one_of(st.none(), names)) if kind is DenialKind.SUBJECT_SESSIONS else None,
            )
        )
    return denials


@st.composite
def tokens(draw: st.DrawFn) -> AccessToken:
    client, reference = draw(_NAMES), draw(st.sampled_from([None, None, "pat"]))
    clients = (client, *draw(st.lists(_NAMES, max_size=2)))
    derived_from = () if reference else tuple(draw(st.lists(_NAMES, max_size=2)))
    said = Said(
        iss="",
        sub=draw(_NAMES),
        aud=(),
        client_id=client,
        scope="",
        iat=0,
        exp=0,
        jti=draw(_NAMES),
        pos=draw(st.integers(1, 25)),
        epoch=1,
        gid=None if reference else draw(st.one_of(st.none(), _NAMES)),
        sid=None if reference else draw(st.one_of(st.none(), _NAMES)),
        derived_from=derived_from,
        reference="pat" if reference else None,
    )
    return AccessToken(
        key=None if reference else draw(st.sampled_from(_KEYS)),
        said=said,
        payload=b"{}",
        clients=clients,
        chain=(*clients, *derived_from),
        scopes=frozenset(),
    )


def _matches(denial: Denial, token: AccessToken) -> bool:  # noqa: PLR0911  (one for each kind)
    match denial.kind:
        case DenialKind.TOKEN:
            return denial.id in (token.jti, *token.said.derived_from)
        case DenialKind.GRANT:
            return token.said.gid == denial.id
        case DenialKind.SESSION:
            return token.said.sid == denial.id
        case DenialKind.SUBJECT:
            return token.sub == denial.id
        case DenialKind.SUBJECT_SESSIONS:
            return token.sub == denial.id and token.said.sid is not None and token.said.sid != denial.except_id
        case DenialKind.SUBJECT_CLIENT:
            return any(denial.id == f"{token.sub} {client}" for client in token.clients)
        case DenialKind.CLIENT:
            return denial.id in token.clients
        case DenialKind.CLIENT_REFERENCES:
            return token.said.reference is not None and token.client_id == denial.id
        case DenialKind.KEY:
            return token.key is not None and token.key.kid == denial.id


def _denies(denial: Denial, token: AccessToken) -> bool:
    if denial.rule is DenialRule.LIFTED or not _matches(denial, token):
        return False
    return denial.kind is DenialKind.KEY or denial.rule is DenialRule.STANDING or token.pos <= denial.position


def _lifted(denial: Denial, later: list[Denial]) -> bool:
    """Whether one of these ends it."""
    return (
        denial.rule is DenialRule.STANDING
        and denial.kind is not DenialKind.KEY
        and any(
            (other.kind, other.id, other.rule) == (denial.kind, denial.id, DenialRule.LIFTED)
            and other.number > denial.number
            for other in later
        )
    )


def _model(log: list[Denial], received: set[int], token: AccessToken) -> bool:
    number = 0
    while number + 1 in received:
        number += 1
    beginning = log[:number]
    return any(_denies(denial, token) and not _lifted(denial, beginning) for denial in beginning) or any(
        _denies(log[early - 1], token) for early in received if early > number
    )


def _play(view: DenialView, log: list[Denial], steps: list[Step]) -> set[int]:
    received: set[int] = set()
    view.replace(Snapshot(position=0, number=0, epoch=1, denials=()))
    for step in steps:
        number = step.number
        upto = log[:number]
        # All denials of one event are read together, so a head never lies between two of them.
        head = upto[-1].position if number == len(log) or log[number].position > upto[-1].position else None
        if step.what == "denial":
            view.apply(log[number - 1])
            received.add(number)
        elif head is not None and step.what == "heartbeat":
            view.vouch(head, number, 1, float(number))
        elif head is not None and step.what in ("snapshot", "compact snapshot"):
            compact = [d for d in upto if d.rule is not DenialRule.LIFTED and not _lifted(d, upto)]
            kept = compact if step.what == "compact snapshot" else upto
            view.replace(Snapshot(position=head, number=number, epoch=1, denials=tuple(kept)))
            received |= set(range(1, number + 1))
    return received


@st.composite
def stories(draw: st.DrawFn) -> tuple[list[Denial], list[Step]]:
    """A log, and how it arrives: most denials in a disorder of their own, some twice, some never, between heads."""
    log = draw(logs())
    numbers = st.integers(1, len(log))
    steps = [Step("denial", number) for number in range(1, len(log) + 1) if draw(st.integers(0, 3))]
    steps += [Step("denial", number) for number in draw(st.lists(numbers, max_size=3))]
    others = st.sampled_from(["heartbeat", "snapshot", "compact snapshot"])
    steps += draw(st.lists(st.builds(Step, others, numbers), max_size=4))
    disorder = draw(st.one_of(st.just(steps), st.permutations(steps)))
    return log, list(disorder)


@settings(max_examples=300, deadline=None)
@given(story=stories(), presented=st.lists(tokens(), min_size=1, max_size=5))
def test_the_view_denies_exactly_what_it_has_heard_of(
    story: tuple[list[Denial], list[Step]], presented: list[AccessToken]
) -> None:
    log, steps = story
    view = DenialView()
    received = _play(view, log, steps)
    for token in presented:
        assert (view.denied(token) is not None) == _model(log, received, token)


@settings(max_examples=200, deadline=None)
@given(story=stories())
def test_the_position_never_promises_more_than_was_applied(story: tuple[list[Denial], list[Step]]) -> None:
    log, steps = story
    view = DenialView()
    received = _play(view, log, steps)
    assert all(denial.number in received for denial in log if denial.position <= view.position)
    assert all(number in received for number in range(1, view.number + 1))


@settings(max_examples=200, deadline=None)
@given(story=stories(), presented=st.lists(tokens(), min_size=1, max_size=5))
def test_a_snapshot_heals_whatever_was_lost(
    story: tuple[list[Denial], list[Step]], presented: list[AccessToken]
) -> None:
    log, steps = story
    view = DenialView()
    _play(view, log, steps)
    view.replace(Snapshot(position=log[-1].position, number=len(log), epoch=1, denials=tuple(log)), 1.0)
    assert not view.incomplete
    for token in presented:
        assert (view.denied(token) is not None) == _model(log, set(range(1, len(log) + 1)), token)
