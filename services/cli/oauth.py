"""The command as an OAuth client: a native application with PKCE and a loopback redirect (RFC 8252 section 7.3).

sign_in             opens the browser at the issuer, is called back on a port of this machine, exchanges the code
sign_in_elsewhere   shows a code for a browser on whatever device (RFC 8628), and asks until somebody has answered
refresh             replaces the tokens; the refresh token is used once
"""

import asyncio
import ssl
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from authlib.common.security import generate_token
from authlib.deprecate import AuthlibDeprecationWarning
from authlib.integrations.base_client import OAuthError

from services.cli.callback import Callback
from services.cli.profile import Profile
from shared.errors import Kind, Refusal, Unavailable
from shared.ids import same

with warnings.catch_warnings():
    # It announces that it will move to another HTTP client one day, to whoever is at the terminal.
    warnings.simplefilter("ignore", AuthlibDeprecationWarning)
    from authlib.integrations.httpx_client import AsyncOAuth2Client

SCOPE: Final = "sec offline_access"
"""Management, and to stay signed in."""
_BROWSER_SECONDS: Final = 300.0
_REQUEST_SECONDS: Final = 10.0
_DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
_SLOWER: Final = 5
"""Seconds between two questions where nothing is said, and by which they are further apart on `slow_down`."""
_LONGEST_WAIT: Final = 1800
"""Seconds that a code is waited for, whatever the issuer says."""


async def sign_in(profile: Profile, open_browser: Callable[[str], None]) -> Profile:
    """The profile with the tokens of whoever signs in within five minutes.

    `open_browser` is given the address to go to. Refuses what the issuer refuses, and whatever comes back without
    the state that was sent (RFC 6749 section 10.12) or from another issuer (RFC 9207).
    """
    async with _client(profile) as client, Callback() as callback:
        places = await _discover(client, profile.issuer)
        client.redirect_uri = callback.redirect_uri
        verifier = generate_token(64)
        address, state = client.create_authorization_url(
            _place(places, "authorization_endpoint"), code_verifier=verifier
        )
        open_browser(address)
        try:
            async with asyncio.timeout(_BROWSER_SECONDS):
                answer = await callback.answer(state)
        except TimeoutError:
            raise Refusal(Kind.UNAUTHENTICATED, "no_answer", "nobody signed in within five minutes") from None
        if not same(answer.get("iss", ""), profile.issuer):
            raise Refusal(Kind.UNAUTHENTICATED, "wrong_issuer", "the answer came from another issuer")
        if "code" not in answer:
            raise _refused(answer.get("error", ""), answer.get("error_description", ""))
        endpoint = _place(places, "token_endpoint")
        token = await _exchange(client.fetch_token(endpoint, code=answer["code"], code_verifier=verifier))
    return _with(profile, token)


@dataclass(frozen=True)
class DeviceCode:
    """What is shown to the person (RFC 8628 section 3.2)."""

    user_code: str
    verification_uri: str
    verification_uri_complete: str
    """With the code in it; empty: the issuer has none."""


