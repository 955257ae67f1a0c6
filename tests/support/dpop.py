"""A client that holds a key and shows it (RFC 9449), as its developer would write it: with PyJWT."""

import hashlib
import json
import time
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from shared.ids import new_id
from tests.support.issuing import ISSUER, VERIFIER, Client, Stage

TOKEN = f"{ISSUER}/connect/token"
PAR = f"{ISSUER}/connect/par"

_THUMBED = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n"), "OKP": ("crv", "kty", "x")}


def ath(token: str) -> str:
    """What a proof says of the access token that it is for."""
    return urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()


@cache
def _private(algorithm: str, name: str) -> Any:
    """Making an RSA key takes longer than most tests."""
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    return ed25519.Ed25519PrivateKey.generate() if algorithm == "EdDSA" else rsa.generate_private_key(65537, 2048)


@dataclass(frozen=True)
class ProofKey:
    """A key pair of a client."""

    algorithm: str = "ES256"
    name: str = field(default_factory=new_id)

    @property
    def private(self) -> Any:
        return _private(self.algorithm, self.name)

    @property
    def jwk(self) -> dict[str, Any]:
        """Its public half (RFC 7517)."""
        made = json.loads(get_default_algorithms()[self.algorithm].to_jwk(self.private.public_key()))
        return {name: value for name, value in made.items() if name not in {"key_ops", "alg", "use"}}

    @property
    def jkt(self) -> str:
        """Its thumbprint (RFC 7638), in the words of the standard library."""
        jwk = self.jwk
        members = {name: jwk[name] for name in _THUMBED[jwk["kty"]]}
        text = json.dumps(members, separators=(",", ":"), sort_keys=True)
        return urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()

    def proof(self, method: str, uri: str, token: str | None = None, **changes: Any) -> str:
        """A proof for a request; what is None is left out."""
        claims = {
            "jti": new_id(),
            "htm": method,
            "htu": uri,
            "iat": int(time.time()),
            "ath": None if token is None else ath(token),
        }
        return self.signed({**claims, **changes})

    def signed(self, claims: dict[str, Any], **header: Any) -> str:
        """A proof with these claims, and another header where that is asked for."""
        kept = {name: value for name, value in claims.items() if value is not None}
        full = {"typ": "dpop+jwt", "jwk": self.jwk, **header}
        return jwt.encode(kept, self.private, self.algorithm, headers=full)

    def headers(self, method: str, uri: str, token: str) -> dict[str, str]:
        """Those of a request with a bound token."""
        return {"Authorization": f"DPoP {token}", "DPoP": self.proof(method, uri, token)}


async def ask(
    stage: Stage, client: Client, key: ProofKey | None, *proofs: str, at: str = TOKEN, **form: str
) -> httpx.Response:
    """A request to the issuer with a proof of this key, or with these proofs as they stand."""
    headers = list(client.headers().items())
    shown = proofs or (() if key is None else (key.proof("POST", at, iat=int(stage.clock().timestamp())),))
    return await stage.http.post(at, data=client.form(**form), headers=[*headers, *(("DPoP", one) for one in shown)])


async def redeem(stage: Stage, client: Client, key: ProofKey | None, code: str, **form: str) -> httpx.Response:
    """Exchange a code."""
    said = {"code": code, "redirect_uri": client.redirect_uri, "code_verifier": VERIFIER, **form}
    return await ask(stage, client, key, grant_type="authorization_code", **said)


async def refresh(stage: Stage, client: Client, key: ProofKey | None, token: str, **form: str) -> httpx.Response:
    """Exchange a refresh token."""
    return await ask(stage, client, key, grant_type="refresh_token", refresh_token=token, **form)


async def tokens(stage: Stage, client: Client, key: ProofKey | None, sub: str, **changes: str) -> dict[str, Any]:
    """Everything that a sign-in gives, bound to the key."""
    answer = await redeem(stage, client, key, await stage.code(client, sub, **changes))
    assert answer.status_code == 200, answer.text
    return dict(answer.json())
