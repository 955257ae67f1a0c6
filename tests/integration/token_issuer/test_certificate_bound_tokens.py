"""Client certificates at the issuer (RFC 8705): who an application is by one, and tokens that are bound to one."""

from typing import Any

import jwt
import pytest

from services.registry.events import ApplicationChanged, AuthMethod
from services.token_issuer.client_certificates import MutualTls
from services.token_issuer.events import AccessTokenIssued, CodeRedeemed, RefreshTokenRotated, RefreshTokenUsed
from stagedoor import Allowed, Certificate, Denied, Reason
from tests.support.client_certificates import (
    MTLS_ORIGIN,
    CertifiedClient,
    authority,
    certificate,
    certified,
    common_name,
    der,
    mutual_tls,
    own_token,
    self_signed,
    showing,
    thumbprint,
)
from tests.support.counting import RoundTrips
from tests.support.dpop import ProofKey
from tests.support.issuing import API, CHALLENGE, CONFIDENTIAL, PUBLIC, SPA, Stage, error, query
from tests.support.pushing import begin_pushed
from tests.support.security_profile import CALLBACK, HELD

OWN, OTHER = certificate("own"), certificate("other")
CA = authority("ca")
BOUND = {"x5t#S256": thumbprint(OWN)}


@pytest.fixture
def believing() -> MutualTls:
    return mutual_tls(CA)


def said(token: str) -> dict[str, Any]:
    return dict(jwt.decode(token, options={"verify_signature": False}))


async def accepted(stage: Stage, token: str, shown: Any = OWN) -> bool:
    head = await stage.issuer.log.head()
    proof = None if shown is None else Certificate(der(shown))
    verdict = await stage.guard.validate(token, audience=API, min_position=head.position, proof=proof)
    if isinstance(verdict, Denied):
        assert verdict.reason is (Reason.PROOF_REQUIRED if shown is None else Reason.PROOF_MISMATCH)
    return isinstance(verdict, Allowed)


async def public(stage: Stage, shown: Any = OWN) -> CertifiedClient:
    settings = PUBLIC.model_copy(update={"tls_client_certificate_bound_access_tokens": True})
    return await certified(stage, settings, shown, SPA)


async def test_an_applications_own_token(stage: Stage) -> None:
    app = await certified(stage, self_signed("own"), OWN)
    answer = await own_token(stage, app)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["token_type"] == "Bearer"
    assert said(body["access_token"])["cnf"] == BOUND
    (issued,) = await stage.facts(AccessTokenIssued)
    assert isinstance(issued, AccessTokenIssued)
    assert (issued.x5t_s256, issued.jkt) == (thumbprint(OWN), None)
    assert await accepted(stage, body["access_token"])
    assert not await accepted(stage, body["access_token"], OTHER)
    assert not await accepted(stage, body["access_token"], None)


async def test_by_the_name_in_a_certificate_of_an_authority(stage: Stage) -> None:
    settings = self_signed(auth_method=AuthMethod.TLS_CLIENT_AUTH, tls_client_auth_subject_dn="CN=app")
    issued = certificate("app", by="ca", issuer=common_name("ca"))
    app = await certified(stage, settings, issued)
    token = (await own_token(stage, app)).json()["access_token"]
    assert said(token)["cnf"] == {"x5t#S256": thumbprint(issued)}
    # The next certificate of that name is the same application; the token stays with the one that it was bound to.
    renewed = certificate("app", by="ca", issuer=common_name("ca"))
    assert (await own_token(stage, showing(app, renewed))).status_code == 200
    assert await accepted(stage, token, issued)
    assert not await accepted(stage, token, renewed)


async def test_a_certificate_alone_binds_nothing(stage: Stage) -> None:
    """The application says whether its tokens are bound (section 3.4); how it authenticates is another thing."""
    app = await certified(stage, self_signed("own", tls_client_certificate_bound_access_tokens=False), OWN)
    assert "cnf" not in said((await own_token(stage, app)).json()["access_token"])
    secret = await certified(stage, CONFIDENTIAL, OTHER, "com.secret/app")
    assert "cnf" not in said((await own_token(stage, secret)).json()["access_token"])


