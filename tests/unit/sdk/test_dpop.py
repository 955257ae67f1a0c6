"""Proofs (RFC 9449 section 4.3): what is one, and each way not to be one."""

import json
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from stagedoor import dpop
from stagedoor.dpop import ALGORITHMS, Proof, Shown, Used, normalized, read, same_uri
from stagedoor.token import base64url_bytes
from tests.support.dpop import ProofKey, ath
from tests.support.sdk_tokens import SigningKey, b64

URI = "https://api.example.com/api/tours"
KEY = ProofKey(name="unit")

EXAMPLE = (
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJo"
    "RjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJ"
    "qdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXN"
    "vdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yR"
    "qzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
)
"""RFC 9449 section 7.1: for its token, and at its time."""
EXAMPLE_TOKEN = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
EXAMPLE_JKT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
"""Section 6.1."""


def shown(text: str, *, method: str = "GET", uri: str = URI, now: float | None = None) -> Shown | None:
    return read(Proof(method, uri, text), time.time() if now is None else now)


def changed(**changes: Any) -> str:
    return KEY.proof("GET", URI, **changes)


def header(**changes: Any) -> str:
    """A proof whose header is another one, signed all the same."""
    claims = {"jti": "a", "htm": "GET", "htu": URI, "iat": int(time.time())}
    return KEY.signed(claims, **changes)


def resigned(signed: str) -> str:
    """With the signature that these first two parts need."""
    signer = SigningKey()
    signer.ec = KEY.private
    return f"{signed}.{b64(signer.signature(signed.encode()))}"


def test_the_example_of_the_standard() -> None:
    uri, at = "https://resource.example.org/protectedresource", 1562262618
    found = shown(EXAMPLE, uri=uri, now=at)
    assert found is not None
    assert (found.jkt, found.jti) == (EXAMPLE_JKT, "e1j3V_bKic8-LAEB")
    assert found.is_of(EXAMPLE_JKT)
    assert found.is_for(sha256(EXAMPLE_TOKEN.encode()).digest())
    assert not found.is_for(sha256(b"another").digest())
    assert shown(EXAMPLE, uri=uri, now=at + 3600) is None


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm(algorithm: str) -> None:
    key = ProofKey(algorithm, "unit")
    found = shown(key.proof("GET", URI, "a-token"))
    assert found is not None
    assert found.is_of(key.jkt)
    assert found.ath == ath("a-token")


@pytest.mark.parametrize("offset", [-55, 0, 55])
def test_clocks_may_differ_a_little(offset: int) -> None:
    assert shown(changed(iat=int(time.time()) + offset)) is not None


@pytest.mark.parametrize(
    "text",
    [
        "https://api.example.com/api/tours",
        "https://api.example.com:443/api/tours",
        "HTTPS://API.Example.COM/api/tours",
        "https://api.example.com/%61pi/tour%73",
        "https://api.example.com/api/tours?page=2",
        "https://api.example.com/api/tours#top",
    ],
)
def test_an_address_is_the_same_however_it_is_written(text: str) -> None:
    assert shown(changed(htu=text)) is not None


def test_an_address_without_a_path_has_the_root() -> None:
    assert normalized("https://api.example.com") == normalized("https://api.example.com/")
    assert same_uri("http://[::1]:80/a%2fb", "http://[::1]/a%2Fb")


@pytest.mark.parametrize(
    "claims",
    [
        {"jti": None},
        {"jti": ""},
        {"jti": 7},
        {"jti": "j" * 513},
        {"htm": None},
        {"htm": "POST"},
        {"htm": "get"},
        {"htm": ["GET"]},
        {"htu": None},
        {"htu": ["https://api.example.com/api/tours"]},
        {"htu": "https://api.example.com/api/tour"},
        {"htu": "https://api.example.com/api/tours/"},
        {"htu": "https://api.example.com/API/tours"},
        {"htu": "https://api.example.com:8443/api/tours"},
        {"htu": "http://api.example.com/api/tours"},
        {"htu": "https://api.example.com/api%2Ftours"},
        {"htu": "https://api.example.com/other/../api/tours"},
        {"htu": "https://api.example.com/api/%2e/tours"},
        {"htu": "https://someone@api.example.com/api/tours"},
        {"htu": "https://api.example.com.evil.example/api/tours"},
        {"htu": "https://api.example.com/api/tours\n"},
        {"htu": "/api/tours"},
        {"htu": "//api.example.com/api/tours"},
        {"htu": "https://api.example.com:0x1bb/api/tours"},
        {"htu": "https://api.example.com:99999/api/tours"},
        {"htu": "https://api.example.com/" + "t" * 5000},
        {"iat": None},
        {"iat": "1562262618"},
        {"iat": True},
        {"iat": -1},
        {"iat": 1e300},
        {"iat": int(time.time()) - 3600},
        {"iat": int(time.time()) + 3600},
        {"exp": int(time.time()) - 3600},
        {"exp": "never"},
        {"nbf": int(time.time()) + 3600},
        {"nbf": []},
        {"ath": 7},
    ],
)
def test_a_claim_that_is_wrong(claims: dict[str, Any]) -> None:
    assert shown(changed()) is not None
    assert shown(changed(**claims)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"typ": "JWT"},
        {"typ": "at+jwt"},
        {"typ": "DPOP+JWT"},
        {"typ": None},
        {"alg": "HS256"},
        {"alg": "RS256"},
        {"jwk": None},
        {"jwk": "a key"},
        {"jwk": {}},
        {"jwk": {**KEY.jwk, "d": "AQAB"}},
        {"jwk": {**KEY.jwk, "k": "AQAB"}},
        {"jwk": {**KEY.jwk, "kty": "oct"}},
        {"jwk": {**KEY.jwk, "crv": "P-384"}},
        {"jwk": {**KEY.jwk, "alg": "ES384"}},
        {"jwk": {**KEY.jwk, "use": "enc"}},
        {"jwk": {**KEY.jwk, "x": KEY.jwk["x"] + "="}},
        {"jwk": {**KEY.jwk, "x": b64(b"\1" * 32)}},
        {"jwk": {**KEY.jwk, "x": b64(b"\0" * 33)}},
        {"jwk": {**KEY.jwk, "x": 7}},
        {"jwk": {**KEY.jwk, "x": "é"}},
        {"jwk": ProofKey(name="another").jwk},
        {"crit": ["exp"]},
        {"b64": False},
    ],
)
def test_a_header_that_is_wrong(changes: dict[str, Any]) -> None:
    first, claims, _ = header().split(".")
    said = json.loads(base64url_bytes(first.encode()) or b"")
    wrong = {name: value for name, value in {**said, **changes}.items() if value is not None}
    signed = f"{b64(json.dumps(wrong).encode())}.{claims}"
    assert shown(resigned(signed)) is None


