"""Each entry of the discovery document, by using what it names: it is in there exactly when it works.

Where an entry lists values, others that clients know are tried beside them, and have to be refused.
"""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from secrets import token_hex
from typing import Any, Final
from urllib.parse import parse_qs, parse_qsl, quote_plus, urlsplit

import grpc
import httpx
import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import get_default_algorithms

from infra.local.sign_in import CodeFlow, Visitor
from infra.local.system import System
from protos.stagedoor.registry.v1 import registry_pb2
from shared.ids import new_id
from tests.support.assertions import ClientKey, asserted
from tests.support.browsing import Page
from tests.support.client_certificates import certificate, field_of, jwk
from tests.support.dpop import ProofKey
from tests.support.outside import Outside
from tests.support.receiver import receiving
from tests.support.work import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

FREDDIE: Final = ("freddie", "a-kind-of-magic-1986")
CALLBACK: Final = "http://localhost:8497/callback"
DEVICE: Final = "urn:ietf:params:oauth:grant-type:device_code"
METHODS: Final = (
    *("client_secret_basic", "client_secret_post", "private_key_jwt", "none"),
    *("client_secret_jwt", "self_signed_tls_client_auth", "tls_client_auth"),
)
"""The last two need a door that asks for certificates; where there is none, to claim one is of no use."""
ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"
SIGNED: Final = ("ES256", "RS256", "PS256", "EdDSA", "ES384", "RS512", "HS256", "none")
"""Algorithms of assertions, the known ones first."""


@dataclass(frozen=True)
class Made:
    """An application of the test's own."""

    client_id: str
    secret: str


