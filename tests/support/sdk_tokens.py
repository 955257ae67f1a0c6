"""An issuer for tests: it signs whatever it is told, right or wrong."""

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from stagedoor.clock import since_boot
from stagedoor.denials import Denial, DenialView, Snapshot
from stagedoor.feed import Answer, OnlineError
from stagedoor.guard import Guard
from stagedoor.keys import Algorithm, KeySource, PublicKey, StaticKeys

ISSUER = "https://login.example.com/id"
AUDIENCE = "https://api.example.com/api"


def b64(raw: bytes) -> str:
    """base64url without padding."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def number_b64(number: int) -> str:
    """An unsigned number as RFC 7518 section 2 has it."""
    return b64(number.to_bytes((number.bit_length() + 7) // 8))


class SigningKey:
    """A key pair."""

    def __init__(self, kid: str = "key-1", algorithm: Algorithm = Algorithm.ES256) -> None:
        self.kid = kid
        self.algorithm = algorithm
        self.ec = ec.generate_private_key(ec.SECP256R1())
        self.rsa = rsa.generate_private_key(65537, 2048) if algorithm is Algorithm.RS256 else None

    @property
    def public(self) -> PublicKey:
        if self.rsa is not None:
            return PublicKey(self.kid, self.algorithm, self.rsa.public_key())
        return PublicKey(self.kid, self.algorithm, self.ec.public_key())

    @property
    def jwk(self) -> dict[str, str]:
        if self.rsa is not None:
            rsa_numbers = self.rsa.public_key().public_numbers()
            own = {"kty": "RSA", "n": number_b64(rsa_numbers.n), "e": number_b64(rsa_numbers.e)}
        else:
            numbers = self.ec.public_key().public_numbers()
            own = {"kty": "EC", "crv": "P-256", "x": b64(numbers.x.to_bytes(32)), "y": b64(numbers.y.to_bytes(32))}
        return {**own, "kid": self.kid, "alg": self.algorithm.value, "use": "sig"}

    def signature(self, signed: bytes) -> bytes:
        if self.rsa is not None:
            return self.rsa.sign(signed, padding.PKCS1v15(), SHA256())
        r, s = decode_dss_signature(self.ec.sign(signed, ec.ECDSA(SHA256())))
        return r.to_bytes(32) + s.to_bytes(32)

    def sign_raw(self, header: bytes, payload: bytes) -> str:
        """A JWS over exactly these bytes."""
        signed = f"{b64(header)}.{b64(payload)}"
        return f"{signed}.{b64(self.signature(signed.encode()))}"

    def sign(self, payload: Mapping[str, Any], header: Mapping[str, Any] | None = None) -> str:
        full = {"alg": self.algorithm.value, "typ": "at+jwt", "kid": self.kid, **(header or {})}
        kept = {name: value for name, value in full.items() if value is not None}
        return self.sign_raw(json.dumps(kept).encode(), json.dumps(payload).encode())


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of a good token; a change to None leaves the claim out."""
    now = int(time.time())
    full = {
        "iss": ISSUER,
        "sub": "sub-freddie",
        "aud": [AUDIENCE],
        "client_id": "com.backstagehub/app",
        "scope": "read update",
        "iat": now,
        "nbf": now,
        "exp": now + 3600,
        "jti": "jti-1",
        "sid": "sid-1",
        "gid": "gid-1",
        "pos": 100,
        "epoch": 1,
    }
    full |= changes
    return {name: value for name, value in full.items() if value is not None}


CHAIN = ("com.tourbus/api", "com.setlist/app", "com.backstagehub/app")
"""The applications of a token that was exchanged twice: the one that acts, back to the first."""


def acting(clients: Sequence[str]) -> dict[str, Any]:
    """The claim `act` of these clients, the outermost first."""
    act: dict[str, Any] = {}
    for client in reversed(clients):
        act = {"sub": client, "client_id": client, **({"act": act} if act else {})}
    return act


EXCHANGED: Mapping[str, Any] = {"client_id": CHAIN[0], "act": acting(CHAIN), "derived_from": ["jti-0", "jti-00"]}
"""What such a token says more, or otherwise."""


class HeldFeed:
    """A feed that tells nothing by itself; a ping is answered as the test says."""

    def __init__(self) -> None:
        self.pings = 0
        self.head: tuple[int, int, int] | None = None
        self.view: DenialView | None = None

    async def run(self, view: DenialView) -> None:
        self.view = view

    async def ping(self) -> None:
        self.pings += 1
        if self.head is not None and self.view is not None:
            self.view.vouch(*self.head, since_boot())


class HeldOnline:
    """Answers as told; None: cannot be reached."""

    def __init__(self, answer: Answer | None) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def validate(self, token: str, **_: Any) -> Answer:
        self.asked.append(token)
        if self.answer is None:
            raise OnlineError("it is down")
        return self.answer


def guard(
    key: SigningKey, *denials: Denial, keys: KeySource | None = None, loaded: bool = True, **options: Any
) -> Guard:
    """A guard whose view is complete up to position 1000, and fresh."""
    feed = options.pop("feed", None) or HeldFeed()
    options = {"issuer": ISSUER, "audience": AUDIENCE, "keys": keys or StaticKeys([key.public]), **options}
    made = Guard(feed=feed, **options)
    if isinstance(feed, HeldFeed):
        feed.view = made.view
    if loaded:
        number = max((denial.number for denial in denials), default=0)
        made.view.replace(Snapshot(position=1000, number=number, epoch=1, denials=denials), since_boot())
    return made
