"""The command as an OAuth client, against an issuer that is strict about what it gets."""

import asyncio
import json
import threading
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx
import pytest

from services.cli import oauth, profile
from services.cli.connection import Connection
from services.cli.profile import Profile
from shared.errors import Kind, Refusal, Unavailable


class Issuer:
    """Discovery and the token endpoint, with rotating refresh tokens; reuse ends everything."""

    def __init__(self) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.issuer = f"http://127.0.0.1:{self.server.server_port}/id"
        self.claims_to_be = self.issuer
        self.lock = threading.Lock()
        self.challenges: dict[str, tuple[str, str]] = {}
        self.refresh_token = ""
        self.issued = 0
        self.ended = False
        self.device_answers: list[tuple[int, dict[str, Any]]] = []
        """What a device is told, one time after the other; then it gets tokens."""
        self.device: dict[str, Any] = {
            "device_code": "the-device-code",
            "user_code": "WDJB-MJHT",
            "verification_uri": f"{self.issuer}/device",
            "verification_uri_complete": f"{self.issuer}/device?user_code=WDJB-MJHT",
            "expires_in": 600,
            "interval": 5,
        }

    def metadata(self) -> dict[str, str]:
        return {
            "issuer": self.claims_to_be,
            "authorization_endpoint": f"{self.issuer}/connect/authorize",
            "token_endpoint": f"{self.issuer}/connect/token",
            "device_authorization_endpoint": f"{self.issuer}/connect/device",
        }

    def ask_for_device(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        assert form == {"client_id": profile.CLIENT_ID, "scope": oauth.SCOPE}
        return (400 if "error" in self.device else 200), self.device

    def authorize(self, address: str) -> tuple[str, dict[str, str]]:
        """What a browser would be sent back with."""
        asked = dict(parse_qsl(urlsplit(address).query))
        assert address.startswith(f"{self.issuer}/connect/authorize?")
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        assert asked["client_id"] == profile.CLIENT_ID
        assert set(asked["scope"].split()) == {"sec", "offline_access"}
        self.challenges["the-code"] = (asked["code_challenge"], asked["redirect_uri"])
        return asked["redirect_uri"], {"code": "the-code", "state": asked["state"], "iss": self.issuer}

    def token(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        with self.lock:
            if form["grant_type"] == "authorization_code":
                challenge, redirect_uri = self.challenges.pop(form["code"])
                proof = urlsafe_b64encode(sha256(form["code_verifier"].encode()).digest()).rstrip(b"=").decode()
                assert proof == challenge
                assert form["redirect_uri"] == redirect_uri
            elif form["grant_type"] == "urn:ietf:params:oauth:grant-type:device_code":
                assert form["device_code"] == "the-device-code"
                if self.device_answers:
                    return self.device_answers.pop(0)
            elif self.ended or form["refresh_token"] != self.refresh_token:
                self.ended = True
                return 400, {"error": "invalid_grant", "error_description": "reused\x1b[2J"}
            assert form["client_id"] == profile.CLIENT_ID
            assert "client_secret" not in form
            self.issued += 1
            self.refresh_token = f"refresh-{self.issued}"
            return 200, {
                "access_token": f"access-{self.issued}",
                "refresh_token": self.refresh_token,
                "token_type": "Bearer",
                "expires_in": 3600,
            }

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(200, issuer.metadata())

            def do_POST(self) -> None:
                form = self.rfile.read(int(self.headers["Content-Length"])).decode()
                assert all(len(values) == 1 for values in parse_qs(form).values())
                answer = issuer.ask_for_device if self.path.endswith("/device") else issuer.token
                self._answer(*answer(dict(parse_qsl(form))))

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

            def _answer(self, status: int, body: dict[str, Any]) -> None:
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        return Handler


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    running = Issuer()
    thread = threading.Thread(target=running.server.serve_forever)
    thread.start()
    yield running
    running.server.shutdown()
    thread.join()
    running.server.server_close()


@pytest.fixture
def nobody(issuer: Issuer, tmp_path: Path) -> Profile:
    return profile.local(tmp_path, 8400).model_copy(update={"issuer": issuer.issuer})


async def sign_in(issuer: Issuer, nobody: Profile, **changes: str | None) -> Profile:
    """Sign in, with a browser that comes back with the issuer's answer, changed."""
    visits: list[asyncio.Task[None]] = []

    async def visit(address: str) -> None:
        redirect_uri, answer = issuer.authorize(address)
        changed = {**answer, **changes}
        query = urlencode({name: value for name, value in changed.items() if value is not None})
        async with httpx.AsyncClient(trust_env=False) as browser:
            await browser.get(f"{redirect_uri}?{query}")

    try:
        return await oauth.sign_in(nobody, lambda address: visits.append(asyncio.create_task(visit(address))))
    finally:
        await asyncio.gather(*visits)


async def test_signing_in(issuer: Issuer, nobody: Profile) -> None:
    signed_in = await sign_in(issuer, nobody)
    assert (signed_in.access_token, signed_in.refresh_token) == ("access-1", "refresh-1")
    assert signed_in.signed_in
    assert not nobody.signed_in


async def sign_in_elsewhere(nobody: Profile) -> tuple[Profile, list[oauth.DeviceCode], list[float]]:
    """Sign in with a code; answers what was shown and how long was waited, too."""
    shown: list[oauth.DeviceCode] = []
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    return await oauth.sign_in_elsewhere(nobody, shown.append, wait=wait), shown, waits


async def test_signing_in_with_a_code(issuer: Issuer, nobody: Profile) -> None:
    pending, slower = (400, {"error": "authorization_pending"}), (400, {"error": "slow_down"})
    issuer.device_answers = [pending, slower, pending, slower, pending]
    signed_in, shown, waits = await sign_in_elsewhere(nobody)
    assert (signed_in.access_token, signed_in.refresh_token) == ("access-1", "refresh-1")
    page = f"{issuer.issuer}/device"
    assert shown == [oauth.DeviceCode("WDJB-MJHT", page, f"{page}?user_code=WDJB-MJHT")]
    assert waits == [5, 5, 10, 10, 15, 15]


@pytest.mark.parametrize("code", ["access_denied", "expired_token", "invalid_grant"])
async def test_what_ends_the_waiting_for_a_code(issuer: Issuer, nobody: Profile, code: str) -> None:
    issuer.device_answers = [(400, {"error": "authorization_pending"}), (400, {"error": code})]
    with pytest.raises(Refusal) as refused:
        await sign_in_elsewhere(nobody)
    assert refused.value.code == code
    assert issuer.issued == 0


async def test_a_code_is_not_waited_for_for_ever(issuer: Issuer, nobody: Profile) -> None:
    issuer.device_answers = [(400, {"error": "authorization_pending"})] * 1000
    with pytest.raises(Refusal) as refused:
        await sign_in_elsewhere(nobody)
    assert refused.value.code == "expired_token"
    assert len(issuer.device_answers) == 1000 - 600 // 5


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"error": "unauthorized_client"}, "unauthorized_client"),
        ({"user_code": "x\x1b[2J"}, "bad_answer"),
        ({"user_code": ""}, "bad_answer"),
        ({"verification_uri": 7}, "bad_answer"),
        ({"device_code": None}, "bad_answer"),
        ({"expires_in": "600"}, "bad_answer"),
    ],
)
async def test_answers_that_no_code_is_shown_for(
    issuer: Issuer, nobody: Profile, changes: dict[str, Any], code: str
) -> None:
    issuer.device.update(changes)
    with pytest.raises(Refusal) as refused:
        await sign_in_elsewhere(nobody)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"iss": "http://127.0.0.1:1/id"}, "wrong_issuer"),
        ({"iss": None}, "wrong_issuer"),
        ({"code": None, "error": "access_denied"}, "access_denied"),
        ({"code": None, "error": "x\x1b[2J"}, "refused"),
    ],
)
async def test_answers_that_sign_nobody_in(
    issuer: Issuer, nobody: Profile, changes: dict[str, str | None], code: str
) -> None:
    with pytest.raises(Refusal) as refused:
        await sign_in(issuer, nobody, **changes)
    assert (refused.value.kind, refused.value.code) == (Kind.UNAUTHENTICATED, code)
    assert refused.value.message.isprintable()
    assert issuer.issued == 0


