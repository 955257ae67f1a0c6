"""Signing in with Stagedoor: OpenID Connect's code flow with PKCE. Authlib does the protocol.

What matters here: the redirect URI is a constant, not what the browser says; the issuer in the answer is compared
(RFC 9207); the ID token is verified by Authlib with the nonce of this browser's request; tokens are refreshed before
they expire, by one request at a time, because a refresh token is good for one use.
"""

import secrets
import time
from typing import Any
from urllib.parse import urlencode

import httpx
from authlib.integrations.base_client.errors import MismatchingStateError, OAuthError
from authlib.integrations.starlette_client import OAuth
from joserfc.errors import JoseError
from joserfc.jwk import KeySetSerialization
from starlette.requests import Request
from starlette.responses import Response

from backstagehub.refusals import AccessRefused, NotBegunHere, NotPossibleNow, check
from backstagehub.sessions import PendingSignIns, SignedIn
from backstagehub.settings import Settings

SCOPE = "openid profile offline_access read update"
"""Who it is, a refresh token, and what the API is needed for."""
_REFRESH_EARLY = 120
"""Seconds before it expires that an access token is replaced."""


class SignIn:
    """Stagedoor, as BackstageHub signs people in with it."""

    def __init__(self, settings: Settings, http: httpx.AsyncClient) -> None:
        self._settings = settings
        self._http = http
        self._stagedoor = OAuth(cache=PendingSignIns()).register(
            name="stagedoor",
            client_id=settings.client_id,
            client_secret=settings.client_secret,
            server_metadata_url=f"{settings.issuer}/.well-known/openid-configuration",
            client_kwargs={
                "scope": SCOPE,
                "code_challenge_method": "S256",
                "token_endpoint_auth_method": "client_secret_basic",
                "timeout": 10,
                "verify": settings.trust(),
                # The demo is on the loopback address, where a proxy would only be in the way.
                "trust_env": False,
            },
        )

    async def begin(self, request: Request) -> Response:
        """Send the browser to Stagedoor."""
        try:
            answer: Response = await self._stagedoor.authorize_redirect(request, self._settings.redirect_uri)
        except httpx.HTTPError as failure:
            raise NotPossibleNow("Stagedoor cannot be reached") from failure
        return answer

    async def finish(self, request: Request) -> SignedIn:
        """The browser is back: redeem the code, verify the ID token, and ask who it is."""
        if request.query_params.get("iss") != self._settings.issuer:
            raise AccessRefused("wrong_issuer", "the answer is not from the Stagedoor that was asked")
        try:
            tokens = dict(await self._stagedoor.authorize_access_token(request))
        except MismatchingStateError:
            raise NotBegunHere from None
        except OAuthError as refused:
            raise _refused(refused) from None
        except (JoseError, ValueError) as wrong:
            raise AccessRefused("invalid_id_token", "the ID token cannot be verified") from wrong
        except httpx.HTTPError as failure:
            raise NotPossibleNow("Stagedoor cannot be reached") from failure
        verified = tokens.pop("userinfo", None)
        if verified is None:
            raise AccessRefused("invalid_id_token", "there is no ID token")
        person = await self._person(tokens["access_token"])
        if person.get("sub") != verified["sub"]:  # OpenID Connect Core section 5.3.2
            raise AccessRefused("invalid_id_token", "the ID token is about somebody else")
        name = person.get("given_name") or person.get("name") or "friend"
        sub, sid = str(verified["sub"]), str(verified["sid"])
        return SignedIn(sub=sub, sid=sid, name=str(name), tokens=tokens)

    async def access_token(self, signed_in: SignedIn) -> str:
        """A token for the API that is good for a while yet."""
        async with signed_in.refreshing:
            tokens = signed_in.tokens
            if "refresh_token" in tokens and tokens.get("expires_at", 0) - time.time() < _REFRESH_EARLY:
                signed_in.tokens = tokens | await self._refreshed(tokens["refresh_token"])
            return str(signed_in.tokens["access_token"])

    async def end(self, signed_in: SignedIn | None) -> str:
        """Where to send the browser, so that it is signed out at Stagedoor too (RP-initiated logout)."""
        try:
            metadata = await self._stagedoor.load_server_metadata()
        except httpx.HTTPError:
            return self._settings.signed_out_uri
        parameters = {
            "client_id": self._settings.client_id,
            "post_logout_redirect_uri": self._settings.signed_out_uri,
            "state": secrets.token_urlsafe(16),
        }
        if signed_in is not None and "id_token" in signed_in.tokens:
            parameters["id_token_hint"] = signed_in.tokens["id_token"]
        return f"{metadata['end_session_endpoint']}?{urlencode(parameters)}"

    async def keys(self) -> KeySetSerialization:
        """Stagedoor's JWK set, as it is now."""
        try:
            found: KeySetSerialization = await self._stagedoor.fetch_jwk_set(force=True)
        except (httpx.HTTPError, ValueError) as failure:
            raise NotPossibleNow("Stagedoor cannot be reached") from failure
        return found

    async def _refreshed(self, refresh_token: str) -> dict[str, Any]:
        try:
            return dict(
                await self._stagedoor.fetch_access_token(grant_type="refresh_token", refresh_token=refresh_token)
            )
        except OAuthError as refused:
            raise _refused(refused) from None
        except httpx.HTTPError as failure:
            raise NotPossibleNow("Stagedoor cannot be reached") from failure

    async def _person(self, access_token: str) -> dict[str, Any]:
        try:
            metadata = await self._stagedoor.load_server_metadata()
            bearer = {"Authorization": f"Bearer {access_token}"}
            answer = await self._http.get(metadata["userinfo_endpoint"], headers=bearer)
        except httpx.HTTPError as failure:
            raise NotPossibleNow("Stagedoor cannot be reached") from failure
        person: dict[str, Any] = check(answer)
        return person


def _refused(refused: OAuthError) -> AccessRefused:
    return AccessRefused(refused.error or "refused", refused.description or "")