class Using:
    """Whoever read the document and nothing else."""

    def __init__(self, outside: Outside, document: dict[str, Any]) -> None:
        self.outside = outside
        self.document = document
        self.http = outside.http
        self._made: dict[str, Any] = {}

    async def make(self, method: str = "client_secret_basic", client_id: str = "", **settings: Any) -> Made:
        """An application."""
        client_id = client_id or f"com.example/discovery-{token_hex(8)}"
        public = method == "none"
        usual = {
            "scopes": ["read"],
            "grants": ["authorization_code", "refresh_token", DEVICE, *([] if public else ["client_credentials"])],
            "redirect_uris": [CALLBACK],
        }
        asked = registry_pb2.ApplicationSettings(
            display_name="Discovery",
            type="public" if public else "confidential",
            auth_method=method,
            **{**usual, **settings},
        )
        request = registry_pb2.RegisterApplicationRequest(client_id=client_id, settings=asked)
        made = await self.outside.manage(self.outside.registry.RegisterApplication, request)
        return Made(client_id, made.client_secret)

    async def make_if_there_is(self, method: str = "client_secret_basic", **settings: Any) -> Made | None:
        """The same; None where the registry knows no such method or algorithm."""
        try:
            return await self.make(method, **settings)
        except grpc.aio.AioRpcError as refused:
            if " is one of: " not in (refused.details() or ""):
                raise
            return None

    async def begun_signed(self, algorithm: str) -> bool:
        """Whether a sign-in begins with a request that is signed like this (RFC 9101)."""
        key = ClientKey(algorithm if algorithm in SIGNED[:4] else "RS256")
        made = await self.make("private_key_jwt", jwks=json.dumps({"keys": [key.jwk]}))
        parameters = dict(parse_qsl(urlsplit(self.flow(made, "openid").address).query))
        request = request_object(self.document["issuer"], made, parameters, algorithm)
        asked = {"client_id": made.client_id, "request": request}
        answer = await self.http.get(self.document["authorization_endpoint"], params=asked)
        return answer.status_code == 303

    async def hub(self) -> Made:
        """One for all that needs nothing special."""
        return Made(*(await self.once("hub", self._hub)))

    async def _hub(self) -> tuple[str, str]:
        made = await self.make()
        return made.client_id, made.secret

    async def tokens(self) -> dict[str, Any]:
        """What Freddie's sign-in there gives."""
        return dict(await self.once("tokens", self._sign_in))

    async def once(self, name: str, make: Callable[[], Awaitable[Any]]) -> Any:
        """What was made under this name, by whoever asked first."""
        if name not in self._made:
            self._made[name] = await make()
        return self._made[name]

    async def _sign_in(self) -> dict[str, Any]:
        return await self.sign_in(await self.hub(), "openid profile email address phone offline_access read")

    def flow(self, made: Made, scope: str, **more: str) -> CodeFlow:
        return CodeFlow(self.document["issuer"], made.client_id, CALLBACK, scope, more)

    async def sign_in(self, made: Made, scope: str, visitor: Visitor | None = None) -> dict[str, Any]:
        """By the addresses of the document."""
        flow = self.flow(made, scope)
        address = f"{self.document['authorization_endpoint']}?{urlsplit(flow.address).query}"
        if visitor is None:
            async with Visitor(*FREDDIE) as freddie:
                back = await freddie.go(address)
        else:
            back = await visitor.go(address)
        form = {
            "grant_type": "authorization_code",
            "code": flow.code(back),
            "redirect_uri": CALLBACK,
            "code_verifier": flow.verifier,
        }
        answer = await self.post("token_endpoint", made, **form)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def post(self, endpoint: str, made: Made, **form: str) -> httpx.Response:
        """With the secret in the header; without one, with the name in the form."""
        auth = httpx.BasicAuth(quote_plus(made.client_id), made.secret) if made.secret else None
        name = {} if made.secret else {"client_id": made.client_id}
        return await self.http.post(
            self.document[endpoint], data={**name, **form}, auth=auth or httpx.USE_CLIENT_DEFAULT
        )

    async def pushed(self, **changes: str) -> str:
        """What becomes of an authorization request: `201`, or the code of the error; a push applies all rules."""
        flow = self.flow(await self.hub(), changes.pop("scope", "openid"), **changes)
        request = {name: values[0] for name, values in parse_qs(urlsplit(flow.address).query).items()}
        answer = await self.post("pushed_authorization_request_endpoint", await self.hub(), **request)
        return "201" if answer.status_code == 201 else str(answer.json()["error"])

    async def works(self, values: Iterable[str], parameter: str) -> list[str]:
        """Those values of a parameter that an authorization request may have."""
        return [value for value in values if await self.pushed(**{parameter: value}) == "201"]

    async def authenticated(self, endpoint: str, made: Made, method: str, algorithm: str = "ES256") -> bool:
        """Whether an application that proves itself in this way is taken for itself there."""
        form = {"grant_type": "client_credentials", "token": "unheard-of"}
        auth: Any = httpx.USE_CLIENT_DEFAULT
        if method == "private_key_jwt":
            form |= asserted(assertion(self.document["issuer"], made, algorithm))
        elif method == "client_secret_basic":
            auth = httpx.BasicAuth(quote_plus(made.client_id), made.secret)
        else:
            form |= {"client_id": made.client_id, **({"client_secret": made.secret} if made.secret else {})}
        claimed = {"Client-Cert": field_of(certificate("own"))} if "tls" in method else {}
        answer = await self.http.post(self.document[endpoint], data=form, auth=auth, headers=claimed)
        return answer.status_code < 500 and (answer.is_success or answer.json()["error"] != "invalid_client")


def assertion(issuer: str, made: Made, algorithm: str) -> str:
    """One that is right but perhaps for what it is signed with."""
    now = int(time.time())
    said = {"iss": made.client_id, "sub": made.client_id, "aud": issuer, "iat": now, "exp": now + 60, "jti": new_id()}
    return signed(said, algorithm)


def request_object(issuer: str, made: Made, parameters: Mapping[str, str], algorithm: str) -> str:
    """The same of an authorization request."""
    now = int(time.time())
    return signed({"iss": made.client_id, "aud": issuer, "iat": now, "exp": now + 60, **parameters}, algorithm)


def signed(said: dict[str, Any], algorithm: str) -> str:
    """Signed with the application's key, or with what is none."""
    if algorithm in SIGNED[:4]:
        return ClientKey(algorithm).sign(said)
    keys = {"ES384": ec.generate_private_key(ec.SECP384R1()), "RS512": ClientKey("RS256").private, "HS256": "k" * 64}
    return jwt.encode(said, keys.get(algorithm, ""), algorithm, headers={"kid": "one"})


