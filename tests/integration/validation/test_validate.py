"""Validate, ValidateBatch and ValidateStream over gRPC, on a real log."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from services.registry import events as registry
from services.token_issuer import validation as service
from stagedoor.validation.v1 import validation_pb2 as pb
from tests.integration.validation.serving import ANOTHER, PLACES, SETTINGS, Serving
from tests.support.sdk_tokens import AUDIENCE, claims
from tests.support.work import eventually


async def refused(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    code = error.value.code()
    assert isinstance(code, grpc.StatusCode)
    return code


def question(token: str, **asked: Any) -> pb.ValidateRequest:
    return pb.ValidateRequest(**{"token": token, "audience": AUDIENCE, **asked})


async def test_a_good_token_is_allowed(validation: Serving) -> None:
    token = await validation.token()
    answer = await validation.ask(token, scopes=["read"])
    assert (answer.allowed, answer.reason, answer.claims) == (True, "", "")
    assert answer.position >= 2
    assert 0 <= answer.lag_ms < 5000


async def test_claims_are_told_only_where_they_are_asked_for_and_the_token_is_allowed(validation: Serving) -> None:
    token = await validation.token(sub="freddie")
    assert json.loads((await validation.ask(token, with_claims=True)).claims)["sub"] == "freddie"
    assert (await validation.ask(token, with_claims=True, scopes=["sec"])).claims == ""


@pytest.mark.parametrize(
    ("changes", "asked", "reason"),
    [
        ({}, {"scopes": ["read", "sec"]}, "insufficient_scope"),
        ({"aud": [ANOTHER]}, {}, "wrong_audience"),
        ({"iss": "https://elsewhere.example.com"}, {}, "wrong_issuer"),
        ({"exp": 1, "iat": 0, "nbf": 0}, {}, "expired"),
        ({"cnf": {"jkt": "x"}}, {}, "proof_required"),
        ({"pos": 900}, {}, "ahead_of_view"),
        ({}, {"minimum_position": 900}, "ahead_of_view"),
    ],
)
async def test_a_token_that_is_not_good_is_refused_with_its_reason(
    validation: Serving, changes: dict[str, Any], asked: dict[str, Any], reason: str
) -> None:
    answer = await validation.ask(await validation.token(**changes), **asked)
    assert (answer.allowed, answer.reason) == (False, reason)


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "ey" * 9000])
async def test_what_is_no_token_is_malformed(validation: Serving, token: str) -> None:
    assert (await validation.ask(token)).reason == "malformed"


async def test_a_denial_counts_at_once_for_whoever_asks_with_its_position(validation: Serving) -> None:
    for number in range(15):
        client_id = f"com.example/app-{number}"
        token = await validation.token(client_id=client_id)
        assert (await validation.ask(token)).allowed
        denied = await validation.facts.write(
            f"application-{number}", registry.ApplicationDisabled(client_id=client_id, reason="it misbehaves")
        )
        answer = await validation.ask(token, minimum_position=denied.position)
        assert (answer.allowed, answer.reason) == (False, "denied_client")
        assert answer.position >= denied.position


async def test_a_token_that_was_just_issued_is_within_the_view(validation: Serving) -> None:
    for number in range(15):
        await validation.facts.write(
            f"application-{number}", registry.SecretAdded(client_id=str(number), secret_id="s", secret_digest="d")
        )
        assert (await validation.ask(await validation.token())).allowed


async def test_a_position_that_comes_in_time_is_waited_for(validation: Serving) -> None:
    token = await validation.token()
    asking = asyncio.create_task(validation.ask(token, minimum_position=3))
    await validation.facts.write("application-x", registry.SecretAdded(client_id="x", secret_id="s", secret_digest="d"))
    assert (await asking).allowed


async def test_a_question_without_an_audience_or_with_a_negative_position_is_none(validation: Serving) -> None:
    token = await validation.token()
    assert await refused(validation.ask(token, audience="")) is grpc.StatusCode.INVALID_ARGUMENT
    assert await refused(validation.ask(token, minimum_position=-1)) is grpc.StatusCode.INVALID_ARGUMENT


async def test_callers_learn_only_of_tokens_for_their_own_audience(validation: Serving) -> None:
    parties = validation.parties
    cases = [
        (parties.resource("stagehands"), AUDIENCE, True),
        (parties.service("resource"), AUDIENCE, True),
        (parties.resource("roadies"), AUDIENCE, False),
        (parties.service("registry"), AUDIENCE, False),
        (parties.resource("stagehands"), ANOTHER, False),
        (parties.resource("stagehands"), "https://nowhere.example.com", False),
        (parties.resource("stagehands"), PLACES.management, False),
        (parties.service("resource"), PLACES.management, False),
        (parties.service("registry"), PLACES.management, True),
        (parties.service("identity"), PLACES.management, True),
        (parties.service("identity"), PLACES.userinfo, True),
        (parties.service("registry"), PLACES.userinfo, False),
        (parties.operator(), AUDIENCE, False),
    ]
    token = await validation.token(aud=[AUDIENCE, ANOTHER, PLACES.management, PLACES.userinfo])
    for tls, audience, admitted in cases:
        async with validation.connected(tls) as stub:
            call = stub.Validate(question(token, audience=audience), timeout=10)
            if admitted:
                assert (await call).allowed
            else:
                assert await refused(call) is grpc.StatusCode.PERMISSION_DENIED


async def test_a_caller_that_was_taken_off_a_resource_may_not_ask_any_more(validation: Serving) -> None:
    token = await validation.token()
    assert (await validation.ask(token)).allowed
    async with validation.facts.database.connection() as connection:
        settings = SETTINGS.model_copy(update={"callers": ("resource/roadies",)}).model_dump_json()
        await connection.execute(
            "UPDATE token_issuer.resources SET settings = $1::jsonb WHERE identifier = $2", settings, AUDIENCE
        )

    async def may_not() -> bool:
        try:
            await validation.ask(token)
        except grpc.aio.AioRpcError as error:
            return error.code() is grpc.StatusCode.PERMISSION_DENIED
        return False

    await eventually(may_not, 5.0)


async def test_a_batch_is_answered_in_order(validation: Serving) -> None:
    tokens = [
        await validation.token(jti=f"jti-{number}", scope="read" if number % 3 else "update") for number in range(130)
    ]
    async with validation.connected() as stub:
        answer = await stub.ValidateBatch(
            pb.ValidateBatchRequest(requests=[question(token, scopes=["read"]) for token in tokens]), timeout=10
        )
    assert [one.allowed for one in answer.responses] == [bool(number % 3) for number in range(130)]


async def test_a_batch_is_bounded(validation: Serving) -> None:
    token = await validation.token()
    async with validation.connected() as stub:
        full = pb.ValidateBatchRequest(requests=[question(token)] * 1000)
        assert len((await stub.ValidateBatch(full, timeout=10)).responses) == 1000
        full.requests.append(question(token))
        assert await refused(stub.ValidateBatch(full, timeout=10)) is grpc.StatusCode.INVALID_ARGUMENT
        empty = await stub.ValidateBatch(pb.ValidateBatchRequest(), timeout=10)
        assert len(empty.responses) == 0


async def test_one_question_that_is_not_the_callers_to_ask_refuses_the_batch(validation: Serving) -> None:
    token = await validation.token()
    async with validation.connected() as stub:
        mixed = pb.ValidateBatchRequest(requests=[question(token), question(token, audience=ANOTHER)])
        assert await refused(stub.ValidateBatch(mixed, timeout=10)) is grpc.StatusCode.PERMISSION_DENIED
        vague = pb.ValidateBatchRequest(requests=[question(token), question(token, audience="")])
        assert await refused(stub.ValidateBatch(vague, timeout=10)) is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_stream_of_batches_is_answered_batch_by_batch(validation: Serving) -> None:
    good, bad = await validation.token(), await validation.token(aud=[ANOTHER])

    async def batches() -> AsyncIterator[pb.ValidateBatchRequest]:
        for number in range(1, 6):
            yield pb.ValidateBatchRequest(requests=[question(good)] * number + [question(bad)])

    async with validation.connected() as stub:
        answers = [answer async for answer in stub.ValidateStream(batches(), timeout=10)]
    assert [len(answer.responses) for answer in answers] == [2, 3, 4, 5, 6]
    assert all(answer.responses[0].allowed and not answer.responses[-1].allowed for answer in answers)


async def test_a_view_that_nobody_vouches_for_allows_nothing(validation: Serving) -> None:
    token = await validation.token()
    validation.guard.view.max_staleness = 0.0
    answer = await validation.ask(token)
    assert (answer.allowed, answer.reason) == (False, "too_stale")


async def test_a_token_of_another_key_is_refused(validation: Serving) -> None:
    token = await validation.token()
    forged = token[: token.rindex(".") + 1] + validation.key.sign(claims(sub="other")).rpartition(".")[2]
    assert (await validation.ask(forged)).reason == "bad_signature"


async def test_an_application_that_is_enabled_again_is_allowed_again(validation: Serving) -> None:
    token = await validation.token(client_id="com.example/app")
    disabled = registry.ApplicationDisabled(client_id="com.example/app", reason="tried out")
    await validation.facts.write("application-x", disabled)
    await eventually(lambda: len(validation.guard.view) > 0)
    assert (await validation.ask(token)).reason == "denied_client"
    lifted = await validation.facts.write("application-x", registry.ApplicationEnabled(client_id="com.example/app"))
    assert (await validation.ask(token, minimum_position=lifted.position)).allowed


async def test_what_was_allowed_a_moment_ago_is_refused_when_it_is_denied(validation: Serving) -> None:
    token = await validation.token(client_id="com.example/app")
    batch = pb.ValidateBatchRequest(requests=[question(token, scopes=["read"])] * 3)
    async with validation.connected() as stub:
        for _ in range(2):
            assert (await stub.Validate(question(token), timeout=10)).allowed
            assert all(one.allowed for one in (await stub.ValidateBatch(batch, timeout=10)).responses)
        denied = await validation.facts.write(
            "application-x", registry.ApplicationUninstalled(client_id="com.example/app")
        )
        await eventually(lambda: validation.guard.view.position >= denied.position)
        assert (await stub.Validate(question(token), timeout=10)).reason == "denied_client"
        answer = await stub.ValidateBatch(batch, timeout=10)
        assert [one.reason for one in answer.responses] == ["denied_client"] * 3


async def test_remembered_and_other_questions_are_answered_in_order(validation: Serving) -> None:
    good, bad = await validation.token(), await validation.token(aud=[ANOTHER])
    fresh = [await validation.token(jti=f"fresh-{number}") for number in range(3)]
    async with validation.connected() as stub:
        await stub.ValidateBatch(pb.ValidateBatchRequest(requests=[question(good)]), timeout=10)
        asked = [good, bad, fresh[0], good, fresh[1], bad, good, fresh[2]]
        answer = await stub.ValidateBatch(pb.ValidateBatchRequest(requests=map(question, asked)), timeout=10)
        told = await stub.Validate(question(good, with_claims=True), timeout=10)
    assert [one.reason for one in answer.responses] == ["wrong_audience" if one == bad else "" for one in asked]
    assert json.loads(told.claims)["sub"]


async def test_nobody_asks_by_what_another_caller_may_ask(validation: Serving) -> None:
    token = await validation.token()
    assert (await validation.ask(token)).allowed
    async with validation.connected(validation.parties.resource("roadies")) as stub:
        assert await refused(stub.Validate(question(token), timeout=10)) is grpc.StatusCode.PERMISSION_DENIED
        batch = pb.ValidateBatchRequest(requests=[question(token)])
        assert await refused(stub.ValidateBatch(batch, timeout=10)) is grpc.StatusCode.PERMISSION_DENIED


class _Gone:
    """A database that cannot be asked."""

    async def fetch(self, *_: object) -> None:
        raise OSError


async def test_a_jwt_is_judged_without_the_database(validation: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = [await validation.token(jti=f"jti-{number}") for number in range(20)]
    log = await validation.facts.log("token_issuer")
    view = validation.guard.view
    await eventually(lambda: view.position >= 2)
    async with validation.connected() as stub:
        assert (await stub.Validate(question(tokens[0]), timeout=10)).allowed
        # Who may ask is looked up once a second, and the head of the log in the background; no token is.
        monkeypatch.setattr(validation.service._callers, "_tried_at", float("inf"))
        monkeypatch.setattr(log, "pool", _Gone())
        for token in tokens:
            assert (await stub.Validate(question(token), timeout=10)).allowed
        monkeypatch.undo()


async def test_more_than_a_process_can_judge_is_refused_at_once(
    validation: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation.service, "_load", service._Load(5))
    token = await validation.token()
    entered, go = asyncio.Event(), asyncio.Event()

    async def slowly(*_: object) -> None:
        entered.set()
        await go.wait()

    monkeypatch.setattr(validation.service._callers, "require", slowly)
    async with validation.connected() as stub:
        under_way = asyncio.ensure_future(
            stub.ValidateBatch(pb.ValidateBatchRequest(requests=[question(token)] * 4), timeout=10)
        )
        await entered.wait()
        two = pb.ValidateBatchRequest(requests=[question(token)] * 2)
        assert await refused(stub.ValidateBatch(two, timeout=10)) is grpc.StatusCode.RESOURCE_EXHAUSTED
        one = asyncio.ensure_future(stub.Validate(question(token), timeout=10))
        go.set()
        assert len((await under_way).responses) == 4
        assert (await one).allowed
        assert len((await stub.ValidateBatch(two, timeout=10)).responses) == 2


async def test_a_deadline_ends_the_wait_for_a_position(validation: Serving) -> None:
    token = await validation.token()
    head = validation.guard.view.position
    validation.guard._wait = 60.0
    async with validation.connected() as stub:
        call = stub.Validate(question(token, minimum_position=head + 1000), timeout=0.3)
        assert await refused(call) is grpc.StatusCode.DEADLINE_EXCEEDED
        await eventually(lambda: validation.service._load._under_way == 0)
