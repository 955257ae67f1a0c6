"""The console as an OAuth client: authorization code with PKCE, and a signature that proves who redeems it.

What has to come back to the browser that began lies in a sealed cookie there (`Begun`), so nothing is kept for people
who never come back, and an answer that was begun elsewhere is worth nothing here.
"""

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlencode

import httpx
import jwt
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shared.encoding import base64url
from shared.errors import Kind, Refusal, Unavailable
from shared.ids import new_id, new_secret, same
from shared.keys import MasterKey

CLIENT_ID: Final = "com.stagedoor/console"
SCOPE: Final = "openid sec"
BEGUN_SECONDS: Final = 1800
"""From the redirect to the issuer to the way back."""
_ASSERTION_SECONDS: Final = 60
_ALGORITHM: Final = "ES256"
"""What its ID tokens are signed with."""
_SKEW: Final = 60
_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in under way."""

    state: str
    nonce: str
    verifier: str
    to: str
    """The page of the console that was asked for, path and query."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the issuer gave."""

    access_token: str
    id_token: str
    sub: str
    expires_in: int


class ConsoleKey:
    """The key that the console signs with: Ed25519, derived from its master key."""

    def __init__(self, master: MasterKey) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(master.derive("client-key"))
        public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self._kid = sha256(public).hexdigest()[:16]
        jwk = {"kty": "OKP", "crv": "Ed25519", "x": base64url(public).decode(), "kid": self._kid, "alg": "EdDSA"}
        self.jwks = json.dumps({"keys": [jwk]})
        """Its public half, as a JWK Set (RFC 8037 section 2)."""

    def assertion(self, audience: str) -> str:
        """Says that the bearer is the console (RFC 7523 section 3), once and for a minute."""
        now = int(time.time())
        claims = {
            "iss": CLIENT_ID,
            "sub": CLIENT_ID,
            "aud": audience,
            "jti": new_id(),
            "iat": now,
            "exp": now + _ASSERTION_SECONDS,
        }
        return jwt.encode(claims, self._key, algorithm="EdDSA", headers={"kid": self._kid})


