"""Somebody tells BackstageHub that Freddie has logged out, who is not Stagedoor or has no right to.

Back-Channel Logout 1.0 section 2.6: its address is public, so a forged token that is believed signs people out, and one
that can be replayed does it again and again.
"""

import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from backstagehub.app import application
from backstagehub.logout import Ended, LogoutTokens
from backstagehub.refusals import AccessRefused
from backstagehub.sessions import Sessions, SignedIn
from backstagehub.settings import Settings
from stagedoor.keys import Algorithm
from tests.support.sdk_tokens import ISSUER, SigningKey, b64

HUB = "com.backstagehub/app"
EVENT = "http://schemas.openid.net/event/backchannel-logout"


class Stagedoor:
    """Its keys, and how often they were fetched."""

    def __init__(self, *keys: SigningKey) -> None:
        self.keys = list(keys)
        self.fetched = 0

    async def jwks(self) -> Any:
        self.fetched += 1
        return {"keys": [key.jwk for key in self.keys]}


class Clock:
    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stagedoor(rsa_key: SigningKey, key: SigningKey) -> Stagedoor:
    return Stagedoor(key, rsa_key)


@pytest.fixture
def hub(stagedoor: Stagedoor, clock: Clock) -> LogoutTokens:
    return LogoutTokens(ISSUER, HUB, stagedoor.jwks, clock)


def claims(**changes: Any) -> dict[str, Any]:
    """A good logout token's; a change to None leaves the claim out."""
    now = int(time.time())
    full = {"iss": ISSUER, "sub": "freddie", "sid": "sid-1", "aud": HUB, "iat": now, "exp": now + 120, "jti": "jti-1"}
    full |= {"events": {EVENT: {}}, **changes}
    return {name: value for name, value in full.items() if value is not None}


def logout_token(key: SigningKey, typ: str | None = "logout+jwt", **changes: Any) -> str:
    return key.sign(claims(**changes), {"typ": typ})


async def refused(hub: LogoutTokens, token: str) -> None:
    with pytest.raises(AccessRefused) as refusal:
        await hub.verify(token)
    assert refusal.value.code == "invalid_request"


async def test_a_good_one_is_believed(hub: LogoutTokens, rsa_key: SigningKey) -> None:
    assert await hub.verify(logout_token(rsa_key)) == Ended("freddie", "sid-1")
    assert await hub.verify(logout_token(rsa_key, aud=[HUB], jti="2", sid=None)) == Ended("freddie", None)
    assert await hub.verify(logout_token(rsa_key, jti="3", sub=None)) == Ended(None, "sid-1")


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example/id"},
        {"iss": None},
        {"aud": "com.setlist/app"},
        {"aud": ["com.setlist/app", HUB]},
        {"aud": None},
        {"iat": None},
        {"iat": "now"},
        {"iat": True},
        {"iat": int(time.time()) - 3600},
        {"iat": int(time.time()) + 1_000_000},
        {"exp": None},
        {"exp": int(time.time()) - 3600},
        {"jti": None},
        {"jti": 7},
        {"jti": ""},
        {"sub": None, "sid": None},
        {"sub": 7},
        {"sid": ["sid-1"]},
        {"events": None},
        {"events": {}},
        {"events": [EVENT]},
        {"events": {EVENT: True}},
        {"events": {"http://schemas.openid.net/event/other": {}}},
        {"nonce": "n-0S6"},
    ],
    ids=" ".join,
)
async def test_one_that_says_something_else(hub: LogoutTokens, rsa_key: SigningKey, changes: dict[str, Any]) -> None:
    await refused(hub, logout_token(rsa_key, **changes))


@pytest.mark.parametrize("typ", ["JWT", "at+jwt", "LOGOUT+JWT", "logout+jwt ", None, 1])
async def test_another_token_of_stagedoor(hub: LogoutTokens, rsa_key: SigningKey, typ: Any) -> None:
    """An ID token, an access token: whoever was given one could sign its user out."""
    await refused(hub, logout_token(rsa_key, typ))


