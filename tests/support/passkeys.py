"""An authenticator in software, and what is done with it on the pages.

It makes and uses credentials as Web Authentication Level 3 and CTAP 2 say, by nothing of the service's. What it says
can be changed before it is signed, which is what attackers do.
"""

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from shared.encoding import base64url, from_base64url
from tests.support.browsing import Browser, Page
from tests.support.identity_service import PASSWORD, Identity, authorization, sign_in

ISSUER = "https://login.example.com/id"
ORIGIN = "https://login.example.com"
RP_ID = "login.example.com"
PAGE = "/id/account/passkeys"
SIGN_IN = "/id/signin/passkey"
ES256, EDDSA, RS256 = -7, -8, -257
UP, UV, BE, BS, AT = 0x01, 0x04, 0x08, 0x10, 0x40
"""Flags of authenticator data (section 6.1)."""

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
ClientData = dict[str, Any]


def _b64(raw: bytes) -> str:
    return base64url(raw).decode()


def _new_key(alg: int) -> Key:
    if alg == ES256:
        return ec.generate_private_key(ec.SECP256R1())
    return ed25519.Ed25519PrivateKey.generate() if alg == EDDSA else rsa.generate_private_key(65537, 2048)


def _cose(key: Key, alg: int) -> dict[int, Any]:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        at = key.public_key().public_numbers()
        return {1: 2, 3: alg, -1: 1, -2: at.x.to_bytes(32), -3: at.y.to_bytes(32)}
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return {1: 1, 3: alg, -1: 6, -2: key.public_key().public_bytes_raw()}
    numbers = key.public_key().public_numbers()
    return {1: 3, 3: alg, -1: numbers.n.to_bytes(256), -2: numbers.e.to_bytes(3)}


def _sign(key: Key, data: bytes) -> bytes:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(SHA256()))
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    return key.sign(data, padding.PKCS1v15(), SHA256())


@dataclass
class Credential:
    """One that an authenticator holds."""

    credential_id: bytes
    key: Key
    user_handle: bytes


@dataclass
class Authenticator:
    """Holds credentials, and does whatever it is asked; its user is always there."""

    alg: int = ES256
    flags: int = UP | UV
    counter: int = 0
    counts: bool = True
    credentials: list[Credential] = field(default_factory=list)

    def make(
        self,
        options: Mapping[str, Any],
        *,
        origin: str = ORIGIN,
        rp_id: str = RP_ID,
        client_data: Callable[[ClientData], ClientData] = lambda said: said,
        attestation: Callable[[dict[str, Any]], dict[str, Any]] = lambda made: made,
        signed_with_itself: bool = False,
    ) -> dict[str, str]:
        """What a browser sends after `navigator.credentials.create`."""
        made = Credential(secrets.token_bytes(32), _new_key(self.alg), from_base64url(options["user"]["id"]) or b"")
        self.credentials.append(made)
        public = cbor2.dumps(_cose(made.key, self.alg))
        attested = bytes(16) + len(made.credential_id).to_bytes(2) + made.credential_id + public
        said = json.dumps(client_data(_said("webauthn.create", options["challenge"], origin))).encode()
        data = self._data(rp_id, AT) + attested
        vouched = {"fmt": "none", "attStmt": {}, "authData": data}
        if signed_with_itself:
            signature = _sign(made.key, data + sha256(said).digest())
            vouched |= {"fmt": "packed", "attStmt": {"alg": self.alg, "sig": signature}}
        return {
            "id": _b64(made.credential_id),
            "clientDataJSON": _b64(said),
            "attestationObject": _b64(cbor2.dumps(attestation(vouched))),
        }

    def use(
        self,
        options: Mapping[str, Any],
        *,
        origin: str = ORIGIN,
        rp_id: str = RP_ID,
        which: int = -1,
        client_data: Callable[[ClientData], ClientData] = lambda said: said,
        without: int = 0,
    ) -> dict[str, str]:
        """What a browser sends after `navigator.credentials.get`. `without`: flags that are not set."""
        used = self.credentials[which]
        said = json.dumps(client_data(_said("webauthn.get", options["challenge"], origin))).encode()
        data = self._data(rp_id, 0, without)
        return {
            "id": _b64(used.credential_id),
            "clientDataJSON": _b64(said),
            "authenticatorData": _b64(data),
            "signature": _b64(_sign(used.key, data + sha256(said).digest())),
            "userHandle": _b64(used.user_handle),
        }

    def _data(self, rp_id: str, more: int, without: int = 0) -> bytes:
        self.counter += self.counts
        counter = self.counter if self.counts else 0
        flags = (self.flags | more) & ~without
        return sha256(rp_id.encode()).digest() + bytes([flags]) + counter.to_bytes(4)


def with_credential_id(made: Mapping[str, str], credential_id: bytes) -> dict[str, str]:
    """The same answer, with the id of another credential of the same length."""
    object_ = cbor2.loads(from_base64url(made["attestationObject"]) or b"")
    old = from_base64url(made["id"]) or b""
    object_["authData"] = object_["authData"].replace(old, credential_id)
    return {**made, "id": _b64(credential_id), "attestationObject": _b64(cbor2.dumps(object_))}


def _said(kind: str, challenge: str, origin: str) -> ClientData:
    return {"type": kind, "challenge": challenge, "origin": origin, "crossOrigin": False}


def options_on(page: Page) -> dict[str, Any]:
    """What a page tells the browser."""
    (form,) = (given for tag, given in page.tags if tag == "form" and given.get("id") == "passkey")
    options: dict[str, Any] = json.loads(form["data-options"])
    return options


async def answer(browser: Browser, page: Page, answered: Mapping[str, str]) -> Page:
    """Send what an authenticator answered with the form of the page that asked."""
    return await browser.submit_once(page, answer=json.dumps(answered), action="go_on")


async def to_add(browser: Browser, name: str = "My telephone") -> Page:
    """The page that asks for a new one, in a browser whose user has signed in a moment ago."""
    page = await browser.get(PAGE)
    (form,) = (form for form in page.forms if form.action == f"{PAGE}/begin")
    return await browser.press(page, form, name=name)


async def add(browser: Browser, authenticator: Authenticator, name: str = "My telephone") -> Page:
    """Add a passkey; answers the page after it."""
    page = await to_add(browser, name)
    return await answer(browser, page, authenticator.make(options_on(page)))


async def sign_in_by(browser: Browser, authenticator: Authenticator, **parameters: str) -> Page:
    """At a request of the application, with a passkey and nothing else; answers what follows."""
    page = await to_sign_in(browser, **parameters)
    return await answer(browser, page, authenticator.use(options_on(page)))


async def to_sign_in(browser: Browser, **parameters: str) -> Page:
    """The page that asks whoever is there for a passkey, at a request of the application."""
    page = await browser.get(authorization(browser.base, **parameters))
    (way,) = (link for link in page.links if link.startswith(SIGN_IN))
    return await browser.get(way)


async def freddie_with_passkey(
    identity: Identity, authenticator: Authenticator | None = None
) -> tuple[Browser, Authenticator, list[str]]:
    """Freddie has signed in by his password, and has added a passkey; with the recovery codes that he was shown."""
    own = authenticator or Authenticator()
    await identity.register()
    browser = identity.browser()
    await browser.submit(await sign_in(browser, secret=PASSWORD), decision="allow")
    page = await add(browser, own)
    assert "Your recovery codes" in page.text, page.text
    identity.issuer.issued.clear()
    return browser, own, shown(page)


def shown(page: Page) -> list[str]:
    """The recovery codes on a page."""
    return [word for word in page.text.split() if len(word) == 19 and word.count("-") == 3]
