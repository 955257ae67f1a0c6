"""Authlib, a client library that we did not write, against the running system, with nothing special set up for it."""

import asyncio
import json
import secrets
import time
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from authlib.common.security import generate_token
from authlib.deprecate import AuthlibDeprecationWarning
from authlib.integrations.base_client import OAuthError
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from authlib.oidc.core import CodeIDToken, UserInfo
from authlib.oidc.discovery import OpenIDProviderMetadata
from joserfc import jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import KeySet, RSAKey

from infra.local.sign_in import Visitor
from infra.local.system import System
from tests.support.browsing import Page
from tests.support.command import stagedoor
from tests.support.work import eventually

with warnings.catch_warnings():
    warnings.simplefilter("ignore", AuthlibDeprecationWarning)
    from authlib.integrations.httpx_client import AsyncOAuth2Client

HUB = "com.backstagehub/app"
SPA = "com.roadie/spa"
SERVICE = "com.merchsync/service"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
FREDDIE = ("freddie", "a-kind-of-magic-1986")
SCOPE = "openid profile offline_access read"


class Provider:
    """What a developer knows: the issuer, and what its discovery document says."""

    def __init__(self, system: System, metadata: dict[str, Any], keys: KeySet) -> None:
        self.system = system
        self.metadata = metadata
        self.keys = keys
        self._applications = {one["client_id"]: one for one in system.demo["applications"]}

    def client(self, client_id: str, scope: str = SCOPE, **more: Any) -> Any:
        """A client as its developer would make it."""
        known = self._applications[client_id]
        return AsyncOAuth2Client(
            client_id,
            known.get("client_secret"),
            scope=scope,
            redirect_uri=next(iter(known["redirect_uris"]), None),
            token_endpoint_auth_method=known["auth_method"],
            token_endpoint=self.metadata["token_endpoint"],
            code_challenge_method="S256",
            trust_env=False,
            **more,
        )

    async def device(self, client: Any, scope: str) -> dict[str, Any]:
        """What a device is told that asks for these scopes."""
        address, auth = self.metadata["device_authorization_endpoint"], client.client_auth("client_secret_basic")
        answer = await client.request("POST", address, data={"scope": scope}, auth=auth, withhold_token=True)
        return dict(answer.json())

    async def sign_in(self, client: Any, nonce: str) -> dict[str, Any]:
        """Freddie signs in; the library makes the address, and reads the one that he comes back at."""
        verifier = generate_token(64)
        address, state = client.create_authorization_url(
            self.metadata["authorization_endpoint"], code_verifier=verifier, nonce=nonce
        )
        async with Visitor(*FREDDIE) as freddie:
            back = await freddie.go(address)
        return dict(
            await client.fetch_token(
                self.metadata["token_endpoint"], authorization_response=back, code_verifier=verifier, state=state
            )
        )


@pytest.fixture
async def provider(system: System) -> Provider:
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"{system.ports.issuer}/.well-known/openid-configuration")
        metadata = answer.json()
        jwks = (await http.get(metadata["jwks_uri"])).json()
    return Provider(system, metadata, KeySet.import_key_set(jwks))


