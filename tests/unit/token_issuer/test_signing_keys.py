"""The life of signing keys: one signs, the next one is known before it does, and a stolen one is worth nothing."""

from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import given as drawn
from hypothesis import strategies as st

from services.token_issuer import signing
from services.token_issuer.domain.signing_keys import (
    Command,
    Compromise,
    Introduce,
    Keys,
    KeyState,
    NewKey,
    Rotate,
    Settle,
    decide,
    decider,
)
from services.token_issuer.events import (
    KeyUse,
    SigningKeyActivated,
    SigningKeyCompromised,
    SigningKeyCreated,
    SigningKeyRetired,
)
from shared.errors import Refusal
from shared.log.event import Event
from tests.support.decider import given
from tests.unit.token_issuer.world import NOW

JWK = {"kty": "EC"}
LATER = NOW + timedelta(minutes=5)
MUCH_LATER = NOW + timedelta(days=1)


def key(kid: str, use: KeyUse = KeyUse.ACCESS_TOKEN) -> NewKey:
    return NewKey(kid, "ES256", use, JWK)


def created(kid: str, use: KeyUse = KeyUse.ACCESS_TOKEN, **more: object) -> SigningKeyCreated:
    return SigningKeyCreated.model_validate({"kid": kid, "algorithm": "ES256", "use": use, "public_jwk": JWK, **more})


FIRST = (created("k1"), SigningKeyActivated(kid="k1"))
ANNOUNCED = (*FIRST, created("k2", use_from=LATER))
SECOND = (*ANNOUNCED, SigningKeyActivated(kid="k2", instead_of="k1", retire_from=MUCH_LATER))


def test_a_first_key_is_announced_and_used() -> None:
    given(decider).when(Introduce(key("k1"))).then(*FIRST)


def test_who_comes_second_brings_none() -> None:
    given(decider, *FIRST).when(Introduce(key("k2"))).then_nothing()
    given(decider, *FIRST).when(Introduce(key("k3", KeyUse.ID_TOKEN))).then(
        created("k3", KeyUse.ID_TOKEN), SigningKeyActivated(kid="k3")
    )


def test_a_successor_is_announced_and_not_used_yet() -> None:
    after = given(decider, *FIRST).when(Rotate(key("k2"), LATER)).then(ANNOUNCED[-1])
    assert (after.state.active(KeyUse.ACCESS_TOKEN), after.state.pending(KeyUse.ACCESS_TOKEN)) == ("k1", "k2")
    after.when(Settle(LATER - timedelta(seconds=1), MUCH_LATER)).then_nothing()


def test_there_is_one_successor_at_a_time() -> None:
    given(decider, *ANNOUNCED).when(Rotate(key("k3"), LATER)).then_nothing()
    given(decider, *SECOND).when(Rotate(key("k3"), LATER, instead_of="k1")).then_nothing()
    given(decider, *SECOND).when(Rotate(key("k3"), LATER, instead_of="k2")).then(created("k3", use_from=LATER))


def test_without_a_first_key_there_is_nothing_to_succeed() -> None:
    given(decider).when(Rotate(key("k1"), LATER)).refused("no_active_key")


def test_no_key_comes_twice() -> None:
    given(decider, *FIRST).when(Rotate(key("k1"), LATER)).refused("key_exists")
    gone = (*FIRST, SigningKeyCompromised(kid="k1"))
    given(decider, *gone).when(Introduce(key("k1"))).refused("key_exists")


def test_it_is_used_when_its_time_has_come_and_the_one_before_retires() -> None:
    after = given(decider, *ANNOUNCED).when(Settle(LATER, MUCH_LATER)).then(SECOND[-1])
    assert after.state.by_kid["k1"].state is KeyState.RETIRING
    after.when(Settle(MUCH_LATER - timedelta(seconds=1), MUCH_LATER)).then_nothing()
    retired = after.when(Settle(MUCH_LATER, MUCH_LATER)).then(SigningKeyRetired(kid="k1"))
    assert retired.state.by_kid["k1"].state is KeyState.RETIRED
    retired.when(Settle(MUCH_LATER, MUCH_LATER)).then_nothing()


