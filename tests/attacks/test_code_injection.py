"""Authorization codes of somebody else, in one's own sign-in (RFC 9700 section 4.5)."""

import hashlib
from base64 import urlsafe_b64encode

import jwt

from services.token_issuer.events import CodeRedeemed, GrantEnded
from stagedoor import Allowed
from tests.support.issuing import CHALLENGE, PUBLIC, SPA, VERIFIER, Stage, error

MALLORY = "com.mallory/app"


async def test_a_code_of_one_client_is_nothing_to_another(stage: Stage) -> None:
    """Cross-client: a trusted application that is malicious steals a code of another."""
    hub = await stage.register(resources=True)
    mallory = await stage.register(client_id=MALLORY)
    code = await stage.code(hub, await stage.user())
    assert error(await stage.redeem(mallory, code)) == "invalid_grant"
    body = (await stage.redeem(hub, code)).json()
    assert error(await stage.redeem(mallory, code)) == "invalid_grant"
    assert isinstance(await stage.validate(body["access_token"]), Allowed)
    assert await stage.facts(GrantEnded) == []


async def test_a_stolen_code_is_nothing_without_the_verifier(stage: Stage) -> None:
    spa = await stage.register(PUBLIC, SPA, resources=True)
    code = await stage.code(spa, await stage.user())
    for verifier in ("", "a" * 43, CHALLENGE, VERIFIER[:-1], VERIFIER + " ", VERIFIER.upper(), "é" * 43, "a" * 200):
        assert error(await stage.redeem(spa, code, code_verifier=verifier)) == "invalid_grant"
    assert await stage.facts(CodeRedeemed) == []
    assert (await stage.redeem(spa, code)).status_code == 200


async def test_an_injected_code_does_not_fit_the_victims_verifier(stage: Stage) -> None:
    """The thief puts a stolen code into a sign-in of their own; that one has another challenge."""
    hub = await stage.register(resources=True)
    stolen = await stage.code(hub, await stage.user())
    other = "another-verifier-that-the-thief-began-with-0123"
    assert error(await stage.redeem(hub, stolen, code_verifier=other)) == "invalid_grant"


async def test_a_thief_with_half_the_proof_cannot_end_the_grant(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    code = await stage.code(hub, await stage.user())
    body = (await stage.redeem(hub, code)).json()
    assert error(await stage.redeem(hub, code, code_verifier="x" * 43)) == "invalid_grant"
    assert error(await stage.redeem(hub, code, redirect_uri="https://mallory.example")) == "invalid_grant"
    hub.secret, right = "w" * 43, hub.secret
    assert error(await stage.redeem(hub, code)) == "invalid_client"
    hub.secret = right
    assert (await stage.refresh(hub, body["refresh_token"])).status_code == 200


async def test_a_code_of_another_session_does_not_fit_this_one(stage: Stage) -> None:
    """The thief's own code in the victim's browser, or the victim's in the thief's: the sessions have challenges."""
    hub = await stage.register(resources=True)
    other = "another-verifier-of-another-session-01234567890"
    challenge = urlsafe_b64encode(hashlib.sha256(other.encode()).digest()).rstrip(b"=").decode()
    victims = await stage.code(hub, await stage.user())
    thiefs = await stage.code(hub, await stage.user(), code_challenge=challenge, nonce="thief")
    assert error(await stage.redeem(hub, thiefs)) == "invalid_grant"
    assert error(await stage.redeem(hub, victims, code_verifier=other)) == "invalid_grant"
    # What fits says by its nonce which request it belongs to.
    for code, verifier, nonce in ((victims, VERIFIER, "n-0S6"), (thiefs, other, "thief")):
        body = (await stage.redeem(hub, code, code_verifier=verifier)).json()
        assert jwt.decode(body["id_token"], options={"verify_signature": False})["nonce"] == nonce


async def test_a_code_goes_only_with_the_redirect_uri_of_its_request(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    code = await stage.code(hub, await stage.user())
    for uri in ("", hub.redirect_uri + "/", hub.redirect_uri + "?x", "http://LOCALHOST:8480/callback", "https://x"):
        assert error(await stage.redeem(hub, code, redirect_uri=uri)) == "invalid_grant"
    assert (await stage.redeem(hub, code)).status_code == 200
