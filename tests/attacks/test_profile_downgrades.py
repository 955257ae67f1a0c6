"""Talking an application out of the FAPI 2.0 Security Profile (sections 5.3.2 and 5.4): weaker ways that others may
still go, tried in the name of one that may not; and what a thief gets for what is stolen from it."""

from datetime import timedelta
from typing import Any

from services.registry.events import GrantType
from services.token_issuer.authorization.answers import Redirect
from services.token_issuer.authorization.begin import Refused
from services.token_issuer.events import (
    AccessTokenIssued,
    AuthorizationRequestPushed,
    CodeRedeemed,
    GrantEnded,
    GrantOpened,
    RefreshTokenUsed,
)
from shared.ids import new_secret
from tests.support.assertions import ClientKey, SigningClient, asserted
from tests.support.dpop import PAR, TOKEN, ProofKey, ask, redeem, refresh
from tests.support.issuing import ISSUER, VERIFIER, Stage, error, query
from tests.support.request_objects import begin_signed, request_of
from tests.support.security_profile import code, held_client, push, tokens

OWN = {"grant_type": "client_credentials"}
ENDPOINTS: dict[str, dict[str, str]] = {
    "/id/connect/token": OWN,
    "/id/connect/introspect": {"token": "x"},
    "/id/connect/revocation": {"token": "x"},
    "/id/connect/par": {"response_type": "code"},
}


def ps256(key: ClientKey) -> ClientKey:
    """The same key for the other algorithm."""
    return _SameKey("PS256", key.kid, of=key)


class _SameKey(ClientKey):
    def __init__(self, algorithm: str, kid: str | None, *, of: ClientKey) -> None:
        super().__init__(algorithm, kid)
        object.__setattr__(self, "_of", of)

    @property
    def private(self) -> Any:
        return self._of.private  # type: ignore[attr-defined]


async def refused(stage: Stage, form: dict[str, str], headers: dict[str, str] | None = None) -> None:
    """Everywhere that the application authenticates at."""
    for path, more in ENDPOINTS.items():
        answer = await stage.http.post(path, data={**form, **more}, headers=headers)
        assert (answer.status_code, error(answer)) == (401, "invalid_client"), path


async def test_a_request_through_the_browser(stage: Stage) -> None:
    """In the open, and signed (5.3.2.2, items 2 and 3)."""
    hub = await held_client(stage)
    for outcome in (await stage.begin(hub), await begin_signed(stage, hub, request_of(stage, hub))):
        assert isinstance(outcome, Redirect)
        sent = query(outcome.uri)
        assert (sent["error"], sent["iss"], "code" in sent) == ("invalid_request", ISSUER, False)
    for uri in ("https://mallory.example/r", "urn:ietf:params:oauth:request_uri:" + new_secret()):
        outcome = await stage.begin(hub, ("request_uri", uri))
        assert isinstance(outcome, Redirect | Refused)
        assert not isinstance(outcome, Redirect) or query(outcome.uri)["error"] == "invalid_request"
    mallory = await held_client(stage, ClientKey(kid="m"), client_id="com.mallory/app", resources=False)
    pushed = (await push(stage, hub)).json()["request_uri"]
    assert isinstance(await stage.begin(mallory, ("request_uri", pushed)), Refused), "another's reference"
    assert await stage.facts(GrantOpened) == []