async def test_metadata_of_another_issuer(issuer: Issuer, nobody: Profile) -> None:
    issuer.claims_to_be = "https://id.example"
    with pytest.raises(Refusal) as refused:
        await sign_in(issuer, nobody)
    assert refused.value.code == "wrong_issuer"


async def test_an_issuer_that_is_away(nobody: Profile) -> None:
    away = nobody.model_copy(update={"issuer": "http://127.0.0.1:1/id", "refresh_token": "r"})
    with pytest.raises(Unavailable):
        await oauth.refresh(away)


async def test_a_sign_in_that_has_ended(issuer: Issuer, nobody: Profile) -> None:
    signed_in = await sign_in(issuer, nobody)
    issuer.ended = True
    with pytest.raises(Refusal) as refused:
        await oauth.refresh(signed_in)
    assert refused.value.code == "sign_in_again"


async def test_commands_at_once_use_a_refresh_token_once(issuer: Issuer, nobody: Profile, tmp_path: Path) -> None:
    path = tmp_path / "profile.toml"
    signed_in = await sign_in(issuer, nobody)
    profile.write(path, signed_in.model_copy(update={"expires_at": 0}))
    commands = [Connection(path) for _ in range(5)]
    tokens = await asyncio.gather(*(command._token() for command in commands))
    assert tokens == ["access-2"] * 5
    assert issuer.issued == 2
    assert not issuer.ended
    assert profile.read(path).refresh_token == "refresh-2"