async def test_one_with_a_secret_may_have_its_tokens_bound(stage: Stage) -> None:
    settings = CONFIDENTIAL.model_copy(update={"tls_client_certificate_bound_access_tokens": True})
    app = await certified(stage, settings, OWN)
    assert said((await own_token(stage, app)).json()["access_token"])["cnf"] == BOUND
    answer = await own_token(stage, showing(app, None))
    assert (answer.status_code, error(answer)) == (400, "invalid_request")
    body = await stage.tokens(app, await stage.user())
    # Its refresh token is kept by its secret: another certificate may come with it (section 7.1).
    rotated = (await stage.refresh(showing(app, OTHER), body["refresh_token"])).json()
    assert said(rotated["access_token"])["cnf"] == {"x5t#S256": thumbprint(OTHER)}


async def test_everything_of_a_public_application_is_bound(stage: Stage) -> None:
    spa = await public(stage)
    body = await stage.tokens(spa, await stage.user())
    assert said(body["access_token"])["cnf"] == BOUND
    assert await accepted(stage, body["access_token"])
    (redeemed,) = await stage.facts(CodeRedeemed)
    assert isinstance(redeemed, CodeRedeemed)
    assert (redeemed.x5t_s256, redeemed.refresh_x5t_s256) == (thumbprint(OWN), thumbprint(OWN))
    rotated = (await stage.refresh(spa, body["refresh_token"])).json()
    assert said(rotated["access_token"])["cnf"] == BOUND
    again = (await stage.refresh(spa, body["refresh_token"])).json()
    assert again["refresh_token"] == rotated["refresh_token"]
    assert said(again["access_token"]) == said(rotated["access_token"])
    assert len(await stage.facts(RefreshTokenRotated)) == 1


async def test_introspection_says_what_it_is_bound_to(stage: Stage) -> None:
    app = await certified(stage, self_signed("own"), OWN)
    body = await stage.tokens(app, await stage.user())
    told = (await stage.introspect(app, body["access_token"])).json()
    assert (told["active"], told["token_type"], told["cnf"]) == (True, "Bearer", BOUND)
    spa = await public(stage)
    assert (await stage.introspect(spa, body["access_token"])).status_code == 401, "it proves nothing by a certificate"


async def test_at_each_endpoint_where_clients_authenticate(stage: Stage) -> None:
    app = await certified(stage, self_signed("own"), OWN)
    body = await stage.tokens(app, await stage.user())
    pushed = {
        "response_type": "code",
        "redirect_uri": app.redirect_uri,
        "scope": "openid",
        "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        "code_challenge_method": "S256",
    }
    asked: dict[str, tuple[dict[str, str], int]] = {
        "introspect": ({"token": body["access_token"]}, 200),
        "par": (pushed, 201),
        "revocation": ({"token": body["access_token"]}, 200),
    }
    for endpoint, (form, good) in asked.items():
        for shown, status in ((None, 401), (OTHER, 401), (OWN, good)):
            client = showing(app, shown)
            path = f"/id/connect/{endpoint}"
            answer = await stage.http.post(path, data=client.form(**form), headers=client.headers())
            assert answer.status_code == status, (endpoint, answer.text)
    # A device may ask with it, too; this application may not have that grant.
    answer = await stage.http.post("/id/connect/device", data=app.form(scope="read"), headers=app.headers())
    assert error(answer) == "unauthorized_client"


async def test_another_key_is_known_from_then_on(stage: Stage) -> None:
    settings = self_signed("own")
    app = await certified(stage, settings, OWN)
    assert (await own_token(stage, app)).status_code == 200
    after = self_signed("other")
    changed = ApplicationChanged(client_id=app.client_id, settings=after, narrowed=False, proof_changed=True)
    await stage.of_application(changed, client_id=app.client_id)
    assert error(await own_token(stage, app)) == "invalid_client"
    assert (await own_token(stage, showing(app, OTHER))).status_code == 200