async def test_what_is_pushed_without_what_it_needs(stage: Stage) -> None:
    """5.3.2.2, items 1, 4, 5, 6 and 8."""
    hub = await held_client(stage)
    for changes, refusal in (
        ({"redirect_uri": "", "scope": "read"}, "invalid_request"),
        ({"redirect_uri": "http://localhost:8480/callback"}, "invalid_redirect_uri"),
        ({"redirect_uri": f"{hub.redirect_uri}/"}, "invalid_redirect_uri"),
        ({"code_challenge": "", "code_challenge_method": ""}, "invalid_request"),
        ({"code_challenge": VERIFIER, "code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": ""}, "invalid_request"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"request_uri": "https://mallory.example/r"}, "invalid_request"),
        ({"request": request_of(stage, hub, key=ClientKey("RS256"))}, "invalid_request_object"),
        ({"request": request_of(stage, hub, redirect_uri=None, scope="read")}, "invalid_request"),
    ):
        answer = await push(stage, hub, None, **changes)
        assert (answer.status_code, error(answer)) == (400, refusal), changes
    nobody = await stage.http.post(PAR, data={"client_id": hub.client_id, "response_type": "code"})
    assert (nobody.status_code, error(nobody)) == (401, "invalid_client")
    assert await stage.facts(AuthorizationRequestPushed) == []
    assert (await push(stage, hub, request=request_of(stage, hub))).status_code == 201, "signed is fine, when pushed"
    key = ClientKey("RS256")  # a key of the application, which serves for PS256
    rsa = await held_client(stage, key, client_id="com.setlist/app", resources=False)
    by_rs256, by_ps256 = request_of(stage, rsa, key=key), request_of(stage, rsa, key=ps256(key))
    rsa.key = ps256(key)
    answer = await push(stage, rsa, request=by_rs256)
    assert (error(answer), "FAPI" in answer.json()["error_description"]) == ("invalid_request_object", True)
    assert (await push(stage, rsa, request=by_ps256)).status_code == 201


async def test_another_way_to_say_who_it_is(stage: Stage) -> None:
    """By a secret, or by nothing (5.3.2.1, items 3 and 6)."""
    hub = await held_client(stage)
    secret = new_secret()
    await refused(stage, {"client_id": hub.client_id})
    await refused(stage, {"client_id": hub.client_id, "client_secret": secret})
    hub_by_secret = SigningClient(hub.client_id, secret, hub.redirect_uri)
    await refused(stage, {}, super(SigningClient, hub_by_secret).headers())
    key = ProofKey()
    # Nor by a grant that the profile does not know: a device code begins without a push, an exchange binds nothing.
    for grant_type in (GrantType.DEVICE_CODE, GrantType.TOKEN_EXCHANGE):
        form = {"device_code": "x", "subject_token": "x", "subject_token_type": "x"}
        answer = await ask(stage, hub, key, grant_type=grant_type.value, **form)
        assert answer.status_code == 400
    assert error(await ask(stage, hub, key, grant_type="password", username="u", password="p")) == (
        "unsupported_grant_type"
    )
    answer = await stage.http.post("/id/connect/device", data=hub.form(scope="read"))
    assert error(answer) == "unauthorized_client"
    assert await stage.facts(AccessTokenIssued) == []


AUDIENCES: list[Any] = [
    [ISSUER],
    [ISSUER, "https://other.example"],
    ["https://other.example", ISSUER],
    f"{ISSUER}/connect/token",
    f"{ISSUER}/connect/par",
    f"{ISSUER}/",
    f"{ISSUER} https://other.example",
    "https://other.example",
]


async def test_assertions_that_others_may_make(stage: Stage) -> None:
    """By RS256 (5.4.1), and for anybody but the issuer, by its identifier, as a string (5.3.2.1, item 8)."""
    hub = await held_client(stage)
    key = ClientKey("RS256")  # a key of the application, which serves for PS256
    rsa = await held_client(stage, key, client_id="com.setlist/app", resources=False)
    for path, more in ENDPOINTS.items():
        for assertion in (rsa.assertion(), *(hub.assertion(aud=audience) for audience in AUDIENCES)):
            answer = await stage.http.post(path, data=asserted(assertion, **more))
            assert (answer.status_code, error(answer)) == (401, "invalid_client"), path
    rsa.key = ps256(key)
    for client in (hub, rsa):
        assert (await ask(stage, client, ProofKey(), **OWN)).status_code == 200


async def test_tokens_that_are_bound_to_nothing_or_by_rs256(stage: Stage) -> None:
    """5.3.2.1, items 4 and 5, and 5.4.1; and a refused request uses nothing up."""
    hub, key, weak = await held_client(stage), ProofKey("PS256", "strong"), ProofKey("RS256", "weak")
    given = await code(stage, hub, await stage.user())
    assert error(await ask(stage, hub, None, **OWN)) == "invalid_request"
    assert error(await redeem(stage, hub, None, given)) == "invalid_request"
    for answer in (
        await push(stage, hub, weak),
        await ask(stage, hub, weak, **OWN),
        await redeem(stage, hub, weak, given),
    ):
        assert (answer.status_code, error(answer)) == (400, "invalid_dpop_proof")
    body = (await redeem(stage, hub, key, given)).json()
    assert error(await refresh(stage, hub, None, body["refresh_token"])) == "invalid_request"
    assert error(await refresh(stage, hub, weak, body["refresh_token"])) == "invalid_dpop_proof"
    assert (await refresh(stage, hub, key, body["refresh_token"])).status_code == 200
    assert await stage.facts(GrantEnded) == []
    assert await stage.facts(AccessTokenIssued) == []


