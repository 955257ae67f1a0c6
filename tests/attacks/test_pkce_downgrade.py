"""Taking PKCE out, or weakening it (RFC 9700 section 4.8, RFC 7636 section 7)."""

import pytest

from services.token_issuer.authorization.begin import Redirect
from tests.support.issuing import CONFIDENTIAL, PUBLIC, SPA, VERIFIER, Stage, error, query

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
