"""The rules of one reference token, and its text."""

import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from services.token_issuer.domain.reference_token import LONGEST, MOST_ALIVE, Issue, Revoke, decider
from services.token_issuer.events import (
    ReferenceEndReason,
    ReferenceKind,
    ReferenceTokenIssued,
    ReferenceTokenRevoked,
)
from services.token_issuer.references.texts import ALPHABET, kind_of, looks_like_reference, new_reference, text_of
from tests.support.decider import given
from tests.unit.token_issuer.world import API, HUB, NOW, later

ISSUE = Issue(
    jti="j",
    digest="d" * 64,
    kind=ReferenceKind.PERSONAL,
    client_id=HUB,
    sub="freddie",
    scopes=("read",),
    audiences=(API,),
    label="the van's laptop",
    expires_at=later(days=90),
    alive=0,
    now=NOW,
)
ISSUED = ReferenceTokenIssued(
    jti="j",
    digest="d" * 64,
    kind=ReferenceKind.PERSONAL,
    client_id=HUB,
    sub="freddie",
    scopes=("read",),
    audiences=(API,),
    expires_at=later(days=90),
)
BY_OWNER = Revoke(ReferenceEndReason.BY_OWNER, "freddie", NOW)


def revoked(reason: ReferenceEndReason) -> ReferenceTokenRevoked:
    return ReferenceTokenRevoked(jti="j", client_id=HUB, sub="freddie", reason=reason, expires_at=later(days=90))


def test_it_is_issued_once_and_its_label_is_nowhere_in_the_event() -> None:
    issued = given(decider).when(ISSUE).then(ISSUED)
    assert "van" not in issued.events[0].to_json()
    issued.when(ISSUE).refused("reference_exists")


@pytest.mark.parametrize("expires_at", [NOW, later(days=-1), NOW + LONGEST + timedelta(seconds=1)])
def test_it_has_an_end_within_bounds(expires_at: datetime) -> None:
    given(decider).when(replace(ISSUE, expires_at=expires_at)).refused("invalid_expiry")


def test_the_longest_life_is_allowed() -> None:
    assert given(decider).when(replace(ISSUE, expires_at=NOW + LONGEST)).refusal is None


@pytest.mark.parametrize("label", ["", " x", "x ", "x" * 61, "a\nb", "a\u202eb", "a\0b", "a\u200bb"])
def test_a_label_is_short_and_what_it_looks_like(label: str) -> None:
    given(decider).when(replace(ISSUE, label=label)).refused("invalid_label")


def test_nobody_has_too_many() -> None:
    assert given(decider).when(replace(ISSUE, alive=MOST_ALIVE - 1)).refusal is None
    given(decider).when(replace(ISSUE, alive=MOST_ALIVE)).refused("too_many_references")


def test_it_is_taken_back_once() -> None:
    ended = given(decider, ISSUED).when(BY_OWNER).then(revoked(ReferenceEndReason.BY_OWNER))
    for reason in ReferenceEndReason:
        ended.when(
            Revoke(reason, HUB if reason is ReferenceEndReason.BY_APPLICATION else "freddie", NOW)
        ).then_nothing()


def test_an_expired_one_needs_no_taking_back() -> None:
    given(decider, ISSUED).when(replace(BY_OWNER, now=later(days=90))).then_nothing()


def test_whose_it_is() -> None:
    there = given(decider, ISSUED)
    there.when(replace(BY_OWNER, by="brian")).refused("reference_not_found")
    there.when(Revoke(ReferenceEndReason.BY_APPLICATION, "com.mallory/app", NOW)).refused("unauthorized_client")
    there.when(Revoke(ReferenceEndReason.BY_APPLICATION, HUB, NOW)).then(revoked(ReferenceEndReason.BY_APPLICATION))
    there.when(Revoke(ReferenceEndReason.BY_ADMINISTRATOR, "", NOW)).then(revoked(ReferenceEndReason.BY_ADMINISTRATOR))
    there.when(Revoke(ReferenceEndReason.REPORTED_LEAKED, "", NOW)).then(revoked(ReferenceEndReason.REPORTED_LEAKED))
    given(decider).when(BY_OWNER).refused("reference_not_found")


def test_a_service_token_has_no_owner() -> None:
    service = ISSUED.model_copy(update={"kind": ReferenceKind.SERVICE})
    given(decider, service).when(BY_OWNER).refused("reference_not_found")


# The text


@for_all(st.sampled_from(ReferenceKind), st.integers(0, (1 << 256) - 1))
def test_the_format_is_as_documented(kind: ReferenceKind, number: int) -> None:
    text = text_of(kind, number)
    prefix, body, check = text[:14], text[14:57], text[57:]
    assert prefix == f"stagedoor_{kind.value}_"
    assert len(check) == 6
    value = 0
    for character in body:
        value = value * 62 + ALPHABET.index(character)
    assert value == number
    value = 0
    for character in check:
        value = value * 62 + ALPHABET.index(character)
    assert value == zlib.crc32((prefix + body).encode("ascii"))
    assert kind_of(text) is kind


def test_known_texts() -> None:
    """Permanent: scanners of other people know the format."""
    assert text_of(ReferenceKind.PERSONAL, 0) == f"stagedoor_pat_{'0' * 43}{KNOWN[0]}"
    assert text_of(ReferenceKind.SERVICE, (1 << 256) - 1) == f"stagedoor_sat_{KNOWN[1]}"


KNOWN = ("2ggls6", "yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp12OVM4X")


@for_all(st.data())
def test_one_wrong_character_is_noticed(data: st.DataObject) -> None:
    text = new_reference(ReferenceKind.PERSONAL)
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from(sorted(set(ALPHABET) - {text[place]})))
    assert kind_of(text[:place] + other + text[place + 1 :]) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + "\n",
        lambda text: " " + text,
        lambda text: text[:-1],
        lambda text: text + "0",
        lambda text: text.upper(),
        lambda text: text.replace("stagedoor_pat_", "stagedoor_xat_"),
        lambda text: text.replace("stagedoor_pat_", "stagedoor_sat_"),
        lambda text: text.replace("_pat_", "_pat_é"),
        lambda text: text[:14] + "\uff10" + text[15:],
        lambda _: "",
        lambda _: "stagedoor_pat_",
    ],
)
def test_what_is_no_reference_token(change: Callable[[str], str]) -> None:
    assert kind_of(change(new_reference(ReferenceKind.PERSONAL))) is None


def test_what_looks_like_one_is_judged_as_one() -> None:
    assert looks_like_reference("stagedoor_pat_")
    assert looks_like_reference("stagedoor_sat_x.y.z")
    assert not looks_like_reference("stagedoor_xat_")
    assert not looks_like_reference("a.b.c")


def test_no_two_are_alike() -> None:
    assert len({new_reference(ReferenceKind.SERVICE) for _ in range(1000)}) == 1000