def proof(algorithm: str, address: str) -> str:
    """One for a request there that is right but perhaps for what it is signed with."""
    if algorithm in SIGNED[:4]:
        return ProofKey(algorithm).proof("POST", address)
    said = {"jti": new_id(), "htm": "POST", "htu": address, "iat": int(time.time())}
    keys = {"ES384": ec.generate_private_key(ec.SECP384R1()), "RS512": ProofKey("RS256").private, "HS256": "k" * 64}
    jwk: dict[str, Any] = {"kty": "oct", "k": "a" * 86}
    if algorithm in {"ES384", "RS512"}:
        jwk = json.loads(get_default_algorithms()[algorithm].to_jwk(keys[algorithm].public_key()))
    return jwt.encode(said, keys.get(algorithm, ""), algorithm, headers={"typ": "dpop+jwt", "jwk": jwk})


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def using(system: System) -> AsyncIterator[Using]:
    async with Outside(system) as outside:
        answer = await outside.http.get(f"{system.ports.issuer}/.well-known/openid-configuration")
        yield Using(outside, answer.json())


Use = Callable[[Using, Any], Awaitable[None]]
USES: dict[str, Use] = {}


def entry(*names: str) -> Callable[[Use], Use]:
    """Says what an entry is used by."""

    def noted(use: Use) -> Use:
        USES.update(dict.fromkeys(names, use))
        return use

    return noted


def read(token: str) -> dict[str, Any]:
    return dict(jwt.decode(token, options={"verify_signature": False}))


@entry("issuer", "token_endpoint")
async def _issuer(using: Using, _: Any) -> None:
    assert read((await using.tokens())["id_token"])["iss"] == using.document["issuer"]


@entry("authorization_endpoint", "authorization_response_iss_parameter_supported")
async def _authorize(using: Using, _: Any) -> None:
    flow = using.flow(await using.hub(), "openid", prompt="none")
    request = parse_qs(urlsplit(flow.address).query)
    address = using.document["authorization_endpoint"]
    by_get = await using.http.get(address, params=request)
    # From here on it goes by GET, since browsers send no cookies of ours with a form of another site.
    by_post = await using.http.get((await using.http.post(address, data=request)).headers["location"])
    for answer in (by_get, by_post):
        back = parse_qs(urlsplit(answer.headers["location"]).query)
        assert (back["error"], back["iss"]) == (["login_required"], [using.document["issuer"]])


@entry("userinfo_endpoint", "claim_types_supported")
async def _userinfo(using: Using, _: Any) -> None:
    tokens = await using.tokens()
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    for method in ("GET", "POST"):
        said = (await using.http.request(method, using.document["userinfo_endpoint"], headers=bearer)).json()
        assert said["sub"] == read(tokens["id_token"])["sub"]
        assert not {"_claim_names", "_claim_sources"} & said.keys(), "aggregated and distributed ones"
    assert using.document["claim_types_supported"] == ["normal"]


@entry("jwks_uri")
async def _keys(using: Using, address: str) -> None:
    kids = {key["kid"] for key in (await using.http.get(address)).json()["keys"]}
    tokens = await using.tokens()
    assert {jwt.get_unverified_header(tokens[name])["kid"] for name in ("access_token", "id_token")} <= kids


@entry("introspection_endpoint", "revocation_endpoint")
async def _revoked(using: Using, _: Any) -> None:
    hub = await using.hub()
    token = (await using.post("token_endpoint", hub, grant_type="client_credentials")).json()["access_token"]
    assert (await using.post("introspection_endpoint", hub, token=token)).json()["active"] is True
    assert (await using.post("revocation_endpoint", hub, token=token)).status_code == 200
    assert (await using.post("introspection_endpoint", hub, token=token)).json() == {"active": False}


@entry("pushed_authorization_request_endpoint", "require_pushed_authorization_requests")
async def _push(using: Using, _: Any) -> None:
    assert await using.pushed() == "201"
    assert await using.tokens(), "was not pushed"
    assert using.document["require_pushed_authorization_requests"] is False


@entry("registration_endpoint")
async def _register(using: Using, address: str) -> None:
    """RFC 7591, and RFC 7592 with what comes of it."""
    allowed = {"Authorization": f"Bearer {using.outside.system.demo['initial_access_token']}"}
    metadata = {"redirect_uris": [CALLBACK], "scope": "read"}
    assert (await using.http.post(address, json=metadata)).status_code == 401
    said = (await using.http.post(address, json=metadata, headers=allowed)).json()
    tokens = await using.sign_in(Made(said["client_id"], said["client_secret"]), "openid read")
    assert read(tokens["access_token"])["client_id"] == said["client_id"]
    managed = {"Authorization": f"Bearer {said['registration_access_token']}"}
    assert (await using.http.delete(said["registration_client_uri"], headers=managed)).status_code == 204