async def test_it_costs_no_round_trip(stage: Stage, round_trips: RoundTrips) -> None:
    app = await certified(stage, self_signed("own"), OWN)
    await own_token(stage, app)
    with round_trips.counted() as seen:
        assert (await own_token(stage, app)).status_code == 200
    assert seen in (["ask", "append"], ["append"])


async def test_a_proof_of_another_kind_beside_it(stage: Stage) -> None:
    """Authenticated by certificate, bound by DPoP: then the proof is for the address that the client has asked."""
    app = await certified(stage, self_signed("own", tls_client_certificate_bound_access_tokens=False), OWN)
    key, now = ProofKey(), int(stage.clock().timestamp())
    for uri, status in ((f"{MTLS_ORIGIN}/id/connect/token", 200), ("http://127.0.0.1:8400/id/connect/token", 400)):
        app.more = {"DPoP": key.proof("POST", uri, iat=now)}
        answer = await own_token(stage, app)
        assert answer.status_code == status, answer.text
    bound = await certified(stage, self_signed("own"), OWN, "com.bound/app")
    bound.more = {"DPoP": key.proof("POST", f"{MTLS_ORIGIN}/id/connect/token", iat=now)}
    answer = await own_token(stage, bound)
    assert (answer.status_code, error(answer)) == (400, "invalid_request")


async def test_what_the_issuer_says_about_itself(stage: Stage) -> None:
    told = (await stage.http.get("/id/.well-known/openid-configuration")).json()
    assert told["tls_client_certificate_bound_access_tokens"] is True
    for endpoint in ("token", "introspection", "revocation"):
        methods = told[f"{endpoint}_endpoint_auth_methods_supported"]
        assert {"self_signed_tls_client_auth", "tls_client_auth"} <= set(methods)
    aliases = told["mtls_endpoint_aliases"]
    assert aliases.keys() <= told.keys()
    for name, address in aliases.items():
        assert address == told[name].replace("http://127.0.0.1:8400", MTLS_ORIGIN)


async def test_under_the_fapi_2_security_profile(stage: Stage) -> None:
    """Mutual TLS for both: who the application is, and what its tokens are bound to (section 5.3.2.1)."""
    settings = self_signed("own", **{**HELD, "dpop_bound_access_tokens": False})
    hub = await certified(stage, settings, OWN)
    at, asked = (
        "/id/connect/par",
        {"redirect_uri": CALLBACK, "response_type": "code", "scope": "openid read offline_access"},
    )
    form = hub.form(**asked, code_challenge=CHALLENGE, code_challenge_method="S256")
    assert error(await stage.http.post(at, data=form, headers=showing(hub, OTHER).headers())) == "invalid_client"
    pushed = await stage.http.post(at, data=form, headers=hub.headers())
    assert pushed.status_code == 201, pushed.text
    person, position = await stage.sign_in(await stage.user())
    begun = await begin_pushed(stage, hub, pushed.json()["request_uri"])
    sent = query((await stage.issue(begun, person, position)).redirect.uri)
    body = (await stage.redeem(hub, sent["code"])).json()
    assert said(body["access_token"])["cnf"] == BOUND
    again = (await stage.refresh(hub, body["refresh_token"])).json()
    assert "refresh_token" not in again
    assert said(again["access_token"])["cnf"] == BOUND
    (used,) = await stage.facts(RefreshTokenUsed)
    assert isinstance(used, RefreshTokenUsed)
    assert (used.x5t_s256, used.jkt) == (thumbprint(OWN), None)
    assert error(await stage.refresh(showing(hub, OTHER), body["refresh_token"])) == "invalid_client"
    assert await accepted(stage, again["access_token"])
    assert not await accepted(stage, again["access_token"], None)
