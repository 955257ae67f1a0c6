"""Tokens that are bound to a key, at an exchange (RFC 8693): none becomes one that is not bound."""

import pytest

from services.token_issuer.client_certificates import MutualTls
from services.token_issuer.events import AccessTokenExchanged
from tests.support.client_certificates import certificate, certified, mutual_tls
from tests.support.dpop import ProofKey, ask, tokens
from tests.support.exchanging import ACCESS_TOKEN, EXCHANGE, HUB_SETTINGS, chain
from tests.support.issuing import Stage, error


@pytest.fixture
def believing() -> MutualTls:
    return mutual_tls()


async def test_a_bound_token_is_not_exchanged(stage: Stage) -> None:
    """The API that was sent it has no key; and it would get a token that anybody can use."""
    there, key = await chain(stage), ProofKey()
    bound = (await tokens(stage, there.hub, key, await stage.user(), scope="openid read drive"))["access_token"]
    assert error(await there.ask(bound)) == "invalid_request"
    assert await stage.facts(AccessTokenExchanged) == []


@pytest.mark.parametrize("bound", [False, True])
async def test_nor_is_one_that_is_bound_to_a_certificate(stage: Stage, bound: bool) -> None:
    """RFC 8705 section 3: to whoever does not hold its key it is worth nothing, here as well."""
    there = await chain(stage)
    settings = HUB_SETTINGS.model_copy(update={"tls_client_certificate_bound_access_tokens": bound})
    app = await certified(stage, settings, certificate("own"), resources=False)
    body = await stage.tokens(app, await stage.user(), scope="openid read drive")
    answer = await there.ask(body["access_token"])
    assert (answer.status_code, len(await stage.facts(AccessTokenExchanged))) == ((400, 0) if bound else (200, 1))


@pytest.mark.parametrize("flag", ["dpop_bound_access_tokens", "tls_client_certificate_bound_access_tokens"])
async def test_an_application_that_gets_bound_tokens_only_gets_none_here(stage: Stage, flag: str) -> None:
    there = await chain(stage)
    token = await there.subject(await stage.user())
    bound_only = await there.another("com.bound/api", **{flag: True})
    await stage.follow()
    assert error(await there.ask(token, bound_only)) == "invalid_request"
    assert await stage.facts(AccessTokenExchanged) == []


async def test_nothing_is_bound_by_it(stage: Stage) -> None:
    there = await chain(stage)
    token = await there.subject(await stage.user())
    form = {"grant_type": EXCHANGE, "subject_token": token, "subject_token_type": ACCESS_TOKEN}
    answer = await ask(stage, there.tourbus, ProofKey(), **form)
    assert (answer.status_code, error(answer)) == (400, "invalid_request")
    assert await stage.facts(AccessTokenExchanged) == []
    assert (await ask(stage, there.tourbus, None, **form)).status_code == 200
