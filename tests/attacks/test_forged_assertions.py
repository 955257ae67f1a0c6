"""Assertions that nobody signed, or somebody else did, or with what everybody knows (RFC 8725 section 2)."""

import json
from base64 import urlsafe_b64encode
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.token_issuer.events import AccessTokenIssued
from tests.support.assertions import ClientKey, SigningClient, asserted, signing_client
from tests.support.issuing import ISSUER, Stage, error

TOKEN = "/id/connect/token"
OWN = {"grant_type": "client_credentials"}
MALLORY = "com.mallory/app"


def part(value: Any) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def symmetric(hub: SigningClient, algorithm: str, secret: bytes) -> str:
    """Signed with a secret that is the public key, which PyJWT refuses to do."""
    head = f"{part({'alg': algorithm, 'kid': hub.key.kid})}.{part(hub.claims())}"
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(head.encode(), secret)
    return f"{head}.{urlsafe_b64encode(signature).rstrip(b'=').decode()}"


async def refused(stage: Stage, *assertions: str, **more: str) -> None:
    """Each is, and none leaves a trace."""
    for assertion in assertions:
        answer = await stage.http.post(TOKEN, data=asserted(assertion, **OWN, **more))
        assert (answer.status_code, error(answer)) == (401, "invalid_client"), assertion
    assert await stage.facts(AccessTokenIssued) == []


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
async def test_the_public_key_is_no_secret(stage: Stage, algorithm: str) -> None:
    hub = await signing_client(stage, ClientKey(algorithm))
    public = hub.key.private.public_key()
    spki = PublicFormat.SubjectPublicKeyInfo
    secrets = (
        public.public_bytes(Encoding.PEM, spki),
        public.public_bytes(Encoding.DER, spki),
        json.dumps(hub.key.jwk).encode(),
    )
    await refused(stage, *(symmetric(hub, "HS256", secret) for secret in secrets))
    await refused(stage, *(symmetric(hub, algorithm, secret) for secret in secrets))


async def test_nothing_is_no_signature(stage: Stage) -> None:
    hub = await signing_client(stage)
    claims = part(hub.claims())
    unsigned = [f"{part({'alg': alg, 'kid': 'one'})}.{claims}." for alg in ("none", "None", "NONE", "", "ES256", None)]
    signature = hub.assertion().rpartition(".")[2]
    others = [f"{part({'kid': 'one'})}.{claims}.{signature}", f"{part({'alg': 'ES256'})}.{claims}.{'A' * 86}"]
    await refused(stage, *unsigned, *others)


async def test_an_algorithm_is_the_keys_and_not_the_headers(stage: Stage) -> None:
    rsa = ClientKey("RS256", kid="rsa")
    hub = await signing_client(stage, rsa, jwks=(rsa.public.model_copy(update={"alg": "PS256"}),))
    await refused(stage, hub.assertion(), jwt.encode(hub.claims(), rsa.private, "RS512", headers={"kid": "rsa"}))
    answer = await stage.http.post(
        TOKEN, data=asserted(jwt.encode(hub.claims(), rsa.private, "PS256", headers={"kid": "rsa"}), **OWN)
    )
    assert answer.status_code == 200


async def test_a_key_that_comes_along_is_not_looked_at(stage: Stage) -> None:
    hub = await signing_client(stage)
    thief = ClientKey(kid="thief")
    headers: list[dict[str, Any]] = [
        {"jwk": thief.jwk},
        {"jwk": thief.jwk, "kid": "one"},
        {"jku": "http://127.0.0.1:9/keys"},
        {"x5u": "http://127.0.0.1:9/certificate"},
        {"x5c": ["MIIB"], "kid": "one"},
        {"kid": "one"},
    ]
    await refused(stage, *(thief.sign(hub.claims(), **header) for header in headers))


async def test_a_key_id_is_a_name_and_nothing_more(stage: Stage) -> None:
    hub = await signing_client(stage)
    names: list[Any] = [
        "../../one",
        "/dev/null",
        "one' OR '1'='1",
        "one\0",
        "",
        "ONE",
        "https://mallory.example/keys",
        "k" * 5000,
    ]
    await refused(stage, *(hub.key.sign(hub.claims(), kid=name) for name in names))
    odd = f"{part({'alg': 'ES256', 'kid': ['one']})}.{part(hub.claims())}.{hub.assertion().rpartition('.')[2]}"
    await refused(stage, odd)