@entry("end_session_endpoint", "backchannel_logout_supported", "backchannel_logout_session_supported")
async def _sign_out(using: Using, _: Any) -> None:
    async def sign_out() -> bool:
        async with receiving() as receiver, Visitor(*FREDDIE) as freddie:
            made = await using.make(backchannel_logout_uri=receiver.uri)
            id_token = (await using.sign_in(made, "openid", freddie))["id_token"]
            await freddie.browser.get(using.document["end_session_endpoint"], params={"id_token_hint": id_token})
            await eventually(lambda: len(receiver.tokens) == 1)
            return bool(read(receiver.tokens[0])["sid"] == read(id_token)["sid"])

    assert await using.once("sign-out", sign_out)
    assert using.document["backchannel_logout_supported"] is True
    assert using.document["backchannel_logout_session_supported"] is True


@entry("scopes_supported")
async def _scopes(using: Using, scopes: list[str]) -> None:
    known = ("openid", "profile", "email", "address", "phone", "offline_access", "groups", "roles", "device_sso")
    assert scopes == [one for one in known if await using.pushed(scope=f"openid {one}") == "201"]


@entry("dpop_signing_alg_values_supported")
async def _dpop(using: Using, algorithms: list[str]) -> None:
    address, hub = using.document["token_endpoint"], await using.hub()

    async def bound(algorithm: str) -> bool:
        own = {"grant_type": "client_credentials"}
        shown = {"DPoP": proof(algorithm, address)}
        auth = httpx.BasicAuth(quote_plus(hub.client_id), hub.secret)
        answer = await using.http.post(address, data=own, headers=shown, auth=auth)
        if answer.status_code != 200:
            assert answer.json()["error"] == "invalid_dpop_proof"
            return False
        return bool(answer.json()["token_type"] == "DPoP" and read(answer.json()["access_token"])["cnf"]["jkt"])

    assert algorithms == [algorithm for algorithm in SIGNED if await bound(algorithm)]


@entry("response_types_supported")
async def _response_types(using: Using, types: list[str]) -> None:
    known = ("code", "token", "id_token", "code id_token", "id_token token", "none")
    assert types == await using.works(known, "response_type")


@entry("response_modes_supported")
async def _response_modes(using: Using, modes: list[str]) -> None:
    known = ("query", "fragment", "form_post", "jwt", "query.jwt", "form_post.jwt", "web_message")
    assert modes == await using.works(known, "response_mode")


@entry("code_challenge_methods_supported")
async def _challenges(using: Using, methods: list[str]) -> None:
    assert methods == await using.works(("S256", "plain", "S512"), "code_challenge_method")


@entry("prompt_values_supported")
async def _prompts(using: Using, prompts: list[str]) -> None:
    assert prompts == await using.works(("none", "login", "consent", "select_account", "create"), "prompt")


@entry("acr_values_supported")
async def _acr(using: Using, values: list[str]) -> None:
    known = [*values, "0", "phr", "phrh", "urn:mace:incommon:iap:silver"]
    wanted = {value: json.dumps({"id_token": {"acr": {"essential": True, "value": value}}}) for value in known}
    assert values == [value for value, claims in wanted.items() if await using.pushed(claims=claims) == "201"]
    assert read((await using.tokens())["id_token"])["acr"] in values


@entry("claims_supported", "claims_parameter_supported")
async def _claims(using: Using, _: Any) -> None:
    assert using.document["claims_parameter_supported"] is True
    listed = set(using.document["claims_supported"])
    tokens = await using.tokens()
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    told = (await using.http.get(using.document["userinfo_endpoint"], headers=bearer)).json()
    assert read(tokens["id_token"]).keys() | told.keys() <= listed
    flow = using.flow(await using.hub(), "openid", claims=json.dumps({"userinfo": {"given_name": None}}))
    async with Visitor(*FREDDIE) as freddie:
        given = await flow.redeem(flow.code(await freddie.go(flow.address)), client_secret=(await using.hub()).secret)
    bearer = {"Authorization": f"Bearer {given['access_token']}"}
    said = (await using.http.get(using.document["userinfo_endpoint"], headers=bearer)).json()
    assert said.keys() == {"sub", "given_name"}


