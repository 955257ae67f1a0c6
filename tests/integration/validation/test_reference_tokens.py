"""Reference tokens at Validate: looked up instead of read, and judged alike."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from services.token_issuer.events import (
    ReferenceEndReason,
    ReferenceKind,
    ReferenceTokenIssued,
    ReferenceTokenRevoked,
)
from services.token_issuer.issuer import append_of
from services.token_issuer.references.texts import new_reference
from shared.ids import digest, new_command_id, new_id
from shared.log.append import Context
from stagedoor.validation.v1 import validation_pb2 as pb
from tests.integration.validation.serving import ANOTHER, Serving
from tests.integration.validation.test_validate import question
from tests.support.sdk_tokens import AUDIENCE


async def issued(validation: Serving, **changes: Any) -> tuple[str, ReferenceTokenIssued]:
    token = new_reference(ReferenceKind.PERSONAL)
    event = ReferenceTokenIssued(
        **{
            "jti": new_id(),
            "digest": digest(token),
            "kind": ReferenceKind.PERSONAL,
            "client_id": "com.example/app",
            "sub": "freddie",
            "scopes": ("read",),
            "audiences": (AUDIENCE,),
            "expires_at": datetime.now(UTC) + timedelta(days=1),
            **changes,
        }
    )
    log = await validation.facts.log("token_issuer")
    context = Context("user:freddie", new_id(), new_command_id())
    await log.append(append_of(f"reference-{event.jti}", 0, (event,), context))
    return token, event


async def test_its_claims_are_those_of_an_access_token(validation: Serving) -> None:
    token, event = await issued(validation)
    answer = await validation.ask(token, scopes=["read"], with_claims=True)
    claims = json.loads(answer.claims)
    assert answer.allowed
    assert " ".join(claims) == "iss sub aud client_id scope iat exp jti pos epoch reference"
    assert (claims["jti"], claims["sub"], claims["reference"]) == (event.jti, "freddie", "pat")
    assert (await validation.ask(token)).claims == ""


async def test_its_reasons(validation: Serving) -> None:
    token, _ = await issued(validation)
    old, _ = await issued(validation, expires_at=datetime.now(UTC))
    elsewhere, _ = await issued(validation, audiences=(ANOTHER,))
    assert (await validation.ask(token, scopes=["sec"])).reason == "insufficient_scope"
    assert (await validation.ask(token, minimum_position=900)).reason == "ahead_of_view"
    assert (await validation.ask(old)).reason == "expired"
    assert (await validation.ask(elsewhere)).reason == "wrong_audience"
    assert (await validation.ask(new_reference(ReferenceKind.SERVICE))).reason == "unknown_token"
    assert (await validation.ask(token[:-1])).reason == "malformed"


async def test_a_denial_counts_at_once(validation: Serving) -> None:
    token, event = await issued(validation)
    assert (await validation.ask(token)).allowed
    ended = ReferenceTokenRevoked(
        jti=event.jti,
        client_id=event.client_id,
        sub=event.sub,
        reason=ReferenceEndReason.BY_OWNER,
        expires_at=event.expires_at,
    )
    position = (await validation.facts.write(f"revocation-{event.jti}", ended)).position
    assert (await validation.ask(token, minimum_position=position)).reason == "denied_token"


async def test_in_a_batch_with_others(validation: Serving) -> None:
    token, _ = await issued(validation)
    batch = pb.ValidateBatchRequest(
        requests=[question(await validation.token()), question(token), question("x"), question(token[:-1] + "_")]
    )
    async with validation.connected() as stub:
        answer = await stub.ValidateBatch(batch, timeout=10)
    assert [one.reason for one in answer.responses] == ["", "", "malformed", "malformed"]