async def test_nobody_asserts_for_another(stage: Stage) -> None:
    hub = await signing_client(stage)
    mallory = await signing_client(stage, ClientKey(kid="two"), client_id=MALLORY, resources=False)
    by_mallory = [
        mallory.key.sign(hub.claims()),
        mallory.key.sign(hub.claims(), kid="one"),
        mallory.assertion(sub=hub.client_id),
        mallory.assertion(iss=hub.client_id),
        mallory.assertion(sub=None),
        mallory.assertion(iss=None),
        mallory.assertion(sub="com.nobody/app", iss="com.nobody/app"),
        mallory.assertion(sub=[MALLORY, hub.client_id]),
    ]
    await refused(stage, *by_mallory)
    named = await stage.http.post(TOKEN, data=asserted(mallory.assertion(), client_id=hub.client_id, **OWN))
    assert error(named) == "invalid_request"


async def test_an_assertion_for_somebody_else_is_none_for_us(stage: Stage) -> None:
    """Another server that the application talks to would play it on to us."""
    hub = await signing_client(stage)
    audiences: list[Any] = [
        "https://other.example/id",
        ["https://other.example/id", ISSUER],
        [],
        "",
        f"{ISSUER}/",
        f"{ISSUER}/connect/introspect",
        ISSUER.upper(),
        hub.client_id,
        [ISSUER, 7],
        None,
    ]
    await refused(stage, *(hub.assertion(aud=audience) for audience in audiences))


async def test_an_assertion_has_its_time(stage: Stage) -> None:
    hub = await signing_client(stage)
    now = int(stage.clock().timestamp())
    times: list[dict[str, Any]] = [
        {"exp": now - 61},
        {"exp": None},
        {"exp": now + 3 * 3600},
        {"exp": str(now + 60)},
        {"exp": True},
        {"exp": 10**40},
        {"exp": -1},
        {"nbf": now + 120},
        {"iat": now + 120},
        {"iat": str(now)},
        {"jti": None},
        {"jti": ""},
        {"jti": 7},
        {"jti": "j" * 513},
    ]
    await refused(stage, *(unchecked(hub, hub.claims(**time)) for time in times))


async def test_a_token_of_another_kind_is_no_assertion(stage: Stage) -> None:
    hub = await signing_client(stage)
    body = await stage.tokens(hub, await stage.user())
    before = len(await stage.facts(AccessTokenIssued))
    assertions = [
        body["access_token"],
        body["id_token"],
        *(hub.key.sign(hub.claims(), typ=typ) for typ in ("at+jwt", "dpop+jwt", "logout+jwt")),
        hub.key.sign(hub.claims(), crit=["exp"]),
    ]
    for assertion in assertions:
        assert error(await stage.http.post(TOKEN, data=asserted(assertion, **OWN))) == "invalid_client"
    assert len(await stage.facts(AccessTokenIssued)) == before


async def test_one_proof_and_not_two(stage: Stage) -> None:
    hub = await signing_client(stage)
    with_secret = await stage.register(client_id="com.setlist/app")
    for headers, more in (
        (with_secret.headers(), {}),
        ({}, {"client_secret": "x"}),
        ({}, {"client_id": hub.client_id, "client_secret": "x"}),
    ):
        answer = await stage.http.post(TOKEN, data=asserted(hub.assertion(), **OWN, **more), headers=headers)
        assert (answer.status_code, error(answer)) == (400, "invalid_request")
    for form in (
        {"client_assertion": hub.assertion()},
        {
            "client_assertion": hub.assertion(),
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:saml2-bearer",
        },
        {"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_id": hub.client_id},
    ):
        assert error(await stage.http.post(TOKEN, data={**form, **OWN})) == "invalid_client"


async def test_an_application_has_one_way_to_prove_itself(stage: Stage) -> None:
    hub = await signing_client(stage)
    nothing = await stage.http.post(TOKEN, data={"client_id": hub.client_id, **OWN})
    empty = await stage.http.post(TOKEN, data={"client_id": hub.client_id, "client_secret": "x", **OWN})
    assert error(nothing) == error(empty) == "invalid_client"
    setlist = await stage.register(client_id="com.setlist/app")
    await refused(stage, hub.key.sign(hub.claims(iss=setlist.client_id, sub=setlist.client_id)))


def unchecked(hub: SigningClient, claims: dict[str, Any]) -> str:
    """Signed as they are: PyJWT refuses some of them."""
    head = f"{part({'alg': 'ES256', 'kid': hub.key.kid})}.{part(claims)}"
    signature = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).sign(head.encode(), hub.key.private)
    return f"{head}.{urlsafe_b64encode(signature).rstrip(b'=').decode()}"
