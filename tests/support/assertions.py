"""Applications that prove with a signature who they are, as their developers would write them: with PyJWT."""

import json
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from services.registry.events import ApplicationSettings, AuthMethod, PublicJwk
from services.token_issuer.assertions.assertion import TYPE
from shared.ids import new_id
from tests.support.issuing import CONFIDENTIAL, HUB, ISSUER, Client, Stage

LIFE = 120


@cache
def _private(algorithm: str, name: str) -> Any:
    """Making an RSA key takes longer than most tests."""
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    return ed25519.Ed25519PrivateKey.generate() if algorithm == "EdDSA" else rsa.generate_private_key(65537, 2048)


@dataclass(frozen=True)
class ClientKey:
    """A key pair of an application."""

    algorithm: str = "ES256"
    kid: str | None = "one"

    @property
    def private(self) -> Any:
        return _private(self.algorithm, str(self.kid))

    @property
    def jwk(self) -> dict[str, Any]:
        """Its public half (RFC 7517)."""
        made = json.loads(get_default_algorithms()[self.algorithm].to_jwk(self.private.public_key()))
        kept = {name: value for name, value in made.items() if name in PublicJwk.model_fields}
        return {**kept, **({} if self.kid is None else {"kid": self.kid})}

    @property
    def public(self) -> PublicJwk:
        return PublicJwk(**self.jwk)

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        named = {} if self.kid is None else {"kid": self.kid}
        return jwt.encode(claims, self.private, self.algorithm, headers={**named, **header})


@dataclass
class SigningClient(Client):
    """An application with its key; each request gets an assertion of its own."""

    key: ClientKey = field(default_factory=ClientKey)
    stage: Stage | None = None

    def claims(self, **changes: Any) -> dict[str, Any]:
        """What an assertion says; a claim that is None is left out."""
        assert self.stage is not None
        now = int(self.stage.clock().timestamp())
        said = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": ISSUER,
            "iat": now,
            "exp": now + LIFE,
            "jti": new_id(),
            **changes,
        }
        return {name: value for name, value in said.items() if value is not None}

    def assertion(self, **changes: Any) -> str:
        return self.key.sign(self.claims(**changes))

    def headers(self) -> dict[str, str]:
        return {}

    def form(self, **values: str) -> dict[str, str]:
        return asserted(self.assertion(), **values)


def asserted(assertion: str, **values: str) -> dict[str, str]:
    """A form with this assertion."""
    return {"client_assertion_type": TYPE, "client_assertion": assertion, **values}


def signing(*keys: ClientKey, **changes: Any) -> ApplicationSettings:
    """Settings of an application with these keys."""
    jwks = tuple(key.public for key in keys)
    return CONFIDENTIAL.model_copy(update={"auth_method": AuthMethod.PRIVATE_KEY_JWT, "jwks": jwks, **changes})


async def signing_client(
    stage: Stage, key: ClientKey | None = None, *, client_id: str = HUB, resources: bool = True, **changes: Any
) -> SigningClient:
    """An application with this key, registered."""
    key = key or ClientKey()
    settings = signing(*([] if "jwks_uri" in changes else [key]), **changes)
    made = await stage.register(settings, client_id, resources=resources)
    return SigningClient(made.client_id, None, made.redirect_uri, key, stage)
