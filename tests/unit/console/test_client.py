"""The console as an OAuth client: what goes out, and what is believed when it comes back."""

import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from services.console.client import CLIENT_ID, Client
from shared.errors import Refusal, Unavailable
from shared.keys import MasterKey

ISSUER = "https://login.example/id"
BASE = "https://login.example/console"
KEY = ec.generate_private_key(ec.SECP256R1())


class Issuer:
    """Answers at the token endpoint with whatever ID token the test wants."""

    def __init__(self) -> None:
        self.claims: dict[str, Any] = {}
        self.key = KEY
        self.algorithm = "ES256"
        self.asked: dict[str, str] = {}
        self.status = 200
        self.error: dict[str, str] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/id/connect/jwks":
            public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key()))
            return httpx.Response(200, json={"keys": [{**public, "kid": "one", "alg": "ES256", "use": "sig"}]})
        self.asked = {name: values[0] for name, values in parse_qs(request.content.decode()).items()}
        if self.status != 200:
            return httpx.Response(self.status, json=self.error)
        id_token = jwt.encode(self.claims, self.key, algorithm=self.algorithm, headers={"kid": "one"})
        return httpx.Response(200, json={"access_token": "a", "id_token": id_token, "expires_in": 3600})


def client_of(issuer: Issuer) -> Client:
    http = httpx.AsyncClient(transport=httpx.MockTransport(issuer))
    return Client(ISSUER, BASE, MasterKey(b"k" * 32), http)


def begun(client: Client, to: str = "/console") -> tuple[dict[str, str], str]:
    address, sealed = client.begin(to)
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}, sealed


def claims(request: Mapping[str, str], **others: Any) -> dict[str, Any]:
    now = int(time.time())
    usual = {"iss": ISSUER, "sub": "somebody", "aud": CLIENT_ID, "iat": now, "exp": now + 600}
    return {**usual, "nonce": request["nonce"], **others}


async def test_it_signs_in_with_pkce_and_a_signature() -> None:
    issuer = Issuer()
    client = client_of(issuer)
    request, sealed = begun(client, "/console/users?from=x")
    assert request["scope"] == "openid sec"
    assert request["code_challenge_method"] == "S256"
    assert request["redirect_uri"] == f"{BASE}/callback"
    issuer.claims = claims(request)
    under_way = client.begun(sealed, request["state"])
    assert under_way.to == "/console/users?from=x"
    tokens = await client.finish(under_way, {"iss": ISSUER, "code": "c"})
    assert (tokens.sub, tokens.access_token, tokens.expires_in) == ("somebody", "a", 3600)
    assert "client_secret" not in issuer.asked
    key = jwt.PyJWKSet.from_json(client.jwks).keys[0]
    said = jwt.decode(issuer.asked["client_assertion"], key, algorithms=["EdDSA"], audience=ISSUER)
    assert said["iss"] == said["sub"] == CLIENT_ID
    assert said["exp"] - said["iat"] == 60


def test_its_key_is_its_master_keys_own_and_public_where_it_is_told() -> None:
    first, again = client_of(Issuer()), client_of(Issuer())
    assert first.jwks == again.jwks
    assert "d" not in json.loads(first.jwks)["keys"][0]
    other = Client(ISSUER, BASE, MasterKey(b"o" * 32), httpx.AsyncClient())
    assert other.jwks != first.jwks


async def test_each_sign_in_is_another_one() -> None:
    client = client_of(Issuer())
    first, second = begun(client)[0], begun(client)[0]
    assert all(first[name] != second[name] for name in ("state", "nonce", "code_challenge"))


@pytest.mark.parametrize("state", [None, "", "somebody-elses"])
def test_an_answer_with_another_state_is_not_taken(state: str | None) -> None:
    client = client_of(Issuer())
    with pytest.raises(Refusal, match="begun in this browser"):
        client.begun(begun(client)[1], state)


@pytest.mark.parametrize("sealed", [None, "", "nonsense", "gAAAAAB"])
def test_what_was_not_sealed_here_is_not_taken(sealed: str | None) -> None:
    client = client_of(Issuer())
    with pytest.raises(Refusal, match="begun in this browser"):
        client.begun(sealed, begun(client)[0]["state"])


def test_what_another_key_sealed_is_not_taken() -> None:
    request, sealed = begun(Client(ISSUER, BASE, MasterKey(b"o" * 32), httpx.AsyncClient()))
    with pytest.raises(Refusal, match="begun in this browser"):
        client_of(Issuer()).begun(sealed, request["state"])


@pytest.mark.parametrize("iss", [None, "", "https://other.example/id"])
async def test_an_answer_of_another_issuer_is_not_taken(iss: str | None) -> None:
    client = client_of(Issuer())
    request, sealed = begun(client)
    with pytest.raises(Refusal, match="begun in this browser"):
        await client.finish(client.begun(sealed, request["state"]), {"iss": iss, "code": "c"})


@pytest.mark.parametrize(
    "wrong",
    [
        {"iss": "https://other.example/id"},
        {"aud": "com.example/app"},
        {"aud": [CLIENT_ID, "com.example/app"]},
        {"nonce": "another"},
        {"nonce": None},
        {"exp": 1},
        {"sub": None},
    ],
)
async def test_an_id_token_that_is_not_for_this_sign_in_is_not_believed(wrong: dict[str, Any]) -> None:
    issuer = Issuer()
    client = client_of(issuer)
    request, sealed = begun(client)
    issuer.claims = {name: value for name, value in claims(request, **wrong).items() if value is not None}
    with pytest.raises(Refusal, match="cannot be believed"):
        await client.finish(client.begun(sealed, request["state"]), {"iss": ISSUER, "code": "c"})


async def test_an_id_token_that_somebody_else_signed_is_not_believed() -> None:
    issuer = Issuer()
    issuer.key = ec.generate_private_key(ec.SECP256R1())
    client = client_of(issuer)
    request, sealed = begun(client)
    issuer.claims = claims(request)
    with pytest.raises(Refusal, match="cannot be believed"):
        await client.finish(client.begun(sealed, request["state"]), {"iss": ISSUER, "code": "c"})


async def test_what_the_issuer_refuses_is_told_in_its_words() -> None:
    issuer = Issuer()
    client = client_of(issuer)
    request, sealed = begun(client)
    under_way = client.begun(sealed, request["state"])
    answer = {"iss": ISSUER, "error": "access_denied", "error_description": "not\r\nyou"}
    with pytest.raises(Refusal, match="did not sign you in: notyou") as told:
        await client.finish(under_way, answer)
    assert told.value.code == "access_denied"
    issuer.status, issuer.error = 400, {"error": "invalid_grant", "error_description": "the code is used"}
    with pytest.raises(Refusal, match="the code is used"):
        await client.finish(under_way, {"iss": ISSUER, "code": "c"})
    issuer.status = 503
    with pytest.raises(Unavailable):
        await client.finish(under_way, {"iss": ISSUER, "code": "c"})