class Client:
    """Signs people in and out."""

    def __init__(self, issuer: str, base: str, master: MasterKey, http: httpx.AsyncClient) -> None:
        """`base`: the address of the console."""
        self._issuer = issuer
        self._redirect_uri = f"{base}/callback"
        self._signed_out = f"{base}/signed-out"
        self._key = ConsoleKey(master)
        self._seal = Fernet(urlsafe_b64encode(master.derive("sign-ins-under-way")))
        self._http = http
        self._signing_keys: dict[str, jwt.PyJWK] = {}

    @property
    def jwks(self) -> str:
        """The public keys of the console."""
        return self._key.jwks

    def begin(self, to: str) -> tuple[str, str]:
        """Where to send the browser (RFC 6749 section 4.1.1), and what it has to keep until it comes back."""
        begun = Begun(new_secret(), new_secret(), new_secret(), to)
        challenge = base64url(sha256(begun.verifier.encode()).digest()).decode()
        request = {
            "response_type": "code",
            "client_id": CLIENT_ID,
            "redirect_uri": self._redirect_uri,
            "scope": SCOPE,
            "state": begun.state,
            "nonce": begun.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        sealed = self._seal.encrypt(json.dumps(asdict(begun)).encode()).decode()
        return f"{self._issuer}/connect/authorize?{urlencode(request)}", sealed

    def begun(self, sealed: str | None, state: str | None) -> Begun:
        """The sign-in that an answer belongs to; refuses one that was not begun in this browser."""
        try:
            text = self._seal.decrypt((sealed or "").encode(), ttl=BEGUN_SECONDS)
            begun = Begun(**json.loads(text))
        except (InvalidToken, ValueError, TypeError):
            raise _not_begun() from None
        if not state or not same(state, begun.state):
            raise _not_begun()
        return begun

    async def finish(self, begun: Begun, answer: Mapping[str, str | None]) -> Tokens:
        """Redeem the answer to an authorization request (RFC 6749 section 4.1.3, RFC 9207 section 2.4)."""
        if not same(answer.get("iss") or "", self._issuer):
            raise _not_begun()
        code = answer.get("code")
        if code is None:
            raise _refused(answer.get("error"), answer.get("error_description"))
        token = await self._redeem(code, begun.verifier)
        access_token, id_token, expires_in = (token.get(name) for name in ("access_token", "id_token", "expires_in"))
        if not (isinstance(access_token, str) and isinstance(id_token, str) and isinstance(expires_in, int)):
            raise _bad_answer()
        claims = await self._claims(id_token)
        if not same(str(claims.get("nonce") or ""), begun.nonce):
            raise _bad_answer()
        return Tokens(access_token, id_token, claims["sub"], expires_in)

    def sign_out(self, id_token: str) -> str:
        """Where a browser goes to sign out at the issuer as well (OpenID Connect RP-Initiated Logout section 2)."""
        request = {"id_token_hint": id_token, "post_logout_redirect_uri": self._signed_out}
        return f"{self._issuer}/connect/endsession?{urlencode(request)}"

    async def _redeem(self, code: str, verifier: str) -> Mapping[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": verifier,
            "client_id": CLIENT_ID,
            "client_assertion_type": _ASSERTION_TYPE,
            "client_assertion": self._key.assertion(self._issuer),
        }
        try:
            answer = await self._http.post(f"{self._issuer}/connect/token", data=form)
            found = answer.json()
        except (httpx.HTTPError, ValueError):
            raise _unavailable() from None
        if not isinstance(found, dict):
            raise _bad_answer()
        if answer.status_code >= 500:
            raise _unavailable()
        if not answer.is_success:
            raise _refused(found.get("error"), found.get("error_description"))
        return found

    async def _claims(self, id_token: str) -> Mapping[str, Any]:
        """What an ID token says that is the issuer's and for the console (OpenID Connect Core section 3.1.3.7)."""
        try:
            kid = jwt.get_unverified_header(id_token).get("kid")
            claims: Mapping[str, Any] = jwt.decode(
                id_token,
                await self._signing_key(str(kid)),
                algorithms=[_ALGORITHM],
                audience=CLIENT_ID,
                issuer=self._issuer,
                leeway=_SKEW,
                options={"require": ["iss", "sub", "aud", "exp", "iat", "nonce"], "strict_aud": True},
            )
        except jwt.PyJWTError:
            raise _bad_answer() from None
        return claims

    async def _signing_key(self, kid: str) -> jwt.PyJWK:
        if kid not in self._signing_keys:
            try:
                answer = await self._http.get(f"{self._issuer}/connect/jwks")
                answer.raise_for_status()
                self._signing_keys = {str(key.key_id): key for key in jwt.PyJWKSet.from_dict(answer.json()).keys}
            except (httpx.HTTPError, ValueError, jwt.PyJWKSetError):
                raise _unavailable() from None
        if kid not in self._signing_keys:
            raise _bad_answer()
        return self._signing_keys[kid]


def _not_begun() -> Refusal:
    return Refusal(Kind.FORBIDDEN, "not_begun_here", "this answer belongs to no sign-in that was begun in this browser")


def _refused(error: object, description: object) -> Refusal:
    """What the issuer said, as the person is shown it."""
    code = error if isinstance(error, str) and error.isascii() and error.replace("_", "").isalnum() else "refused"
    words = description if isinstance(description, str) and description else code
    shown = "".join(character for character in words if character.isprintable())[:200]
    return Refusal(Kind.FORBIDDEN, code, f"the issuer did not sign you in: {shown}")


def _bad_answer() -> Refusal:
    return Refusal(Kind.FORBIDDEN, "bad_answer", "the issuer's answer cannot be believed")


def _unavailable() -> Unavailable:
    return Unavailable("issuer_unavailable", "the issuer does not answer")
