"""Taking PKCE out, or weakening it (RFC 9700 section 4.8, RFC 7636 section 7)."""

import hashlib
from base64 import urlsafe_b64encode

import pytest

from services.token_issuer.authorization.answers import Redirect
from services.token_issuer.events import CodeRedeemed
from tests.support.issuing import CHALLENGE, CONFIDENTIAL, PUBLIC, SPA, VERIFIER, Stage, error, query

MALLORY = "com.mallory/app"


@pytest.mark.parametrize(
    "stripped",
    [
        {"code_challenge": "", "code_challenge_method": ""},
        {"code_challenge": ""},
        {"code_challenge_method": ""},
        {"code_challenge_method": "plain"},
        {"code_challenge": VERIFIER, "code_challenge_method": "plain"},
    ],
)
async def test_pkce_cannot_be_taken_out_of_the_request(stage: Stage, stripped: dict[str, str]) -> None:
    await stage.add_resources()
    for client in (await stage.register(PUBLIC, SPA), await stage.register(client_id=MALLORY)):
        outcome = await stage.begin(client, **stripped)
        assert isinstance(outcome, Redirect)
        assert query(outcome.uri)["error"] == "invalid_request"


async def test_nor_out_of_the_redemption(stage: Stage) -> None:
    """Where an application may go without, the challenge decides: with one, a verifier; without, none."""
    lax = await stage.register(CONFIDENTIAL.model_copy(update={"require_pkce": False}), resources=True)
    sub = await stage.user()
    with_challenge = await stage.code(lax, sub)
    assert error(await stage.redeem(lax, with_challenge, code_verifier="")) == "invalid_grant"
    without = await stage.code(lax, sub, code_challenge="", code_challenge_method="")
    assert error(await stage.redeem(lax, without)) == "invalid_grant"
    assert (await stage.redeem(lax, without, code_verifier="")).status_code == 200


async def test_a_verifier_that_is_none_does_not_serve_even_where_it_fits(stage: Stage) -> None:
    """RFC 7636 section 4.1: 43 to 128 unreserved characters. What is short can be guessed from its challenge."""
    spa = await stage.register(PUBLIC, SPA, resources=True)
    sub = await stage.user()
    for verifier in ("a", "a" * 42, "a" * 129, *("a" * 42 + last for last in ("!", " ", "+", "\u00e9", "\n"))):
        challenge = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        code = await stage.code(spa, sub, code_challenge=challenge)
        assert error(await stage.redeem(spa, code, code_verifier=verifier)) == "invalid_grant", verifier
    assert await stage.facts(CodeRedeemed) == []


async def test_the_challenge_is_not_its_own_verifier(stage: Stage) -> None:
    """That would be `plain`, whatever the request said."""
    spa = await stage.register(PUBLIC, SPA, resources=True)
    code = await stage.code(spa, await stage.user())
    for more in ({}, {"code_challenge_method": "plain"}, {"code_challenge": CHALLENGE}):
        assert error(await stage.redeem(spa, code, code_verifier=CHALLENGE, **more)) == "invalid_grant"
    assert error(await stage.redeem(spa, code, code_verifier="")) == "invalid_grant"
    assert (await stage.redeem(spa, code)).status_code == 200


async def test_a_challenge_is_a_digest(stage: Stage) -> None:
    spa = await stage.register(PUBLIC, SPA, resources=True)
    wrong = [CHALLENGE[:-1], CHALLENGE + "=", CHALLENGE + "A", "+" + CHALLENGE[1:], "a", CHALLENGE[:-1] + "\u00e9"]
    for challenge in wrong:
        outcome = await stage.begin(spa, code_challenge=challenge)
        assert isinstance(outcome, Redirect)
        assert query(outcome.uri)["error"] == "invalid_request", challenge