def test_a_compromised_key_is_succeeded_at_once() -> None:
    after = (
        given(decider, *FIRST)
        .when(Compromise("k1", key("k2")))
        .then(SigningKeyCompromised(kid="k1"), created("k2"), SigningKeyActivated(kid="k2"))
    )
    assert after.state.active(KeyUse.ACCESS_TOKEN) == "k2"
    assert after.state.by_kid["k1"].state is KeyState.COMPROMISED
    after.when(Compromise("k1", key("k3"))).then_nothing()


def test_a_key_that_does_not_sign_needs_no_successor() -> None:
    given(decider, *ANNOUNCED).when(Compromise("k2", key("k3"))).then(SigningKeyCompromised(kid="k2"))
    given(decider, *SECOND).when(Compromise("k1", key("k3"))).then(SigningKeyCompromised(kid="k1"))
    retired = (*SECOND, SigningKeyRetired(kid="k1"))
    given(decider, *retired).when(Compromise("k1", key("k3"))).then(SigningKeyCompromised(kid="k1"))


def test_a_key_that_is_not_there_cannot_be_compromised() -> None:
    given(decider, *FIRST).when(Compromise("k9", key("k2"))).refused("key_not_found")
    given(decider, *FIRST).when(Compromise("k1", key("k2", KeyUse.ID_TOKEN))).refused("wrong_use")


def test_a_compromised_key_denies_itself_for_ever() -> None:
    (denial,) = SigningKeyCompromised(kid="k1").denies()
    assert (denial.kind, denial.id, denial.rule, denial.until) == ("key", "k1", "standing", None)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("introduce"), st.sampled_from(KeyUse), st.integers(0, 30)),
        st.tuples(st.just("rotate"), st.sampled_from(KeyUse), st.integers(0, 30)),
        st.tuples(st.just("settle"), st.sampled_from(KeyUse), st.integers(0, 30)),
        st.tuples(st.just("compromise"), st.sampled_from(KeyUse), st.integers(0, 30)),
    ),
    max_size=40,
)


@drawn(STEPS)
def test_whatever_happens_one_key_signs_and_none_too_early_or_too_long(steps: list[tuple[str, KeyUse, int]]) -> None:
    """For every order of commands: what a key signs is always known, and nothing of it outlives the key."""
    minute, announced, alive = timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=20)
    state, now, history = Keys(), NOW, list[Event]()
    born, last_signed = {}, {}
    for number, (what, use, wait) in enumerate(steps):
        now += wait * minute
        for each in KeyUse:
            if (kid := state.active(each)) is not None:
                last_signed[kid] = now
        try:
            events = decide(command(what, use, number, state, now=now, announced=announced, alive=alive), state)
        except Refusal as refusal:
            assert refusal.code in {"no_active_key", "key_not_found"}  # noqa: PT017  (any other would be a fault)
            continue
        emergency = any(isinstance(event, SigningKeyCompromised) for event in events)
        for event in events:
            before, state = state, decider.evolve(state, event)
            history.append(event)
            match event:
                case SigningKeyCreated():
                    born[event.kid] = now
                case SigningKeyActivated():
                    first = before.active(before.by_kid[event.kid].use) is None
                    assert emergency or first or now >= born[event.kid] + announced
                case SigningKeyRetired():
                    assert now >= last_signed[event.kid] + alive
        for each in KeyUse:
            states = [one.state for one in state.by_kid.values() if one.use is each]
            assert states.count(KeyState.ACTIVE) == (1 if states else 0)
            assert states.count(KeyState.PENDING) <= 1
    assert decider.fold(history) == state


def command(
    what: str, use: KeyUse, number: int, state: Keys, *, now: datetime, announced: timedelta, alive: timedelta
) -> Command:
    new = replace(key(f"k{number}"), use=use)
    match what:
        case "introduce":
            return Introduce(new)
        case "rotate":
            return Rotate(new, use_from=now + announced)
        case "settle":
            return Settle(now, retire_from=now + alive)
        case _:
            of_use = [kid for kid, one in state.by_kid.items() if one.use is use]
            return Compromise(of_use[number % len(of_use)] if of_use else "none", new)


def test_the_id_of_a_key_can_be_typed() -> None:
    # In an emergency it is given to a command, which would take a hyphen in front for an option.
    made = [signing.generate(KeyUse.ACCESS_TOKEN) for _ in range(500)]
    assert not any(key.kid.startswith("-") for key, _ in made)
    assert all(jwk["kid"] == key.kid for key, jwk in made)
