"""Bound tokens at `Validate`: what a proof has to be, over gRPC, and through the SDK that asks."""

from typing import Any

import pytest

from shared.rpc.client import channel
from stagedoor import Allowed, Certificate, Denied, Guard, Proof
from stagedoor.grpc import GrpcOnline
from stagedoor.keys import StaticKeys
from stagedoor.validation.v1 import validation_pb2 as pb
from stagedoor.verdict import Reason
from tests.integration.validation.serving import Serving
from tests.support.client_certificates import certificate, der, thumbprint
from tests.support.dpop import ProofKey
from tests.support.sdk_tokens import AUDIENCE, ISSUER, HeldFeed

URI = f"{AUDIENCE}/tours"
KEY = ProofKey(name="bound")


def proof(token: str, key: ProofKey = KEY, **changes: Any) -> pb.Proof:
    return pb.Proof(method="GET", uri=URI, dpop=key.proof("GET", URI, token, **changes))


async def bound(validation: Serving) -> str:
    return await validation.token(cnf={"jkt": KEY.jkt})


async def test_a_proof_is_good_for_one_answer(validation: Serving) -> None:
    token = await bound(validation)
    shown = proof(token)
    answer = await validation.ask(token, proof=shown, with_claims=True)
    assert answer.allowed, answer.reason
    assert f'"jkt":"{KEY.jkt}"' in answer.claims
    for _ in range(2):
        assert (await validation.ask(token, proof=shown)).reason == "invalid_proof"
    assert (await validation.ask(token, proof=proof(token))).allowed


async def test_what_is_none(validation: Serving) -> None:
    token, plain = await bound(validation), await validation.token()
    for shown, reason in (
        (None, "proof_required"),
        (pb.Proof(), "proof_required"),
        (pb.Proof(method="GET", uri=URI), "proof_required"),
        (pb.Proof(method="GET", uri=URI, client_certificate=b"one"), "proof_required"),
        (pb.Proof(method="GET", uri=URI, dpop="x"), "invalid_proof"),
        (pb.Proof(method="POST", uri=URI, dpop=proof(token).dpop), "invalid_proof"),
        (pb.Proof(method="GET", uri=AUDIENCE, dpop=proof(token).dpop), "invalid_proof"),
        (pb.Proof(dpop=proof(token).dpop), "invalid_proof"),
        (proof(plain), "invalid_proof"),
        (proof(token, ath=None), "invalid_proof"),
        (proof(token, ProofKey()), "proof_mismatch"),
    ):
        answer = await validation.ask(token, proof=shown)
        assert (answer.allowed, answer.reason) == (False, reason), shown
    assert (await validation.ask(plain, proof=proof(plain))).reason == "proof_mismatch"
    assert (await validation.ask("stagedoor_pat_x", proof=proof("stagedoor_pat_x"))).reason == "proof_mismatch"
    for as_bearer in (None, pb.Proof(), pb.Proof(method="GET", uri=URI)):
        assert (await validation.ask(plain, proof=as_bearer)).allowed


async def test_batches_and_streams(validation: Serving) -> None:
    token, plain = await bound(validation), await validation.token()
    shown = proof(token)

    def question(text: str, with_proof: pb.Proof | None) -> pb.ValidateRequest:
        return pb.ValidateRequest(token=text, audience=AUDIENCE, proof=with_proof)

    batch = pb.ValidateBatchRequest(
        requests=[question(token, shown), question(token, shown), question(token, None), question(plain, None)]
    )
    async with validation.connected() as stub:
        answers = (await stub.ValidateBatch(batch, timeout=10)).responses
        assert [answer.reason for answer in answers] == ["", "invalid_proof", "proof_required", ""]
        stream = stub.ValidateStream(timeout=10)
        for expected in (["invalid_proof", "invalid_proof", "proof_required", ""],) * 2:
            await stream.write(batch)
            assert [answer.reason for answer in (await stream.read()).responses] == expected
        await stream.done_writing()


@pytest.mark.parametrize("stale", [-1.0, 3600.0])
async def test_an_sdk_that_has_to_ask_hands_the_proof_on(validation: Serving, stale: float) -> None:
    connection = channel(validation.address, validation.parties.resource("stagehands"), "token_issuer")
    guard = Guard(
        issuer=ISSUER,
        audience=AUDIENCE,
        feed=HeldFeed(),
        keys=StaticKeys([validation.key.public]),
        online=GrpcOnline(connection),
        max_staleness=stale,
    )
    token = await bound(validation)
    try:
        shown = Proof("GET", URI, KEY.proof("GET", URI, token))
        assert isinstance(await guard.validate(token, proof=shown), Allowed)
        refused = await guard.validate(token, proof=shown)
        assert isinstance(refused, Denied)
        assert refused.reason is Reason.INVALID_PROOF
        # The issuer has a memory of its own.
        assert (await validation.ask(token, proof=pb.Proof(method="GET", uri=URI, dpop=shown.dpop))).reason == (
            "invalid_proof"
        )
    finally:
        await connection.close(None)


OWN, OTHER = certificate("own"), certificate("other")


async def certified(validation: Serving) -> str:
    return await validation.token(cnf={"x5t#S256": thumbprint(OWN)})


async def test_a_token_that_is_bound_to_a_certificate(validation: Serving) -> None:
    token, plain = await certified(validation), await validation.token()
    own, other = pb.Proof(client_certificate=der(OWN)), pb.Proof(client_certificate=der(OTHER))
    for _ in range(2):
        assert (await validation.ask(token, proof=own)).allowed
    for shown, reason in (
        (None, "proof_required"),
        (pb.Proof(), "proof_required"),
        (other, "proof_mismatch"),
        (pb.Proof(client_certificate=b"x"), "proof_mismatch"),
        (proof(token), "proof_required"),
        (pb.Proof(method="GET", uri=URI, dpop=proof(token).dpop, client_certificate=der(OWN)), "proof_required"),
    ):
        answer = await validation.ask(token, proof=shown)
        assert (answer.allowed, answer.reason) == (False, reason), shown
    assert (await validation.ask(await bound(validation), proof=own)).reason == "proof_required"
    for shown in (own, other):
        assert (await validation.ask(plain, proof=shown)).allowed
    batch = pb.ValidateBatchRequest(
        requests=[pb.ValidateRequest(token=token, audience=AUDIENCE, proof=shown) for shown in (own, other, None)]
    )
    async with validation.connected() as stub:
        answers = (await stub.ValidateBatch(batch, timeout=10)).responses
    assert [answer.reason for answer in answers] == ["", "proof_mismatch", "proof_required"]


async def test_an_sdk_that_has_to_ask_hands_the_certificate_on(validation: Serving) -> None:
    connection = channel(validation.address, validation.parties.resource("stagehands"), "token_issuer")
    guard = Guard(
        issuer=ISSUER,
        audience=AUDIENCE,
        feed=HeldFeed(),
        keys=StaticKeys([validation.key.public]),
        online=GrpcOnline(connection),
        max_staleness=-1.0,
    )
    token = await certified(validation)
    try:
        for _ in range(2):
            assert isinstance(await guard.validate(token, proof=Certificate(der(OWN))), Allowed)
        for shown, reason in (
            (Certificate(der(OTHER)), Reason.PROOF_MISMATCH),
            (None, Reason.PROOF_REQUIRED),
        ):
            refused = await guard.validate(token, proof=shown)
            assert isinstance(refused, Denied)
            assert refused.reason is reason
    finally:
        await connection.close(None)