async def test_one_that_is_signed_by_somebody_else(hub: LogoutTokens, key: SigningKey, rsa_key: SigningKey) -> None:
    await refused(hub, logout_token(SigningKey("key-rsa", Algorithm.RS256)))
    await refused(hub, logout_token(SigningKey("unknown", Algorithm.RS256)))
    await refused(hub, logout_token(key))  # the key of access tokens, ES256
    header = {"alg": "none", "typ": "logout+jwt"}
    for signature in ("", "AAAA"):
        body = b64(json.dumps(claims()).encode())
        await refused(hub, f"{b64(json.dumps(header).encode())}.{body}.{signature}")
    await refused(hub, rsa_key.sign(claims(), {"typ": "logout+jwt", "alg": "HS256"}))
    good = logout_token(rsa_key)
    await refused(hub, good[:-4] + ("AAAA" if not good.endswith("AAAA") else "BBBB"))
    for rubbish in ("", "x", "a.b.c", "é.é.é", "." * 5, good + ".x", good.partition(".")[2]):
        await refused(hub, rubbish)


async def test_one_that_was_here_before(hub: LogoutTokens, rsa_key: SigningKey, clock: Clock) -> None:
    token = logout_token(rsa_key)
    await hub.verify(token)
    for ahead in (0.0, 119.0, 300.0, 3600.0):
        clock.ahead = ahead
        await refused(hub, token)


async def test_unknown_keys_are_not_looked_up_as_often_as_a_stranger_likes(
    hub: LogoutTokens, stagedoor: Stagedoor, rsa_key: SigningKey, clock: Clock
) -> None:
    forged = logout_token(SigningKey("unknown", Algorithm.RS256))
    for _ in range(50):
        await refused(hub, forged)
    assert stagedoor.fetched == 1
    successor = SigningKey("key-next", Algorithm.RS256)
    stagedoor.keys = [successor]
    clock.ahead = 11.0
    assert await hub.verify(logout_token(successor)) == Ended("freddie", "sid-1")
    assert stagedoor.fetched == 2


async def test_only_the_session_that_ended_ends() -> None:
    sessions = Sessions()

    def begun(sub: str, sid: str) -> str:
        return sessions.begin(SignedIn(sub=sub, sid=sid, name="", tokens={}))

    one, two, fan = begun("freddie", "s1"), begun("freddie", "s2"), begun("fan", "s3")
    assert sessions.end_those_of("fan", "s1") == 0, "a sid of somebody else's"
    assert sessions.end_those_of("freddie", "s1") == 1
    assert sessions.find(one) is None
    assert sessions.find(two) is not None
    assert sessions.end_those_of("freddie", None) == 1
    assert sessions.find(two) is None
    assert sessions.find(fan) is not None


@pytest.fixture
async def address(monkeypatch: pytest.MonkeyPatch, stagedoor: Stagedoor) -> AsyncIterator[Callable[..., Any]]:
    """Where BackstageHub is told of logouts."""
    monkeypatch.setattr("backstagehub.sign_in.SignIn.keys", lambda _: stagedoor.jwks())
    settings = Settings(ISSUER, "https://api.example.com", HUB, "secret", "127.0.0.1:0", "http://localhost:8480")
    transport = httpx.ASGITransport(application(settings))
    async with httpx.AsyncClient(transport=transport, base_url=settings.origin) as client:
        yield lambda **form: client.post("/backchannel-logout", data=form)


async def test_what_is_answered(address: Callable[..., Any], rsa_key: SigningKey) -> None:
    told = await address(logout_token=logout_token(rsa_key))
    assert (told.status_code, told.content) == (200, b"")
    assert told.headers["cache-control"] == "no-store"
    assert "set-cookie" not in told.headers
    for form in ({}, {"logout_token": ""}, {"logout_token": "<script>"}, {"id_token": logout_token(rsa_key, jti="2")}):
        answer = await address(**form)
        assert answer.status_code == 400
        assert answer.json()["error"] == "invalid_request"
        assert "<" not in answer.text
        assert answer.headers["cache-control"] == "no-store"
    assert (await address(logout_token="x" * 10_000)).status_code == 413
