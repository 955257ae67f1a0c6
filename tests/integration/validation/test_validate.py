"""Validate, ValidateBatch and ValidateStream over gRPC, on a real log."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from services.registry import events as registry
from services.token_issuer import audiences
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
            f"application-{number}", registry.SecretRevoked(client_id=str(number), secret_id="s")
        )
        assert (await validation.ask(await validation.token())).allowed


async def test_a_position_that_comes_in_time_is_waited_for(validation: Serving) -> None:
    token = await validation.token()
    asking = asyncio.create_task(validation.ask(token, minimum_position=3))
    await validation.facts.write("application-x", registry.SecretRevoked(client_id="x", secret_id="s"))
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


async def test_a_caller_that_was_taken_off_a_resource_may_not_ask_any_more(
    validation: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audiences, "_KEPT_SECONDS", 0.0)
    token = await validation.token()
    assert (await validation.ask(token)).allowed
    async with validation.facts.database.connection() as connection:
        settings = SETTINGS.model_copy(update={"callers": ("resource/roadies",)}).model_dump_json()
        await connection.execute(
            "UPDATE token_issuer.resources SET settings = $1::jsonb WHERE identifier = $2", settings, AUDIENCE
        )
    assert await refused(validation.ask(token)) is grpc.StatusCode.PERMISSION_DENIED


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
