"""On whose behalf: the person's token."""

from uuid import UUID

import grpc
import pytest

from shared.errors import Kind, Refusal
from shared.rpc import caller
from shared.rpc.caller import Person, Rule
from shared.rpc.client import translate
from shared.rpc.server import RpcServer
from stagedoor.validation.v1 import validation_pb2 as pb
from tests.integration.rpc.serving import VALIDATE, WATCH, Servicer, first, refused, serving
from tests.support.log_lines import LogLines
from tests.support.parties import Parties

ASK = pb.ValidateRequest(token="t")
ADMINISTRATOR = Rule(frozenset({"operator"}), frozenset({"administrator"}))
RULES = {VALIDATE: ADMINISTRATOR, WATCH: ADMINISTRATOR}
PEOPLE = {
    "brians-token": Person("brian", "com.stagedoor/cli", frozenset({"administrator"}), frozenset({"sec"}), "j1", 7),
    "an-auditors-token": Person("auditor", "com.stagedoor/cli", frozenset({"auditor"}), frozenset({"sec"}), "j2", 8),
}


async def _authenticate(token: str) -> Person:
    if token == "a-token-that-breaks-the-check":
        raise RuntimeError(f"cannot handle {token}")
    person = PEOPLE.get(token)
    if person is None:
        raise Refusal(Kind.UNAUTHENTICATED, "invalid_token", "the access token is not valid here")
    return person


async def test_a_person_with_the_role_is_let_in_and_named_as_the_one_who_acts(parties: Parties) -> None:
    key = "0b3a9a5e-7a0e-4f2b-9d27-3f3a0a8f7c11"

    class Noting(Servicer):
        async def Validate(self, request: pb.ValidateRequest, context: object) -> pb.ValidateResponse:  # noqa: N802
            origin = caller.context()
            assert origin.command_id == UUID(key)
            assert origin.correlation_id == caller.current.get().correlation_id
            await super().Validate(request, context)
            return pb.ValidateResponse(reason=origin.actor)

    async with serving(parties, RULES, authenticate=_authenticate, servicer=Noting()) as running:
        async with running.connected(parties.operator()) as validation:
            metadata = (("authorization", "bearer brians-token"), ("idempotency-key", key))
            assert (await validation.Validate(ASK, metadata=metadata)).reason == "user:brian"
        assert running.servicer.calls[0].person == PEOPLE["brians-token"]


@pytest.mark.parametrize(
    ("metadata", "kind", "code"),
    [
        ((), Kind.UNAUTHENTICATED, "missing_token"),
        ((("authorization", "Bearer nobodys-token"),), Kind.UNAUTHENTICATED, "invalid_token"),
        ((("authorization", "Basic brians-token"),), Kind.UNAUTHENTICATED, "invalid_token"),
        ((("authorization", "brians-token"),), Kind.UNAUTHENTICATED, "invalid_token"),
        ((("authorization", "Bearer brians-token trailing"),), Kind.UNAUTHENTICATED, "invalid_token"),
        ((("authorization", "Bearer "),), Kind.UNAUTHENTICATED, "invalid_token"),
        (
            (("authorization", "Bearer brians-token"), ("authorization", "Bearer brians-token")),
            Kind.UNAUTHENTICATED,
            "invalid_token",
        ),
        ((("authorization", "Bearer an-auditors-token"),), Kind.FORBIDDEN, "role_missing"),
        (
            (("authorization", "Bearer brians-token"), ("idempotency-key", "once")),
            Kind.INVALID,
            "invalid_idempotency_key",
        ),
        (
            (("authorization", "Bearer brians-token"), ("idempotency-key", "0b3a9a5e7a0e4f2b9d273f3a0a8f7c11")),
            Kind.INVALID,
            "invalid_idempotency_key",
        ),
    ],
)
async def test_nobody_else_is(
    parties: Parties, metadata: tuple[tuple[str, str], ...], kind: Kind, code: str, log_lines: LogLines
) -> None:
    async with (
        serving(parties, RULES, authenticate=_authenticate) as running,
        running.connected(parties.operator()) as validation,
    ):
        refusal = translate(await refused(validation.Validate(ASK, metadata=metadata)))
        assert (refusal.kind, refusal.code) == (kind, code)
        refusal = translate(await refused(first(validation.WatchDenials(pb.WatchDenialsRequest(), metadata=metadata))))
        assert (refusal.kind, refusal.code) == (kind, code)
        assert running.servicer.requests == 0
    log_lines.read()
    assert "-token" not in log_lines.text


async def test_a_token_does_not_stand_in_for_the_right_caller(parties: Parties) -> None:
    async with (
        serving(parties, RULES, authenticate=_authenticate) as running,
        running.connected(parties.service("registry")) as validation,
    ):
        metadata = (("authorization", "Bearer brians-token"),)
        assert translate(await refused(validation.Validate(ASK, metadata=metadata))).code == "caller_not_allowed"


async def test_a_check_that_breaks_lets_nobody_in_and_tells_nothing(parties: Parties, log_lines: LogLines) -> None:
    async with (
        serving(parties, RULES, authenticate=_authenticate) as running,
        running.connected(parties.operator()) as validation,
    ):
        metadata = (("authorization", "Bearer a-token-that-breaks-the-check"),)
        error = await refused(validation.Validate(ASK, metadata=metadata))
        assert error.code() is grpc.StatusCode.INTERNAL
        assert running.servicer.requests == 0
    assert log_lines.named("rpc_failed")
    assert "breaks-the-check" not in log_lines.text + str(error.details())


def test_a_rule_that_asks_for_a_person_needs_somebody_who_checks(parties: Parties) -> None:
    with pytest.raises(ValueError, match="nobody"):
        RpcServer("127.0.0.1:0", parties.operator(), RULES)


def test_an_application_that_acts_for_itself_is_a_client() -> None:
    nobody: frozenset[str] = frozenset()
    assert Person("com.merchsync/service", "com.merchsync/service", nobody, nobody, "j", 1).actor == (
        "client:com.merchsync/service"
    )
    assert caller.Caller("service/identity").actor == "service:identity"
    assert caller.Caller("operator").actor == "service:operator"
