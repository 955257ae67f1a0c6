"""Certificates that are somebody else's, made up, or only claimed (RFC 8705 section 7). The door itself is attacked in
`tests/system/test_tls.py`."""

from collections.abc import Callable
from typing import Any

import httpx
import jwt
import pytest

from services.registry.events import ApplicationChanged, ApplicationSettings, AuthMethod
from services.token_issuer.client_certificates import MutualTls
from services.token_issuer.events import AccessTokenIssued, GrantEnded, RefreshTokenRotated
from services.token_issuer.http import application
from shared.http.attempts import USUAL
from shared.http.serve import Readiness, layers
from stagedoor.certificate import CLIENT_CERT
from tests.support.assertions import ClientKey
from tests.support.client_certificates import (
    DAY,
    CertifiedClient,
    authority,
    certificate,
    certified,
    common_name,
    field_of,
    mutual_tls,
    own_token,
    self_signed,
    showing,
)
from tests.support.issuing import CONFIDENTIAL, ORIGIN, PUBLIC, SPA, Stage, error

OWN, THIEF = certificate("own"), certificate("thief")
CA = authority("ca")
BY_NAME = self_signed(auth_method=AuthMethod.TLS_CLIENT_AUTH, tls_client_auth_subject_dn="CN=app")
BOUND = {"tls_client_certificate_bound_access_tokens": True}


@pytest.fixture
def believing() -> MutualTls:
    return mutual_tls(CA)


async def refused(
    stage: Stage, client: CertifiedClient, code: str = "invalid_client", *, what: str = "", **form: str
) -> None:
    answer = await own_token(stage, client, **form)
    assert (answer.status_code, error(answer)) == (401 if code == "invalid_client" else 400, code), what
    assert await stage.facts(AccessTokenIssued) == []


async def test_a_self_signed_one(stage: Stage) -> None:
    app = await certified(stage, self_signed("own"), OWN)
    for what, shown in {
        "none": None,
        "another client's": THIEF,
        "right subject, wrong key": certificate("thief", subject=common_name("own")),
        "signed by the right key, for another": certificate("thief", by="own"),
        "expired": certificate("own", since=-2 * DAY, until=-DAY),
        "of tomorrow": certificate("own", since=DAY, until=2 * DAY),
    }.items():
        await refused(stage, showing(app, shown), what=what)
    assert (await own_token(stage, app)).status_code == 200


async def test_one_of_an_authority(stage: Stage) -> None:
    right: dict[str, Any] = {"by": "ca", "issuer": common_name("ca")}
    app = await certified(stage, BY_NAME, certificate("app", **right))
    for what, shown in {
        "same subject, self-signed": certificate("thief", subject=common_name("app")),
        "same subject, another authority": certificate("app", by="elsewhere", issuer=common_name("elsewhere")),
        "same subject, an authority of the same name": certificate("app", by="thief", issuer=common_name("ca")),
        "another subject": certificate("other", **right),
        "right, and expired": certificate("app", **right, since=-2 * DAY, until=-DAY),
        "the authority's own": CA,
    }.items():
        await refused(stage, showing(app, shown), what=what)
    assert (await own_token(stage, app)).status_code == 200


async def test_several_values_and_such_as_are_none(stage: Stage) -> None:
    app = await certified(stage, self_signed("own"), None)
    own, thiefs = field_of(OWN), field_of(THIEF)
    form = app.form(grant_type="client_credentials", scope="read")
    for fields in ((own, thiefs), (thiefs, own), (own, own), ("::", own), (own, "::"), (f"{thiefs}, {own}",)):
        answer = await stage.http.post("/id/connect/token", data=form, headers=[(CLIENT_CERT, one) for one in fields])
        assert (answer.status_code, error(answer)) == (400, "invalid_request")
    for name in ("client_cert", "x-client-cert", "client-cert-chain", "ssl-client-cert", "x-forwarded-client-cert"):
        answer = await stage.http.post("/id/connect/token", data=form, headers={name: own})
        assert error(answer) == "invalid_client"
    for text in (":AAAA:", "garbage", "\xe9", ":" + "A" * 30_000 + ":", "%00", "-----BEGIN CERTIFICATE-----"):
        answer = await stage.http.post(
            "/id/connect/token", data=form, headers=[(CLIENT_CERT.encode(), text.encode("latin-1"))]
        )
        assert (answer.status_code, error(answer)) == (400, "invalid_request")
    assert await stage.facts(AccessTokenIssued) == []


async def test_from_somebody_who_is_no_door(stage: Stage) -> None:
    """The header counts by who sends it, as `X-Forwarded-For` does."""
    app = await certified(stage, self_signed("own"), OWN)

    async def ready() -> Readiness:
        return Readiness({})

    served = layers(application(stage.issuer, stage.guard, stage.references), ready, 1000)
    transport = httpx.ASGITransport(app=served, client=("10.9.8.7", 1234))
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, trust_env=False) as elsewhere:
        form = app.form(grant_type="client_credentials", scope="read")
        answer = await elsewhere.post("/id/connect/token", data=form, headers=app.headers())
    assert error(answer) == "invalid_client"
    assert (await own_token(stage, app)).status_code == 200


