"""Tokens that are bound to a key, at an exchange (RFC 8693): none becomes one that is not bound."""

from services.token_issuer.events import AccessTokenExchanged
from tests.support.dpop import ProofKey, ask, tokens
from tests.support.exchanging import ACCESS_TOKEN, EXCHANGE, chain
from tests.support.issuing import Stage, error


async def test_a_bound_token_is_not_exchanged(stage: Stage) -> None:
    """The API that was sent it has no key; and it would get a token that anybody can use."""
    there, key = await chain(stage), ProofKey()
    bound = (await tokens(stage, there.hub, key, await stage.user(), scope="openid read drive"))["access_token"]
    assert error(await there.ask(bound)) == "invalid_request"
    assert await stage.facts(AccessTokenExchanged) == []


async def test_nothing_is_bound_by_it(stage: Stage) -> None:
    there = await chain(stage)
    token = await there.subject(await stage.user())
    form = {"grant_type": EXCHANGE, "subject_token": token, "subject_token_type": ACCESS_TOKEN}
    answer = await ask(stage, there.tourbus, ProofKey(), **form)
    assert (answer.status_code, error(answer)) == (400, "invalid_request")
    assert await stage.facts(AccessTokenExchanged) == []
    assert (await ask(stage, there.tourbus, None, **form)).status_code == 200


async def test_an_application_that_gets_bound_tokens_only_gets_none_here(stage: Stage) -> None:
    there = await chain(stage)
    token = await there.subject(await stage.user())
    bound_only = await there.another("com.bound/api", dpop_bound_access_tokens=True)
    await stage.follow()
    assert error(await there.ask(token, bound_only)) == "invalid_request"
    assert await stage.facts(AccessTokenExchanged) == []
