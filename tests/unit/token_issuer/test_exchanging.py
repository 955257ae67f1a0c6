"""The rules of an exchange: what was shown bounds what is given."""

from dataclasses import replace
from datetime import timedelta

import pytest

from services.token_issuer.domain.exchange import MOST_ACTORS, Exchange, Subject, decider, ends_at
from services.token_issuer.events import AccessTokenExchanged
from tests.support.decider import given
from tests.unit.token_issuer.world import API, HUB, NOW

TOURBUS = "com.tourbus/api"
TRUCKS = "https://api.example.com/trucks"
SHOWN = Subject(
    jti="shown",
    sub="freddie",
    sid="s",
    gid="g",
    scopes=("openid", "read", "drive"),
    audiences=(API, TRUCKS),
    actors=(HUB,),
    derived_from=(),
    ends_at=NOW + timedelta(minutes=30),
)
ASK = Exchange("j", TOURBUS, SHOWN, ("drive",), (TRUCKS,), 3600, NOW)
GIVEN = AccessTokenExchanged(
    jti="j",
    client_id=TOURBUS,
    sub="freddie",
    sid="s",
    gid="g",
    scopes=("drive",),
    audiences=(TRUCKS,),
    actors=(TOURBUS, HUB),
    derived_from=("shown",),
    access_token_seconds=3600,
    ends_by=SHOWN.ends_at,
)


def test_a_token_is_given_once_for_whom_it_was_and_as_who_asks() -> None:
    given(decider).when(ASK).then(GIVEN).when(ASK).refused("token_exists")


def test_the_chain_grows_by_one_at_the_front() -> None:
    again = replace(SHOWN, jti="j", actors=GIVEN.actors, derived_from=GIVEN.derived_from)
    later = replace(ASK, jti="k", client_id="com.second/api", subject=again)
    then = GIVEN.model_copy(
        update={
            "jti": "k",
            "client_id": "com.second/api",
            "actors": ("com.second/api", TOURBUS, HUB),
            "derived_from": ("j", "shown"),
        }
    )
    given(decider).when(later).then(then)


def test_a_chain_has_an_end() -> None:
    clients = tuple(f"com.{number}/api" for number in range(MOST_ACTORS))
    longest = replace(SHOWN, actors=clients[1:])
    (event,) = decider.decide(replace(ASK, subject=longest), None)
    assert isinstance(event, AccessTokenExchanged)
    assert len(event.actors) == MOST_ACTORS
    given(decider).when(replace(ASK, subject=replace(SHOWN, actors=clients))).refused("invalid_request")


@pytest.mark.parametrize(
    ("scopes", "audiences", "code"),
    [
        (("update",), (API,), "invalid_scope"),
        (("read", "update"), (API,), "invalid_scope"),
        ((), (API,), "invalid_scope"),
        (("read",), ("https://api.example.com/elsewhere",), "invalid_target"),
        (("read",), (API, "https://api.example.com/elsewhere"), "invalid_target"),
        (("read",), (), "invalid_target"),
    ],
)
def test_nothing_beyond_what_was_shown(scopes: tuple[str, ...], audiences: tuple[str, ...], code: str) -> None:
    given(decider).when(replace(ASK, scopes=scopes, audiences=audiences)).refused(code)


def test_nothing_for_what_has_ended() -> None:
    given(decider).when(replace(ASK, now=SHOWN.ends_at - timedelta(microseconds=1))).then(GIVEN)
    for now in (SHOWN.ends_at, SHOWN.ends_at + timedelta(seconds=3)):
        given(decider).when(replace(ASK, now=now)).refused("invalid_request")


def test_it_ends_by_its_own_life_or_with_what_was_shown() -> None:
    assert ends_at(GIVEN, NOW) == SHOWN.ends_at
    assert ends_at(GIVEN.model_copy(update={"access_token_seconds": 60}), NOW) == NOW + timedelta(seconds=60)
    # However late the log has recorded it.
    assert ends_at(GIVEN, SHOWN.ends_at + timedelta(seconds=9)) == SHOWN.ends_at
