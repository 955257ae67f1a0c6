"""The whole life of tokens, played at random against the real services and compared with a model at each step.

Every example is one history: applications, people, sessions, consents, codes, tokens, reference tokens, denials,
restarts, views that lag, messages that come late, twice or out of order, and back-ups that lose a tail. After
each step every guard is asked about every token that was ever issued, and at the end so are `Validate`, introspection
and a guard that begins from a snapshot; then the whole log is replayed.

    STAGEDOOR_LIFE_EXAMPLES=2000 STAGEDOOR_LIFE_SEED=7 pytest tests/properties/test_token_life.py

plays more of them, and others with another seed; with STAGEDOOR_LIFE_SHRINK=1 a failure is made smaller, which takes
minutes.
"""

import asyncio
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.properties.token_life.database import held_database
from tests.properties.token_life.machine import TokenLife
from tests.properties.token_life.made_keys import MadeKeys
from tests.properties.token_life.world import World
from tests.support.postgres import Databases

EXAMPLES = int(os.environ.get("STAGEDOOR_LIFE_EXAMPLES", "40"))
STEPS = int(os.environ.get("STAGEDOOR_LIFE_STEPS", "30"))
SEED = os.environ.get("STAGEDOOR_LIFE_SEED")


@pytest.fixture
def stage(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[asyncio.Runner, World]]:
    """The services, and the loop that they run in: a state machine is not asynchronous itself."""
    made = MadeKeys()
    monkeypatch.setattr("services.token_issuer.key_changes.generate", made)
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def open_world() -> World:
            held = await stack.enter_async_context(held_database(databases))
            return await World.open(held, made)

        world = runner.run(open_world())
        try:
            yield runner, world
        finally:
            runner.run(stack.aclose())


@pytest.mark.timeout(300 if SEED is None else 24 * 3600)
def test_the_whole_life_of_tokens(stage: tuple[asyncio.Runner, World]) -> None:
    runner, world = stage
    phases = [Phase.explicit, Phase.generate]
    if "STAGEDOOR_LIFE_SHRINK" in os.environ:
        phases.append(Phase.shrink)
    chosen = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        derandomize=SEED is None,
        database=None,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=phases,
    )

    def life() -> TokenLife:
        return TokenLife(runner, world)

    played: Any = life if SEED is None else seed(int(SEED))(life)  # a function that makes one serves as its class
    try:
        run_state_machine_as_test(played, settings=chosen)
    finally:
        if SEED is not None:
            print("\n".join(f"{count:7} {what}" for what, count in sorted(TokenLife.seen_so_far.items())))