async def sign_in_elsewhere(
    profile: Profile,
    show: Callable[[DeviceCode], None],
    *,
    wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Profile:
    """The profile with the tokens of whoever types the code that is shown, before it is too old.

    Refuses what the issuer or the person refuses. An issuer that does not answer is asked less and less often (section
    3.5).
    """
    async with _client(profile) as client:
        places = await _discover(client, profile.issuer)
        told = await _ask_for_device(client, _place(places, "device_authorization_endpoint"))
        show(told.shown)
        endpoint = _place(places, "token_endpoint")
        waited, interval = 0.0, told.interval
        while waited < told.expires_in:
            await wait(interval)
            waited += interval
            try:
                token = await _exchange(
                    client.fetch_token(endpoint, grant_type=_DEVICE_GRANT, device_code=told.device_code)
                )
            except Unavailable:
                interval *= 2
            except Refusal as refusal:
                if refusal.code == "slow_down":
                    interval += _SLOWER
                elif refusal.code != "authorization_pending":
                    raise
            else:
                return _with(profile, token)
    raise Refusal(Kind.UNAUTHENTICATED, "expired_token", "nobody typed the code in time")


async def refresh(profile: Profile) -> Profile:
    """The profile with fresh tokens; refuses where signing in again is needed."""
    if not profile.refresh_token:
        raise _sign_in_again()
    async with _client(profile) as client:
        endpoint = _place(await _discover(client, profile.issuer), "token_endpoint")
        try:
            token = await _exchange(client.refresh_token(endpoint, refresh_token=profile.refresh_token))
        except Refusal as refusal:
            if refusal.code == "invalid_grant":
                raise _sign_in_again() from None
            raise
    return _with(profile, token)


@asynccontextmanager
async def _client(profile: Profile) -> AsyncIterator[Any]:
    client = AsyncOAuth2Client(
        profile.client_id,
        scope=SCOPE,
        token_endpoint_auth_method="none",
        code_challenge_method="S256",
        verify=_trust(profile.ca_file),
        timeout=_REQUEST_SECONDS,
        trust_env=urlsplit(profile.issuer).hostname not in {"127.0.0.1", "localhost", "::1"},
        follow_redirects=False,
    )
    async with client:
        yield client


def _trust(ca_file: Path) -> ssl.SSLContext:
    """The authorities of this machine, and the instance's own."""
    context = ssl.create_default_context()
    if ca_file.exists():
        context.load_verify_locations(ca_file)
    return context


async def _discover(client: Any, issuer: str) -> Mapping[str, Any]:
    """The issuer's metadata (OpenID Connect Discovery section 4), which has to be about itself."""
    try:
        answer = await client.request("GET", f"{issuer}/.well-known/openid-configuration", withhold_token=True)
        answer.raise_for_status()
        found = answer.json()
    except (httpx.HTTPError, ValueError):
        raise Unavailable("issuer_unavailable", f"the issuer {issuer} does not answer") from None
    if not isinstance(found, dict) or found.get("issuer") != issuer:
        raise Refusal(Kind.INVALID, "wrong_issuer", f"what answers at {issuer} is another issuer")
    return found


def _place(places: Mapping[str, Any], name: str) -> str:
    place = places.get(name)
    if not isinstance(place, str):
        raise Refusal(Kind.INVALID, "bad_metadata", f"the issuer does not say where its {name} is")
    return place


async def _exchange(asking: Any) -> Mapping[str, Any]:
    try:
        token = await asking
    except OAuthError as refused:
        raise _refused(str(refused.error or ""), str(refused.description or "")) from None
    except (httpx.HTTPError, ValueError):
        raise Unavailable("issuer_unavailable", "the issuer does not answer") from None
    if not isinstance(token, dict) or not isinstance(token.get("access_token"), str):
        raise Refusal(Kind.INVALID, "bad_answer", "the issuer's answer holds no access token")
    return token


@dataclass(frozen=True)
class _Told:
    device_code: str
    shown: DeviceCode
    expires_in: float
    interval: float


async def _ask_for_device(client: Any, endpoint: str) -> _Told:
    """The answer to a device authorization request, which has to be fit for a terminal."""
    form = {"client_id": client.client_id, "scope": SCOPE}
    try:
        answer = await client.request("POST", endpoint, data=form, withhold_token=True)
        told = answer.json()
    except (httpx.HTTPError, ValueError):
        raise Unavailable("issuer_unavailable", "the issuer does not answer") from None
    if not isinstance(told, dict):
        raise _bad_answer()
    if not answer.is_success:
        raise _refused(str(told.get("error") or ""), str(told.get("error_description") or ""))
    device_code, *shown = (
        told.get(name, "") for name in ("device_code", "user_code", "verification_uri", "verification_uri_complete")
    )
    expires_in, interval = told.get("expires_in"), told.get("interval", _SLOWER)
    if not (isinstance(device_code, str) and device_code and all(map(_showable, shown)) and shown[0] and shown[1]):
        raise _bad_answer()
    if not (isinstance(expires_in, int) and isinstance(interval, int)):
        raise _bad_answer()
    return _Told(device_code, DeviceCode(*shown), min(expires_in, _LONGEST_WAIT), max(interval, 1))


def _showable(text: object) -> bool:
    return isinstance(text, str) and text.isascii() and text.isprintable()


def _bad_answer() -> Refusal:
    return Refusal(Kind.INVALID, "bad_answer", "the issuer's answer is not one that a device can use")


def _with(profile: Profile, token: Mapping[str, Any]) -> Profile:
    return profile.model_copy(
        update={
            "access_token": token["access_token"],
            "refresh_token": token.get("refresh_token") or profile.refresh_token,
            "expires_at": int(time.time()) + int(token.get("expires_in") or 0),
        }
    )


def _refused(error: str, description: str) -> Refusal:
    """What the issuer said, made fit for a terminal."""
    words = "".join(character for character in f"{description or error}" if character.isprintable())
    code = error if error.replace("_", "").isascii() and error.replace("_", "").isalpha() else "refused"
    return Refusal(Kind.UNAUTHENTICATED, code, f"the issuer refused: {words[:200] or 'without a reason'}")


def _sign_in_again() -> Refusal:
    return Refusal(Kind.UNAUTHENTICATED, "sign_in_again", "the sign-in has ended; sign in again: stagedoor login")
