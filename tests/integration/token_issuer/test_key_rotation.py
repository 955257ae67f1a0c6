"""Keys that change while tokens are issued and checked: nobody notices, and a stolen key is worth nothing."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import jwt
import pytest
import uvicorn

from services.registry.events import ResponseAlgorithm
from services.token_issuer import signing
from services.token_issuer.authorization.hints import Hints
from services.token_issuer.clients import presented
from services.token_issuer.domain.signing_keys import KeyState
from services.token_issuer.events import (
    KeyUse,
    SigningKeyActivated,
    SigningKeyCompromised,
    SigningKeyCreated,
    SigningKeyRetired,
)
from services.token_issuer.grants import client_credentials, refresh_token
from services.token_issuer.http import application
from services.token_issuer.issuer import Issuer
from services.token_issuer.settings import KeyRules
from services.token_issuer.signing import FOR_APPLICATIONS
from services.token_issuer.tokens import Content, Issued, access_token
from shared.errors import Unavailable
from shared.http.forms import single
from shared.ids import new_command_id, new_id
from shared.log.append import Context
from shared.log_feed import LogFeed
from shared.wake import Wake
from stagedoor import Allowed, Denied, Guard
from stagedoor.keys import HttpKeys
from stagedoor.verdict import Reason
from tests.support.issuing import API, CONFIDENTIAL, ISSUER, Client, MovableClock, Stage, policy, replica
from tests.support.ports import free_port
from tests.support.postgres import Database
from tests.support.work import Work, eventually

SHORT = KeyRules(
    jwks_cache=timedelta(seconds=1),
    announced=timedelta(seconds=2.5),
    rotation=timedelta(seconds=0.5),
    retiring=timedelta(seconds=6),
    known=timedelta(seconds=30),
)
"""A life of three seconds; tokens live two."""
TOKEN_SECONDS = 2


@pytest.fixture(autouse=True)
def real_keys(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every key is another one."""
    assert stage.issuer.keys.loaded
    monkeypatch.setattr("services.token_issuer.key_changes.generate", signing.generate)


async def issue(issuer: Issuer, client: Client) -> str:
    """A token of the client's own, by this replica."""
    headers = [client.headers()["Authorization"]]
    form = single([("grant_type", "client_credentials"), ("scope", "read")])
    return (await client_credentials.issue(issuer, presented(headers, form), form)).access_token