@pytest.mark.parametrize(
    "jwk",
    [
        {"kty": "RSA", "n": b64(b"\x80" + b"\1" * 127), "e": "AQAB"},
        {"kty": "RSA", "n": b64(b"\x80" + b"\1" * 1024), "e": "AQAB"},
        {"kty": "RSA", "n": b64(b"\0\x80" + b"\1" * 255), "e": "AQAB"},
        {"kty": "RSA", "n": b64(b"\x80" + b"\1" * 255), "e": b64(b"\1" * 200)},
        {"kty": "RSA", "n": b64(b"\x80" + b"\1" * 255), "e": "AQ"},
        {"kty": "RSA", "n": b64(b"\x80" + b"\1" * 255), "e": "Ag"},
    ],
)
def test_an_rsa_key_that_is_too_short_too_long_or_costly(jwk: dict[str, Any]) -> None:
    assert dpop._key({"typ": "dpop+jwt", "alg": "RS256", "jwk": jwk}) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-4] + "AAAA",
        lambda text: text.rpartition(".")[0] + ".",
        lambda text: text.rpartition(".")[0],
        lambda text: text + ".",
        lambda text: text + ", " + text,
        lambda text: " " + text,
        lambda text: text + "=",
        lambda text: "é" + text,
        lambda _: "",
        lambda text: text.replace(".", "A" * 9000 + ".", 1),
    ],
)
def test_a_text_that_is_none(spoil: Callable[[str], str]) -> None:
    assert shown(spoil(changed())) is None


@pytest.mark.parametrize(
    "claims",
    [b'{"jti":"a","jti":"b","htm":"GET","htu":"%b","iat":%d}', b"[]", b"7", b'{"jti":', b"\xff", b"[" * 4000],
)
def test_claims_that_two_could_read_differently(claims: bytes) -> None:
    said = claims % (URI.encode(), int(time.time())) if b"%b" in claims else claims
    signed = f"{header().split('.')[0]}.{b64(said)}"
    assert shown(resigned(signed)) is None


def test_without_a_method_nothing_is_a_proof() -> None:
    assert shown(changed(htm=""), method="") is None


def test_a_proof_is_not_in_what_it_is_shown_as() -> None:
    proof = Proof("GET", URI, changed(jti="a-secret-of-its-own"))
    found = read(proof, time.time())
    assert "ey" not in repr(proof)
    assert "a-secret" not in repr(found)


class Elapsed:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def proof_of(jti: str) -> Shown:
    return Shown("jkt", jti, None, 0.0, 0.0, "ES256")


def test_each_proof_is_used_once_for_as_long_as_it_may_be_good() -> None:
    elapsed = Elapsed()
    used = Used(window=60, boot=elapsed)
    assert used.use(proof_of("one"))
    for _ in range(5):
        elapsed.seconds += 30
        assert used.use(proof_of("one")) is False
    elapsed.seconds += 91
    assert used.use(proof_of("two"))
    assert used.use(proof_of("one")) is False
    elapsed.seconds += 1000
    assert used.use(proof_of("one"))


def test_what_there_is_no_room_for_is_not_accepted() -> None:
    elapsed = Elapsed()
    used = Used(window=60, most=2, boot=elapsed)
    assert used.use(proof_of("one"))
    assert used.use(proof_of("two"))
    assert used.use(proof_of("three")) is None
    assert used.use(proof_of("one")) is False
    elapsed.seconds += 241
    assert used.use(proof_of("three"))
