"""Userinfo, signed on the identity service's behalf."""

import json

import jwt
import pytest

from services.registry.events import ApplicationChanged, ApplicationDisabled, ResponseAlgorithm
from services.token_issuer.signed_userinfo import sign_userinfo
from shared.errors import Refusal, Unavailable
from tests.support.issuing import API, CONFIDENTIAL, HUB, ISSUER, PUBLIC, SPA, Stage

SIGNED = CONFIDENTIAL.model_copy(update={"userinfo_signed_response_alg": ResponseAlgorithm.RS256})


async def signed(stage: Stage, token: str, **claims: object) -> str:
    return await sign_userinfo(stage.issuer, token, json.dumps(claims))


@pytest.mark.parametrize("algorithm", list(ResponseAlgorithm))
async def test_it_is_for_the_application_of_the_token_and_about_its_person(
    stage: Stage, algorithm: ResponseAlgorithm
) -> None:
    wanted = CONFIDENTIAL.model_copy(update={"userinfo_signed_response_alg": algorithm})
    hub = await stage.register(wanted, resources=True)
    sub = await stage.user()
    token = (await stage.tokens(hub, sub))["access_token"]
    made = await signed(stage, token, sub=sub, email="freddie@example.com", address={"country": "GB"})
    header = jwt.get_unverified_header(made)
    assert (header["alg"], header["typ"]) == (algorithm, "userinfo+jwt")
    keys = (await stage.http.get("/id/connect/jwks")).json()["keys"]
    told = (await stage.http.get("/id/.well-known/openid-configuration")).json()
    assert told["userinfo_signing_alg_values_supported"] == list(ResponseAlgorithm)
    (key,) = (key for key in keys if key["kid"] == header["kid"])
    assert jwt.decode(made, jwt.PyJWK(key), algorithms=[algorithm], audience=HUB, issuer=ISSUER) == {
        "iss": ISSUER,
        "aud": HUB,
        "sub": sub,
        "email": "freddie@example.com",
        "address": {"country": "GB"},
    }


async def test_what_is_not_signed(stage: Stage) -> None:
    """Whatever a stolen identity service would like to have signed."""
    hub = await stage.register(SIGNED, resources=True)
    spa = await stage.register(PUBLIC, SPA)
    sub, other = await stage.user(), await stage.user()
    body = await stage.tokens(hub, sub)
    token = body["access_token"]
    for claims in (
        {},
        {"sub": other},
        {"email": "freddie@example.com"},
        {"sub": sub, "exp": 2**31},
        {"sub": sub, "nonce": "n"},
        {"sub": sub, "aud": SPA},
        {"sub": sub, "iss": "https://mallory.example"},
        {"sub": sub, "name": "x" * 40_000},
    ):
        with pytest.raises(Refusal) as refusal:
            await signed(stage, token, **claims)
        assert refusal.value.code == "invalid_request", claims
    without_openid = (await stage.tokens(hub, sub, scope="read"))["access_token"]
    for wrong in (body["id_token"], token[:-4] + "AAAA", without_openid, "", "a.b.c"):
        with pytest.raises(Refusal) as refusal:
            await signed(stage, wrong, sub=sub)
        assert refusal.value.code == "invalid_request"
    plain = (await stage.tokens(spa, sub, scope="openid read"))["access_token"]
    with pytest.raises(Unavailable):
        await signed(stage, plain, sub=sub)


async def test_it_ends_with_the_wish_and_with_the_application(stage: Stage) -> None:
    hub = await stage.register(SIGNED, resources=True)
    sub = await stage.user()
    token = (await stage.tokens(hub, sub))["access_token"]
    await stage.of_application(ApplicationChanged(client_id=HUB, settings=CONFIDENTIAL, narrowed=False))
    await stage.follow()
    with pytest.raises(Unavailable):
        await signed(stage, token, sub=sub)
    await stage.of_application(ApplicationDisabled(client_id=HUB, reason=""))
    await stage.follow()
    with pytest.raises(Refusal) as refusal:
        await signed(stage, token, sub=sub)
    assert refusal.value.code == "invalid_request"


async def test_it_is_no_other_kind_of_token(stage: Stage) -> None:
    hub = await stage.register(SIGNED, resources=True)
    sub = await stage.user()
    made = await signed(stage, (await stage.tokens(hub, sub))["access_token"], sub=sub)
    hinted = await stage.begin(hub, id_token_hint=made, response_mode="form_post")
    assert dict(getattr(hinted, "form", ()))["error"] == "invalid_request"
    for audience in (API, stage.issuer.policy.places.userinfo):
        assert getattr(await stage.validate(made, audience), "reason", None) is not None
