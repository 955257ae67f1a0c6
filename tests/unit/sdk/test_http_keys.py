import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from stagedoor.guard import Guard
from stagedoor.keys import Algorithm, HttpKeys, parse_jwk, parse_jwks
from stagedoor.verdict import Allowed, Denied, Reason
from tests.support.sdk_tokens import SigningKey, claims, guard


class _Jwks(BaseHTTPRequestHandler):
    """Serves `body`, and counts."""

    body: ClassVar[bytes] = b""
    status: ClassVar[int] = 200
    location: ClassVar[str | None] = None
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(self.status)
        if self.location is not None:
            self.send_header("Location", self.location)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[type[_Jwks]]:
    handler = type("Handler", (_Jwks,), {"asked": []})
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.address = f"http://127.0.0.1:{http.server_port}"  # type: ignore[attr-defined]
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield handler
    http.shutdown()
    thread.join()
    http.server_close()


def publish(server: type[_Jwks], *keys: SigningKey) -> None:
    server.body = json.dumps({"keys": [key.jwk for key in keys]}).encode()


def keys_of(server: type[_Jwks], minimum_seconds: float = 10.0) -> HttpKeys:
    return HttpKeys(server.address + "/jwks", minimum_seconds=minimum_seconds)  # type: ignore[attr-defined]


async def test_keys_are_fetched_and_used(server: type[_Jwks]) -> None:
    first, second = SigningKey("one"), SigningKey("two", Algorithm.RS256)
    publish(server, first, second)
    keys = keys_of(server)
    assert not keys.loaded
    await keys.refresh()
    assert keys.loaded
    checked = guard(first, keys=keys)
    for key in (first, second):
        assert isinstance(checked.check(key.sign(claims())), Allowed)


async def test_an_unknown_key_is_looked_for_once_and_not_again_and_again(server: type[_Jwks]) -> None:
    known, unknown = SigningKey("known"), SigningKey("unknown")
    publish(server, known)
    checked = guard(known, keys=keys_of(server))
    assert isinstance(await checked.validate(known.sign(claims())), Allowed)
    for number in range(20):
        verdict = await checked.validate(unknown.sign(claims(jti=str(number))))
        assert isinstance(verdict, Denied)
        assert verdict.reason is Reason.UNKNOWN_KEY
    assert len(server.asked) == 1


async def test_a_new_key_is_found_when_a_token_names_it(server: type[_Jwks]) -> None:
    old, new = SigningKey("old"), SigningKey("new")
    publish(server, old)
    keys = keys_of(server, 0.0)
    checked: Guard = guard(old, keys=keys)
    assert isinstance(await checked.validate(old.sign(claims())), Allowed)
    kept = keys.find("old")
    publish(server, old, new)
    assert isinstance(await checked.validate(new.sign(claims())), Allowed)
    assert keys.find("old") is kept


async def test_a_key_that_is_published_no_more_is_forgotten(server: type[_Jwks]) -> None:
    old, new = SigningKey("old"), SigningKey("new")
    publish(server, old, new)
    keys = keys_of(server, 0.0)
    checked = guard(old, keys=keys)
    token = old.sign(claims())
    assert isinstance(await checked.validate(token), Allowed)
    publish(server, new)
    await keys.refresh()
    assert not isinstance(checked.check(token), Allowed)


async def test_without_any_keys_nothing_is_said_against_the_token(server: type[_Jwks]) -> None:
    server.status = 500
    key = SigningKey()
    verdict = await guard(key, keys=keys_of(server)).validate(key.sign(claims()))
    assert isinstance(verdict, Denied)
    assert verdict.reason is Reason.TOO_STALE


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": [1]}',
        b'{"keys": [{"kty": "oct", "k": "AAAA", "kid": "a", "alg": "HS256"}]}',
        b'{"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "a", "x": "AA", "y": "AA"}]}',
        b'{"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "a", "x": "AA"}]}',
        b'{"keys": []}' + b" " * 300_000,
    ],
)
async def test_a_wrong_document_leaves_the_known_keys(server: type[_Jwks], body: bytes) -> None:
    key = SigningKey()
    publish(server, key)
    keys = keys_of(server, 0.0)
    await keys.refresh()
    server.body = body
    await keys.refresh()
    assert len(server.asked) == 2
    assert keys.find(key.kid) is not None


async def test_a_redirect_is_not_followed(server: type[_Jwks]) -> None:
    server.status, server.location = 302, "/elsewhere"
    keys = keys_of(server)
    await keys.refresh()
    assert server.asked == ["/jwks"]
    assert not keys.loaded


@pytest.mark.parametrize("uri", ["http://login.example.com/jwks", "file:///etc/passwd", "ftp://localhost/jwks", "jwks"])
def test_keys_come_over_https_or_from_loopback(uri: str) -> None:
    with pytest.raises(ValueError, match="https"):
        HttpKeys(uri)


def test_what_is_no_signature_key_is_left_out() -> None:
    good = SigningKey("good").jwk
    document = {
        "keys": [
            good,
            {**good, "kid": "other-use", "use": "enc"},
            {**good, "kid": ""},
            {**good, "kid": "no-alg", "alg": None},
            {**good, "kid": "other-curve", "crv": "P-384"},
            {"kty": "OKP", "crv": "Ed25519", "kid": "okp", "alg": "EdDSA", "x": "AA"},
        ]
    }
    assert list(parse_jwks(json.dumps(document).encode())) == ["good"]


def test_a_key_id_twice_is_refused() -> None:
    document = {"keys": [SigningKey("same").jwk, SigningKey("same").jwk]}
    with pytest.raises(ValueError, match="twice"):
        parse_jwks(json.dumps(document).encode())


def test_a_private_key_is_refused() -> None:
    document = {"keys": [{**SigningKey().jwk, "d": "AA"}]}
    with pytest.raises(ValueError, match="not public"):
        parse_jwks(json.dumps(document).encode())


def test_a_short_rsa_key_is_left_out() -> None:
    jwk = {"kty": "RSA", "alg": "RS256", "kid": "short", "e": "AQAB", "n": "_" * 171}
    assert parse_jwk(jwk) is None