async def test_the_metadata_are_what_the_library_takes_for_metadata(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The demo is on the loopback address without TLS, which the library takes for a mistake anywhere else.
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")
    OpenIDProviderMetadata(provider.metadata).validate()
    async with httpx.AsyncClient(trust_env=False) as http:
        parts = urlsplit(provider.system.ports.issuer)
        address = f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{parts.path}"
        AuthorizationServerMetadata((await http.get(address)).json()).validate()


@pytest.mark.parametrize("client_id", [HUB, SPA])
async def test_code_with_pkce_refresh_and_the_tokens_themselves(provider: Provider, client_id: str) -> None:
    nonce = generate_token(24)
    async with provider.client(client_id) as client:
        tokens = await provider.sign_in(client, nonce)
        assert tokens["token_type"].lower() == "bearer"

        # OpenID Connect Core section 3.1.3.7, by the library's own rules.
        read = jwt.decode(tokens["id_token"], provider.keys, algorithms=["RS256"])
        id_token = CodeIDToken(
            read.claims,
            read.header,
            {"iss": {"value": provider.metadata["issuer"]}, "aud": {"value": client_id}},
            {"nonce": nonce, "client_id": client_id, "access_token": tokens["access_token"]},
        )
        id_token.validate(leeway=5)

        # RFC 9068 section 4.
        access = jwt.decode(tokens["access_token"], provider.keys, algorithms=["ES256"])
        assert access.header["typ"] == "at+jwt"
        registry = jwt.JWTClaimsRegistry(
            leeway=5,
            iss={"essential": True, "value": provider.metadata["issuer"]},
            aud={"essential": True, "value": f"{provider.system.ports.origin}/api"},
            sub={"essential": True, "value": id_token["sub"]},
            client_id={"essential": True, "value": client_id},
            exp={"essential": True},
            iat={"essential": True},
            jti={"essential": True},
        )
        registry.validate(access.claims)
        head, _, signature = tokens["access_token"].rpartition(".")
        with pytest.raises(BadSignatureError):
            jwt.decode(f"{head}.{signature[::-1]}", provider.keys, algorithms=["ES256"])

        answer = await client.get(provider.metadata["userinfo_endpoint"])
        assert UserInfo(answer.json()).sub == id_token["sub"]
        assert (await client.get(f"{provider.system.ports.origin}/api/tours")).status_code == 200

        fresh = await client.refresh_token(provider.metadata["token_endpoint"], refresh_token=tokens["refresh_token"])
        assert fresh["access_token"] != tokens["access_token"]
        assert fresh["refresh_token"] != tokens["refresh_token"]


async def test_a_token_that_is_about_to_end_is_refreshed_by_the_library_itself(provider: Provider) -> None:
    async with provider.client(HUB) as client:
        tokens = await provider.sign_in(client, generate_token(24))
        client.token = {**tokens, "expires_at": int(time.time()) - 1}
        api = f"{provider.system.ports.origin}/api/tours"
        answers = await asyncio.gather(*(client.get(api) for _ in range(3)))
        assert [answer.status_code for answer in answers] == [200] * 3
        assert client.token["refresh_token"] != tokens["refresh_token"]


async def test_client_credentials(provider: Provider) -> None:
    async with provider.client(SERVICE, scope="read") as client:
        token = await client.fetch_token(grant_type="client_credentials")
        assert token["scope"] == "read"
        assert "refresh_token" not in token
        assert (await client.get(f"{provider.system.ports.origin}/api/tours")).status_code == 200


async def test_an_application_that_signs(provider: Provider, tmp_path: Path) -> None:
    """private_key_jwt, as the library makes its assertions (RFC 7523); their audience is the issuer."""
    client_id = f"com.example/signs-{secrets.token_hex(4)}"
    key = RSAKey.generate_key(2048, {"kid": "first", "use": "sig", "alg": "RS256"})
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    await stagedoor(
        provider.system,
        *("apps", "register", client_id, "--name", "Signs", "--auth-method", "private_key_jwt"),
        *("--jwks", str(file), "--scope", "read", "--grant", "client_credentials"),
    )
    client = AsyncOAuth2Client(
        client_id,
        key.as_dict(private=True),
        scope="read",
        token_endpoint_auth_method="private_key_jwt",
        token_endpoint=provider.metadata["token_endpoint"],
        trust_env=False,
    )
    client.register_client_auth_method(PrivateKeyJWT(provider.metadata["issuer"], headers={"kid": "first"}))
    async with client:
        token = await client.fetch_token(grant_type="client_credentials")
        assert token["scope"] == "read"
        assert (await client.get(f"{provider.system.ports.origin}/api/tours")).status_code == 200


async def test_introspection_and_revocation(provider: Provider) -> None:
    async with provider.client(HUB) as client:
        tokens = await provider.sign_in(client, generate_token(24))
        there, gone = provider.metadata["introspection_endpoint"], provider.metadata["revocation_endpoint"]
        for kind in ("access_token", "refresh_token"):
            said = (await client.introspect_token(there, tokens[kind], kind)).json()
            assert (said["active"], said["client_id"]) == (True, HUB)
        assert (await client.revoke_token(gone, tokens["refresh_token"], "refresh_token")).status_code == 200
        for kind in ("access_token", "refresh_token"):
            assert (await client.introspect_token(there, tokens[kind], kind)).json() == {"active": False}


async def test_refusals_are_what_the_library_understands(provider: Provider) -> None:
    async with provider.client(SERVICE, scope="update") as client:
        with pytest.raises(OAuthError) as refused:
            await client.fetch_token(grant_type="client_credentials")
        assert refused.value.error == "invalid_scope"
    async with provider.client(SPA) as client:
        with pytest.raises(OAuthError) as refused:
            await client.refresh_token(provider.metadata["token_endpoint"], refresh_token="made-up")
        assert refused.value.error == "invalid_grant"


async def test_a_device_is_let_in_reads_refreshes_and_is_stopped(provider: Provider) -> None:
    """RFC 8628, in which this library knows the token request; to ask for the codes is one form."""
    tours = f"{provider.system.ports.origin}/api/tours"
    scope = "openid read offline_access"
    async with provider.client(HUB, scope) as client, Visitor(*FREDDIE) as freddie:
        told = await provider.device(client, scope)
        code = {"grant_type": DEVICE, "device_code": told["device_code"]}
        with pytest.raises(OAuthError, match="authorization_pending"):
            await client.fetch_token(provider.metadata["token_endpoint"], **code)
        await freddie.let_in(told["verification_uri_complete"])
        tokens = await client.fetch_token(provider.metadata["token_endpoint"], **code)
        claims = jwt.decode(tokens["id_token"], provider.keys, algorithms=["RS256"]).claims
        assert (claims["aud"], "nonce" in claims) == (HUB, False)
        assert (await client.get(tours)).status_code == 200
        refreshed = await client.refresh_token(provider.metadata["token_endpoint"])
        assert refreshed["access_token"] != tokens["access_token"]

        page = await freddie.browser.get(f"{provider.system.ports.issuer}/account")
        assert "BackstageHub" in page.text
        (form,) = [one for one in Page(page).forms if one.fields.get("client_id") == HUB]
        stopped = await freddie.browser.post(f"{provider.system.ports.origin}{form.action}", data=form.fields)
        assert stopped.status_code == 303
        with pytest.raises(OAuthError, match="invalid_grant"):
            await client.refresh_token(provider.metadata["token_endpoint"])

        async def refused() -> bool:
            bearer = {"Authorization": f"Bearer {refreshed['access_token']}"}
            return (await freddie.browser.get(tours, headers=bearer)).status_code == 401

        await eventually(refused)


async def test_a_device_that_was_refused_hears_of_it(provider: Provider) -> None:
    async with provider.client(HUB) as client, Visitor(*FREDDIE) as freddie:
        told = await provider.device(client, "read")
        await freddie.let_in(told["verification_uri_complete"], allow=False)
        with pytest.raises(OAuthError, match="access_denied"):
            await client.fetch_token(
                provider.metadata["token_endpoint"], grant_type=DEVICE, device_code=told["device_code"]
            )