@entry("request_uri_parameter_supported")
async def _request_by_reference(using: Using, supported: bool) -> None:
    assert supported is False
    flow = using.flow(await using.hub(), "openid", request_uri="https://rp.example/request")
    answer = await using.http.get(flow.address)
    assert parse_qs(urlsplit(answer.headers["location"]).query)["error"] == ["request_uri_not_supported"]


@entry("request_parameter_supported", "require_signed_request_object")
async def _signed_requests(using: Using, _: Any) -> None:
    assert await using.begun_signed("ES256")
    assert using.document["request_parameter_supported"] is True
    assert await using.tokens(), "was not signed"
    assert using.document["require_signed_request_object"] is False


@entry("request_object_signing_alg_values_supported")
async def _algorithms_of_signed_requests(using: Using, listed: list[str]) -> None:
    assert listed == [one for one in SIGNED if await using.begun_signed(one)]


@entry("display_values_supported", "ui_locales_supported")
async def _page(using: Using, _: Any) -> None:
    """What is asked beyond them is a wish (OpenID Connect Core section 3.1.2.1): it is the same page."""
    pages = []
    for more in ({}, {"display": "page", "ui_locales": "en"}, {"display": "wap", "ui_locales": "fr-CA"}):
        flow = using.flow(await using.hub(), "openid", **more)
        pages.append(Page(await using.http.get(flow.address, follow_redirects=True)))
    assert [dict(page.tags)["html"]["lang"] for page in pages] == using.document["ui_locales_supported"] * 3
    assert len({page.text for page in pages}) == 1
    assert using.document["display_values_supported"] == ["page"]


@entry("grant_types_supported")
async def _grants(using: Using, grants: list[str]) -> None:
    hub = await using.hub()
    others = (*("password", "implicit", "urn:ietf:params:oauth:grant-type:jwt-bearer"),)
    exchange = "urn:ietf:params:oauth:grant-type:token-exchange"
    known = ("authorization_code", "refresh_token", "client_credentials", exchange, DEVICE, *others)
    form = {
        "code": "made-up",
        "refresh_token": "made-up",
        "device_code": "made-up",
        "subject_token": "made-up",
        "subject_token_type": ACCESS_TOKEN,
    }
    answers = {one: (await using.post("token_endpoint", hub, grant_type=one, **form)).json() for one in known}
    assert grants == [one for one, said in answers.items() if said.get("error") != "unsupported_grant_type"]
    refused = {None, "invalid_grant", "unauthorized_client", "unsupported_grant_type"}
    assert {said.get("error") for said in answers.values()} == refused
    await _exchange(using, exchange)


async def _exchange(using: Using, grant: str) -> None:
    """Used by an application that an API names: it was sent a token, and calls the API again as itself."""
    name = f"discovery-{token_hex(8)}"
    made = f"com.example/{name}"
    api = registry_pb2.ResourceSettings(display_name="Discovery", callers=[f"client:{made}"])
    api.scopes.add(name=name, description="be discovered")
    request = registry_pb2.RegisterResourceRequest(identifier=f"https://{name}.example", settings=api)
    await using.outside.manage(using.outside.registry.RegisterResource, request)
    caller = await using.make(client_id=made, grants=[grant], scopes=[name], redirect_uris=[])
    shown = await using.make(grants=["client_credentials"], scopes=[name], redirect_uris=[])
    token = (await using.post("token_endpoint", shown, grant_type="client_credentials")).json()["access_token"]
    form = {"grant_type": grant, "subject_token": token, "subject_token_type": ACCESS_TOKEN}
    answer = await using.post("token_endpoint", caller, **form)
    assert answer.status_code == 200, answer.text
    assert answer.json()["issued_token_type"] == ACCESS_TOKEN
    told = (await using.post("introspection_endpoint", caller, token=answer.json()["access_token"])).json()
    assert (told["sub"], told["client_id"], told["scope"]) == (shown.client_id, made, name)
    assert told["act"]["act"]["client_id"] == shown.client_id
    gone = registry_pb2.RemoveResourceRequest(identifier=request.identifier)
    await using.outside.manage(using.outside.registry.RemoveResource, gone)


