"""Codes and refresh tokens that are bound to a key, with somebody who does not have it (RFC 9449 sections 5 and 10)."""

from datetime import timedelta

from services.token_issuer.events import GrantEnded, RefreshTokenRotated
from tests.support.dpop import TOKEN, ProofKey, ask, redeem, refresh, tokens
from tests.support.issuing import PUBLIC, SPA, VERIFIER, Client, Stage, error

GRACE = timedelta(seconds=11)


async def begin(stage: Stage, key: ProofKey) -> tuple[Client, str]:
    spa = await stage.register(PUBLIC, SPA, resources=True)
    return spa, (await tokens(stage, spa, key, await stage.user()))["refresh_token"]


async def test_a_refresh_token_whose_proof_is_left_away(stage: Stage) -> None:
    key = ProofKey()
    spa, token = await begin(stage, key)
    assert error(await refresh(stage, spa, None, token)) == "invalid_grant"
    assert error(await refresh(stage, spa, ProofKey(), token)) == "invalid_grant"
    assert await stage.facts(RefreshTokenRotated) == []
    assert (await refresh(stage, spa, key, token)).status_code == 200


async def test_within_the_grace_the_thief_gets_no_successor(stage: Stage) -> None:
    key = ProofKey()
    spa, token = await begin(stage, key)
    successor = (await refresh(stage, spa, key, token)).json()["refresh_token"]
    for thief in (None, ProofKey()):
        answer = await refresh(stage, spa, thief, token)
        assert error(answer) == "invalid_grant"
        assert successor not in answer.text
    assert (await refresh(stage, spa, key, successor)).status_code == 200


async def test_a_whole_request_that_was_recorded(stage: Stage) -> None:
    """It proves nothing any more; so it gets nothing within the grace, and ends nothing after it."""
    key = ProofKey()
    spa, token = await begin(stage, key)
    proof = key.proof("POST", TOKEN)
    form = {"grant_type": "refresh_token", "refresh_token": token}
    first = await ask(stage, spa, None, proof, **form)
    assert first.status_code == 200
    for ahead in (timedelta(), GRACE):
        stage.clock.ahead += ahead
        assert error(await ask(stage, spa, None, proof, **form)) == "invalid_dpop_proof"
    assert await stage.facts(GrantEnded) == []
    assert (await refresh(stage, spa, key, first.json()["refresh_token"])).status_code == 200


async def test_nor_one_of_a_repetition(stage: Stage) -> None:
    key = ProofKey()
    spa, token = await begin(stage, key)
    form = {"grant_type": "refresh_token", "refresh_token": token}
    await refresh(stage, spa, key, token)
    proof = key.proof("POST", TOKEN)
    assert (await ask(stage, spa, None, proof, **form)).status_code == 200
    assert error(await ask(stage, spa, None, proof, **form)) == "invalid_dpop_proof"


async def test_a_code_that_was_injected(stage: Stage) -> None:
    """The thief has code and verifier, and no key (section 11.9)."""
    key = ProofKey()
    spa = await stage.register(PUBLIC, SPA, resources=True)
    code = await stage.code(spa, await stage.user(), dpop_jkt=key.jkt)
    for thief in (None, ProofKey()):
        assert error(await redeem(stage, spa, thief, code)) == "invalid_grant"
    assert (await redeem(stage, spa, key, code)).status_code == 200
    assert await stage.facts(GrantEnded) == []


async def test_a_recorded_redemption_does_not_end_the_grant(stage: Stage) -> None:
    key = ProofKey()
    spa = await stage.register(PUBLIC, SPA, resources=True)
    code, proof = await stage.code(spa, await stage.user()), key.proof("POST", TOKEN)
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": spa.redirect_uri}
    form["code_verifier"] = VERIFIER
    assert (await ask(stage, spa, None, proof, **form)).status_code == 200
    assert error(await ask(stage, spa, None, proof, **form)) == "invalid_dpop_proof"
    assert await stage.facts(GrantEnded) == []


async def test_the_thief_of_a_token_that_was_not_bound_binds_it_to_himself(stage: Stage) -> None:
    """Then the owner's next refresh is reuse as ever, and ends it."""
    spa = await stage.register(PUBLIC, SPA, resources=True)
    stolen = (await stage.tokens(spa, await stage.user()))["refresh_token"]
    thief = ProofKey()
    taken = (await refresh(stage, spa, thief, stolen)).json()["refresh_token"]
    assert error(await refresh(stage, spa, None, stolen)) == "invalid_grant"
    stage.clock.ahead += GRACE
    assert error(await refresh(stage, spa, None, stolen)) == "invalid_grant"
    assert len(await stage.facts(GrantEnded)) == 1
    assert error(await refresh(stage, spa, thief, taken)) == "invalid_grant"
