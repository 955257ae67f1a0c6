"""Using a client assertion again (RFC 7523 section 5): whoever has seen one has seen a password."""

import asyncio

import pytest

from services.token_issuer.events import AccessTokenIssued, GrantEnded
from tests.support.assertions import asserted, signing_client
from tests.support.issuing import VERIFIER, Stage, error
from tests.support.pushing import push

TOKEN, INTROSPECT, REVOKE = "/id/connect/token", "/id/connect/introspect", "/id/connect/revocation"
OWN = {"grant_type": "client_credentials"}


async def test_an_assertion_is_used_once_also_by_many_at_once(stage: Stage) -> None:
    hub = await signing_client(stage)
    form = asserted(hub.assertion(), **OWN)
    answers = await asyncio.gather(*(stage.http.post(TOKEN, data=form) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200, *[401] * 19]
    assert {error(answer) for answer in answers if answer.status_code == 401} == {"invalid_client"}
    assert len(await stage.facts(AccessTokenIssued)) == 1


async def test_nor_at_another_endpoint_nor_after_a_refusal(stage: Stage) -> None:
    hub = await signing_client(stage)
    for first in ("introspection", "revocation", "push", "refusal"):
        assertion = hub.assertion()
        match first:
            case "introspection":
                assert (await stage.http.post(INTROSPECT, data=asserted(assertion, token="x"))).status_code == 200
            case "revocation":
                assert (await stage.http.post(REVOKE, data=asserted(assertion, token="x"))).status_code == 200
            case "push":
                hub.form = lambda said=assertion, **values: asserted(said, **values)  # type: ignore[method-assign]
                assert (await push(stage, hub)).status_code == 201
            case _:
                refused = await stage.http.post(TOKEN, data=asserted(assertion, scope="no-such", **OWN))
                assert error(refused) == "invalid_scope"
        for path, form in ((TOKEN, OWN), (INTROSPECT, {"token": "x"}), (REVOKE, {"token": "x"})):
            answer = await stage.http.post(path, data=asserted(assertion, **form))
            assert (answer.status_code, error(answer)) == (401, "invalid_client"), (first, path)
    assert await stage.facts(AccessTokenIssued) == []


async def test_a_whole_request_that_was_recorded_ends_nothing(stage: Stage) -> None:
    """A code that comes twice ends its grant; a replayed assertion proves nobody, so it ends nothing."""
    hub = await signing_client(stage)
    form = asserted(
        hub.assertion(),
        grant_type="authorization_code",
        code=await stage.code(hub, await stage.user()),
        redirect_uri=hub.redirect_uri,
        code_verifier=VERIFIER,
    )
    first = await stage.http.post(TOKEN, data=form)
    assert first.status_code == 200
    assert error(await stage.http.post(TOKEN, data=form)) == "invalid_client"
    assert await stage.facts(GrantEnded) == []
    assert (await stage.refresh(hub, first.json()["refresh_token"])).status_code == 200


@pytest.mark.parametrize("path", [TOKEN, INTROSPECT])
async def test_the_same_jti_from_another_application_is_another_one(stage: Stage, path: str) -> None:
    one = await signing_client(stage)
    two = await signing_client(stage, client_id="com.setlist/app", resources=False)
    for client in (one, two):
        form = asserted(client.assertion(jti="1"), token="x", **OWN)
        assert (await stage.http.post(path, data=form)).status_code == 200
        assert error(await stage.http.post(path, data=form)) == "invalid_client"