def kid_of(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


def origin() -> Context:
    return Context("service:test", new_id(), new_command_id())


@asynccontextmanager
async def published(issuers: Sequence[Issuer], stage: Stage) -> AsyncIterator[str]:
    """The JWKS over HTTP, by one replica after the other; the address."""
    answers = itertools.cycle([application(issuer, stage.guard, stage.references) for issuer in issuers])

    async def door(scope: Any, receive: Any, send: Any) -> None:
        await next(answers)(scope, receive, send)

    port = free_port()
    config = uvicorn.Config(door, host="127.0.0.1", port=port, lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        await eventually(lambda: server.started)
        yield f"http://127.0.0.1:{port}/id/connect/jwks"
    finally:
        server.should_exit = True
        await serving


def checking(issuer: Issuer, wake: Wake, keys: Any, **options: Any) -> Guard:
    return Guard(issuer=ISSUER, audience=API, feed=LogFeed(issuer.log, wake), keys=keys, wait=5.0, **options)


async def test_rotated_again_and_again_without_one_refused_token(stage: Stage, database: Database, work: Work) -> None:
    hub = await stage.register(resources=True)
    await stage.follow()
    rules = replace(policy(), keys=SHORT, access_token_seconds=TOKEN_SECONDS)
    issuers = [(await replica(database, stage.clock, rules))[0] for _ in range(2)]
    wakes = [Wake(issuer.log) for issuer in issuers]
    for issuer, wake in zip(issuers, wakes, strict=True):
        work.start(wake.run())
        work.start(issuer.keys.run(wake))
    await eventually(lambda: all(issuer.keys.loaded for issuer in issuers))
    refused: list[tuple[str, Any]] = []
    kids: dict[str, int] = {}

    async def use(number: int, guard: Guard) -> None:
        """Issue and check; and check what was issued a while ago once more, as long as it is alive."""
        held: list[str] = []
        while not done():
            token = await issue(issuers[number % 2], hub)
            kids[kid_of(token)] = kids.get(kid_of(token), 0) + 1
            held.append(token)
            for one in (token, held[0]):
                verdict = await guard.validate(one, scopes=("read",))
                if not isinstance(verdict, Allowed):
                    refused.append((kid_of(one), verdict))
            if jwt.decode(held[0], options={"verify_signature": False})["exp"] < time.time() + 0.5:
                held.clear()

    def done() -> bool:
        return len(kids) >= 4 or time.monotonic() > deadline

    deadline = time.monotonic() + 60
    async with published(issuers, stage) as address:
        guards = [checking(issuer, wake, HttpKeys(address)) for issuer, wake in zip(issuers, wakes, strict=True)]
        async with guards[0], guards[1]:
            await eventually(lambda: all(guard.ready() for guard in guards))
            await asyncio.gather(*(use(number, guards[number // 2 % 2]) for number in range(8)))
    assert len(kids) >= 4
    assert refused == []

    async def all_facts() -> list[object]:
        return [r.event for r in await stage.issuer.log.read(0, sources=("token_issuer",), limit=100_000)]

    async def one_retired() -> bool:
        return any(isinstance(event, SigningKeyRetired) for event in await all_facts())

    await eventually(one_retired, 30)
    # What is left is one key that signs, perhaps the next one, and those whose tokens may be alive.
    facts = await all_facts()
    activated = [event.kid for event in facts if isinstance(event, SigningKeyActivated)]
    assert len(activated) == len(set(activated))
    assert set(kids) <= set(activated)
    _, kept = await stage.issuer.questions.keys.all(private=True)
    signing = {KeyState.PENDING, KeyState.ACTIVE}
    assert {key.kid for key in kept if key.wrapped is not None} == {key.kid for key in kept if key.state in signing}
    ring = issuers[0].keys
    jwks = {key["kid"] for key in json.loads(ring.jwks)["keys"]}
    assert jwks == {key.kid for key in ring.list() if key.state is not KeyState.RETIRED}


async def test_a_rotation_by_command_waits_until_it_is_known(stage: Stage) -> None:
    keys = stage.issuer.keys
    before = keys.signer(KeyUse.ID_TOKEN).kid
    rotated = await keys.rotate(KeyUse.ID_TOKEN, origin())
    assert rotated.kid in {key["kid"] for key in json.loads(keys.jwks)["keys"]}
    assert keys.signer(KeyUse.ID_TOKEN).kid == before
    assert rotated.use_from is not None
    assert rotated.use_from - stage.clock() > timedelta(seconds=keys.jwks_seconds)
    again = await keys.rotate(KeyUse.ID_TOKEN, origin())
    assert (again.kid, again.use_from) == (rotated.kid, rotated.use_from)
    assert len(await stage.facts(SigningKeyCreated)) == len(KeyUse) + 1


async def test_guards_are_told_of_a_key_before_it_signs_and_of_the_one_that_takes_a_stolen_one_s_place(
    stage: Stage, database: Database, work: Work
) -> None:
    await stage.register(resources=True)
    await stage.follow()
    wake = Wake(stage.issuer.log)
    work.start(wake.run())
    async with published([stage.issuer], stage) as address:
        # Nobody asks these about a token, and the JWKS may be kept for minutes.
        keys = HttpKeys(address)
        async with checking(stage.issuer, wake, keys) as guard:
            await eventually(guard.ready)
            first = stage.issuer.keys.signer(KeyUse.ACCESS_TOKEN).kid
            announced = (await stage.issuer.keys.rotate(KeyUse.ACCESS_TOKEN, origin())).kid
            await eventually(lambda: keys.find(announced) is not None)
            await stage.issuer.keys.compromise(first, origin())
            successor = stage.issuer.keys.signer(KeyUse.ACCESS_TOKEN).kid
            await eventually(lambda: keys.find(first) is None and keys.find(successor) is not None)


async def test_a_compromised_key_is_worth_nothing_from_its_position_on(
    stage: Stage, database: Database, work: Work
) -> None:
    hub = await stage.register(resources=True)
    await stage.follow()
    # The other replica does not follow: it will not have heard of it.
    other, _ = await replica(database, stage.clock)
    await other.keys.prepare()
    stolen = other.keys.signer(KeyUse.ACCESS_TOKEN)
    before = await issue(stage.issuer, hub)
    wake = Wake(stage.issuer.log)
    work.start(wake.run())
    async with published([stage.issuer], stage) as address:
        keys = HttpKeys(address, minimum_seconds=0.0)
        guard = checking(stage.issuer, wake, keys)
        async with guard:
            await eventually(guard.ready)
            assert isinstance(await guard.validate(before), Allowed)
            position = await stage.issuer.keys.compromise(stolen.kid, origin())

            # A thief claims whatever position there is.
            head = await stage.issuer.log.head()
            content = Content(new_id(), "freddie", "com.mallory/app", ("read",), (API,), 3600)
            forged = [
                access_token(stolen, ISSUER, content, Issued(head.epoch, at, stage.clock())) for at in (1, position)
            ]
            for token in (before, *forged):
                verdict = await guard.validate(token, min_position=position)
                assert isinstance(verdict, Denied)
                assert verdict.reason in (Reason.DENIED_KEY, Reason.UNKNOWN_KEY)

            # The one who knows, and the one who does not: the log lets neither issue with it.
            assert other.keys.signer(KeyUse.ACCESS_TOKEN) is stolen
            for issuer in (stage.issuer, other):
                token = await issue(issuer, hub)
                assert kid_of(token) != stolen.kid
                assert isinstance(await guard.validate(token), Allowed)
            assert other.keys.signer(KeyUse.ACCESS_TOKEN).kid != stolen.kid
    for issuer in (stage.issuer, other):
        assert stolen.kid not in issuer.keys.jwks.decode()
        assert issuer.keys.find(stolen.kid) is None
    vault = await stage.issuer.log.pool.fetch("SELECT kid FROM token_issuer.vault")
    assert stolen.kid not in {row["kid"] for row in vault}
    assert await stage.issuer.keys.compromise(stolen.kid, origin()) > 0
    assert len(await stage.facts(SigningKeyCompromised)) == 1


async def test_a_refresh_by_a_replica_that_has_not_heard_of_it(stage: Stage, database: Database) -> None:
    hub = await stage.register(resources=True)
    body = await stage.tokens(hub, await stage.user())
    other, follower = await replica(database, stage.clock)
    await other.keys.prepare()
    await follower.reach((await other.log.head()).position)
    for use in KeyUse:
        await stage.issuer.keys.compromise(stage.issuer.keys.signer(use).kid, origin())
    form = single([("grant_type", "refresh_token"), ("refresh_token", body["refresh_token"])])
    answer = await refresh_token.refresh(other, presented([hub.headers()["Authorization"]], form), form)
    assert answer.id_token is not None
    assert kid_of(answer.access_token) == stage.issuer.keys.signer(KeyUse.ACCESS_TOKEN).kid
    assert kid_of(answer.id_token) == stage.issuer.keys.signer(KeyUse.ID_TOKEN).kid
    assert isinstance(await stage.validate(answer.access_token), Allowed)
    assert isinstance(await stage.validate(body["access_token"]), Denied)


async def test_a_replica_meets_the_successor_of_another_one(stage: Stage, database: Database, work: Work) -> None:
    hub = await stage.register(resources=True)
    other, follower = await replica(database, stage.clock)
    await other.keys.prepare()
    await follower.reach((await other.log.head()).position)
    await other.keys.compromise(other.keys.signer(KeyUse.ACCESS_TOKEN).kid, origin())
    assert isinstance(await stage.validate(await issue(other, hub)), Allowed)


@pytest.mark.parametrize("algorithm", list(ResponseAlgorithm))
async def test_hints_outlive_their_key_unless_it_was_stolen(
    stage: Stage, database: Database, algorithm: ResponseAlgorithm
) -> None:
    settings = CONFIDENTIAL.model_copy(update={"id_token_signed_response_alg": algorithm})
    hub = await stage.register(settings, resources=True)
    hint = (await stage.tokens(hub, await stage.user()))["id_token"]
    at_once = replace(policy(), keys=replace(SHORT, announced=timedelta(), retiring=timedelta()))
    hurried, _ = await replica(database, MovableClock(), at_once)

    async def retired() -> bool:
        await hurried.keys.prepare()
        return {key.kid: key.state for key in hurried.keys.list()}[kid_of(hint)] is KeyState.RETIRED

    await hurried.keys.prepare()
    await hurried.keys.rotate(FOR_APPLICATIONS[algorithm], origin())
    await eventually(retired)
    assert kid_of(hint) not in hurried.keys.jwks.decode()
    assert Hints(hurried.keys, ISSUER).read(hint) is not None
    await hurried.keys.compromise(kid_of(hint), origin())
    assert Hints(hurried.keys, ISSUER).read(hint) is None


async def test_what_is_not_looked_up_lately_is_not_acted_on(stage: Stage, database: Database) -> None:
    rules = replace(policy(), keys=replace(SHORT, known=timedelta()))
    forgetful, _ = await replica(database, stage.clock, rules)
    await forgetful.keys.prepare()
    for what in (lambda: forgetful.keys.signer(KeyUse.ACCESS_TOKEN), lambda: forgetful.keys.jwks):
        with pytest.raises(Unavailable) as refused:
            what()
        assert refused.value.code == "keys_too_stale"


async def test_a_private_half_that_is_gone_ends_the_process(stage: Stage, database: Database) -> None:
    await stage.issuer.log.pool.execute("DELETE FROM token_issuer.vault")
    other, _ = await replica(database, stage.clock)
    with pytest.raises(SystemExit, match="is not in the vault"):
        await other.keys.prepare()