async def test_a_stolen_code(stage: Stage) -> None:
    """With another key than that of the push, with the key of another application, or both (RFC 9449 section 11.9)."""
    hub, key = await held_client(stage), ProofKey()
    mallory = await held_client(stage, ClientKey(kid="m"), client_id="com.mallory/app", resources=False)
    given = await code(stage, hub, await stage.user(), key)
    for client, proof in ((hub, ProofKey()), (mallory, key), (mallory, ProofKey())):
        assert error(await redeem(stage, client, proof, given)) == "invalid_grant"
    as_hub = SigningClient(hub.client_id, None, hub.redirect_uri, mallory.key, stage)
    assert error(await redeem(stage, as_hub, key, given)) == "invalid_client"
    assert await stage.facts(CodeRedeemed) == []
    body = (await redeem(stage, hub, key, given)).json()
    # Who has all of it and comes second ends everything, as ever (5.3.2.2, item 9).
    assert error(await redeem(stage, hub, key, given)) == "invalid_grant"
    assert error(await refresh(stage, hub, key, body["refresh_token"])) == "invalid_grant"
    assert len(await stage.facts(GrantEnded)) == 1


async def test_a_stolen_refresh_token(stage: Stage) -> None:
    """It never rotates, so nobody sees that it was stolen: it has to be worth nothing (5.3.2.1, items 6 and 9)."""
    hub, key = await held_client(stage), ProofKey()
    mallory = await held_client(stage, ClientKey(kid="m"), client_id="com.mallory/app", resources=False)
    body = await tokens(stage, hub, key, await stage.user())
    stolen = body["refresh_token"]
    as_hub = SigningClient(hub.client_id, None, hub.redirect_uri, mallory.key, stage)
    for client, proof, refusal in (
        (mallory, key, "invalid_grant"),
        (mallory, ProofKey(), "invalid_grant"),
        (as_hub, ProofKey(), "invalid_client"),
        (as_hub, key, "invalid_client"),
    ):
        assert error(await refresh(stage, client, proof, stolen)) == refusal
    assert (await stage.introspect(mallory, stolen)).json() == {"active": False}
    assert error(await stage.revoke(mallory, stolen)) == "unauthorized_client"
    made_up = stolen.partition(".")[0] + "." + new_secret()
    assert error(await refresh(stage, hub, key, made_up)) == "invalid_grant"
    assert await stage.facts(RefreshTokenUsed) == []
    assert await stage.facts(GrantEnded) == []
    assert (await refresh(stage, hub, key, stolen)).status_code == 200


async def test_a_whole_refresh_that_was_recorded(stage: Stage) -> None:
    """Assertion, proof and refresh token: each of the first two is good for one request, and nothing ends."""
    hub, key = await held_client(stage), ProofKey()
    body = await tokens(stage, hub, key, await stage.user())
    form = asserted(hub.assertion(), grant_type="refresh_token", refresh_token=body["refresh_token"])
    proof = key.proof("POST", TOKEN)
    assert (await stage.http.post(TOKEN, data=form, headers={"DPoP": proof})).status_code == 200
    for ahead in (timedelta(), timedelta(seconds=11)):
        stage.clock.ahead = ahead
        for shown in (proof, key.proof("POST", TOKEN, iat=int(stage.clock().timestamp()))):
            answer = await stage.http.post(TOKEN, data=form, headers={"DPoP": shown})
            assert error(answer) == "invalid_client"
        form_anew = {**form, **asserted(hub.assertion())}
        answer = await stage.http.post(TOKEN, data=form_anew, headers={"DPoP": proof})
        assert error(answer) == "invalid_dpop_proof"
    assert len(await stage.facts(RefreshTokenUsed)) == 1
    assert await stage.facts(GrantEnded) == []
    assert (await refresh(stage, hub, key, body["refresh_token"])).status_code == 200