@entry("device_authorization_endpoint")
async def _device(using: Using, _: Any) -> None:
    made = await using.make("none")
    told = (await using.post("device_authorization_endpoint", made, scope="openid read")).json()
    async with Visitor(*FREDDIE) as freddie:
        await freddie.let_in(told["verification_uri_complete"])
    tokens = await using.post("token_endpoint", made, grant_type=DEVICE, device_code=told["device_code"])
    assert read(tokens.json()["id_token"])["aud"] == made.client_id
    refused = await using.post("device_authorization_endpoint", made, scope="everything")
    assert refused.json()["error"] == "invalid_scope"


@entry("subject_types_supported")
async def _subjects(using: Using, types: list[str]) -> None:
    other = await using.make()
    here, there = await using.tokens(), await using.sign_in(other, "openid")
    assert read(here["id_token"])["sub"] == read(there["id_token"])["sub"]
    assert types == ["public"]


@entry("id_token_signing_alg_values_supported", "userinfo_signing_alg_values_supported")
async def _signed(using: Using, algorithms: list[str]) -> None:
    had = []
    for algorithm in ("RS256", "ES256", "PS256", "EdDSA", "HS256", "none"):
        wishes = {f"{what}_signed_response_alg": algorithm for what in ("id_token", "userinfo")}
        made = await using.make_if_there_is(**wishes)
        if made is not None:
            tokens = await using.sign_in(made, "openid profile")
            bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
            told = await using.http.get(using.document["userinfo_endpoint"], headers=bearer)
            assert told.headers["content-type"].startswith("application/jwt")
            for token in (tokens["id_token"], told.text):
                header = jwt.get_unverified_header(token)
                (key,) = [one for one in (await _jwks(using)) if one["kid"] == header["kid"]]
                jwt.decode(token, jwt.PyJWK(key), algorithms=[algorithm], audience=made.client_id)
            had.append(algorithm)
    assert algorithms == had


async def _jwks(using: Using) -> list[dict[str, Any]]:
    return list((await using.http.get(using.document["jwks_uri"])).json()["keys"])


def _authenticating(endpoint: str) -> None:
    """The two entries about who may call an endpoint."""

    @entry(f"{endpoint}_auth_methods_supported")
    async def methods(using: Using, listed: list[str]) -> None:
        assert listed == [one for one in METHODS if await _may(using, endpoint, one)]

    @entry(f"{endpoint}_auth_signing_alg_values_supported")
    async def algorithms(using: Using, listed: list[str]) -> None:
        assert listed == [one for one in SIGNED if await _may(using, endpoint, "private_key_jwt", one)]


async def _may(using: Using, endpoint: str, method: str, algorithm: str = "ES256") -> bool:
    settings: Mapping[str, Any] = {}
    if method == "private_key_jwt":
        key = ClientKey(algorithm if algorithm in SIGNED[:4] else "RS256")
        settings = {"jwks": json.dumps({"keys": [key.jwk]})}
    elif method == "self_signed_tls_client_auth":
        settings = {"jwks": json.dumps({"keys": [jwk("own").model_dump(exclude_none=True)]})}
    elif method == "tls_client_auth":
        settings = {"tls_client_auth_subject_dn": "CN=own"}
    made = await using.make_if_there_is(method, **settings)
    return made is not None and await using.authenticated(endpoint, made, method, algorithm)


for _endpoint in ("token_endpoint", "introspection_endpoint", "revocation_endpoint"):
    _authenticating(_endpoint)


async def test_each_entry_is_used(using: Using) -> None:
    assert using.document.keys() == USES.keys()


@pytest.mark.parametrize("name", USES)
async def test_what_it_says_is_so(using: Using, name: str) -> None:
    await USES[name](using, using.document[name])


async def test_both_documents_are_one(using: Using, system: System) -> None:
    """OpenID Connect Discovery section 4, RFC 8414 section 3.1."""
    parts = urlsplit(using.document["issuer"])
    address = f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{parts.path}"
    assert (await using.http.get(address)).json() == using.document
    assert using.document["issuer"] == system.ports.issuer