class TestWhereNobodyIsBelieved:
    """The usual setting: there is no such header, whatever a client writes."""

    @pytest.fixture
    def believing(self) -> None:
        return None

    async def test_a_certificate_proves_nothing(self, stage: Stage) -> None:
        for number, settings in enumerate((self_signed("own"), BY_NAME)):
            await refused(stage, await certified(stage, settings, OWN, f"com.certified/app{number}"))
        secret = CONFIDENTIAL.model_copy(update=BOUND)
        await refused(stage, await certified(stage, secret, OWN, "com.secret/app"), "invalid_request")
        told = (await stage.http.get("/id/.well-known/openid-configuration")).json()
        assert not {"mtls_endpoint_aliases", "tls_client_certificate_bound_access_tokens"} & told.keys()
        assert not [method for method in told["token_endpoint_auth_methods_supported"] if "tls" in method]


async def test_a_certificate_in_place_of_what_is_registered(stage: Stage) -> None:
    """Each application authenticates in one way, whatever else it shows."""
    key = ClientKey()
    by_key = CONFIDENTIAL.model_copy(update={"auth_method": AuthMethod.PRIVATE_KEY_JWT, "jwks": (key.public,)})
    others: list[tuple[ApplicationSettings, str]] = [(CONFIDENTIAL, "com.secret/app"), (by_key, "com.key/app")]
    for settings, client_id in others:
        made = await certified(stage, settings, None, client_id, resources=False)
        await refused(stage, CertifiedClient(made.client_id, None, made.redirect_uri, OWN))
    # And the other way round: a secret beside its own certificate, of one that has none.
    app = await certified(stage, self_signed("own"), OWN)
    await refused(stage, app, client_secret="a guess")
    await refused(stage, CertifiedClient(app.client_id, "a guess", app.redirect_uri, OWN))


async def test_algorithms_are_not_confused(stage: Stage) -> None:
    """A key that is registered for certificates signs no assertion, and the certificate's text is no secret."""
    key = ClientKey()
    settings = self_signed("own").model_copy(update={"jwks": (key.public,)})
    app = await certified(stage, settings, None)
    now = int(stage.clock().timestamp())
    claims = {"iss": app.client_id, "sub": app.client_id, "aud": f"{ORIGIN}/id", "exp": now + 60, "jti": "one"}
    for assertion in (key.sign(claims), jwt.encode(claims, "a" * 32, "HS256"), jwt.encode(claims, "", "none")):
        await refused(
            stage,
            app,
            client_assertion_type="urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            client_assertion=assertion,
        )


async def test_a_bound_application_that_asks_without(stage: Stage) -> None:
    """No downgrade: it gets no token that is not bound."""
    settings = CONFIDENTIAL.model_copy(update=BOUND)
    app = await certified(stage, settings, None)
    await refused(stage, app, "invalid_request")
    await refused(stage, showing(app, certificate("own", since=-2 * DAY, until=-DAY)), "invalid_request")


async def test_the_refresh_token_of_a_public_application(stage: Stage) -> None:
    settings = PUBLIC.model_copy(update=BOUND)
    spa = await certified(stage, settings, OWN, SPA)
    token = (await stage.tokens(spa, await stage.user()))["refresh_token"]
    thieves: list[Callable[[], Any]] = [lambda: showing(spa, None), lambda: showing(spa, THIEF)]
    for thief in thieves:
        assert error(await stage.refresh(thief(), token)) in ("invalid_request", "invalid_grant")
    assert await stage.facts(RefreshTokenRotated) == []
    successor = (await stage.refresh(spa, token)).json()["refresh_token"]
    for thief in thieves:
        answer = await stage.refresh(thief(), token)
        assert error(answer) in ("invalid_request", "invalid_grant")
        assert successor not in answer.text
    assert await stage.facts(GrantEnded) == [], "nobody without the certificate can end it either"
    assert (await stage.refresh(spa, successor)).status_code == 200


async def test_a_bound_refresh_token_stays_so_whatever_the_application_is_told_to_be(stage: Stage) -> None:
    spa = await certified(stage, PUBLIC.model_copy(update=BOUND), OWN, SPA)
    token = (await stage.tokens(spa, await stage.user()))["refresh_token"]
    changed = ApplicationChanged(client_id=SPA, settings=PUBLIC, narrowed=False)
    await stage.of_application(changed, client_id=SPA)
    await stage.follow()
    assert error(await stage.refresh(showing(spa, None), token)) == "invalid_grant"


async def test_somebodys_certificate_does_not_lift_the_limit_on_pushed_requests(stage: Stage) -> None:
    """Anybody makes a certificate; whoever proves nothing by it may not push without end."""
    spa = await certified(stage, PUBLIC, THIEF, SPA)
    form = spa.form(response_type="code", redirect_uri=spa.redirect_uri, scope="read")
    statuses = []
    for _ in range(USUAL.subject.burst + 20):
        statuses.append((await stage.http.post("/id/connect/par", data=form, headers=spa.headers())).status_code)
        if statuses[-1] == 429:
            break
    assert statuses[-1] == 429
