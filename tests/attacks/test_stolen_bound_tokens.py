"""A token that is bound to a key, in the hands of somebody without the key (RFC 9449 section 7)."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from stagedoor import Allowed, Denied, Guard, Proof
from stagedoor.asgi import GuardMiddleware, require
from stagedoor.feed import Answer
from stagedoor.verdict import Reason
from tests.support.dpop import ProofKey
from tests.support.reference_tokens import Desk
from tests.support.sdk_tokens import HeldOnline, SigningKey, claims, guard

_KEY = SigningKey()
_OWNER = ProofKey(name="owner")
_THIEF = ProofKey(name="thief")
_PUBLIC = "https://api.example.com"
_METADATA = f"{_PUBLIC}/.well-known/oauth-protected-resource/api"
_TOURS = f"{_PUBLIC}/tours"
_BOUND = _KEY.sign(claims(cnf={"jkt": _OWNER.jkt}))
_PLAIN = _KEY.sign(claims())


async def _who(request: Request) -> Response:
    return PlainTextResponse(request.scope["stagedoor"].sub)


@require("sell")
async def _sell(_: Request) -> Response:
    return PlainTextResponse("sold")


_ROUTES = [
    Route("/tours", _who, methods=["GET", "POST"]),
    Route("/tours/{rest:path}", _who),
    Route("/sell", _sell, methods=["POST"]),
]


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """Clients see another address than this server does."""
    app = GuardMiddleware(Starlette(routes=_ROUTES), guard(_KEY), resource_metadata_url=_METADATA)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://10.0.0.7:8000") as made:
        yield made


def shown(token: str, *proofs: str, scheme: str = "DPoP") -> list[tuple[str, str]]:
    return [("Authorization", f"{scheme} {token}"), *(("DPoP", proof) for proof in proofs)]


def challenge(answer: httpx.Response) -> str:
    assert answer.status_code == 401
    return str(answer.headers["www-authenticate"])


async def test_the_owner(client: httpx.AsyncClient) -> None:
    for path in ("/tours", "/tours?page=2", "/tours/%61"):
        proof = _OWNER.proof("GET", f"{_PUBLIC}{path}", _BOUND)
        answer = await client.get(path, headers=shown(_BOUND, proof))
        assert (answer.status_code, answer.text) == (200, "sub-freddie")
    answer = await client.get("/tours", headers=shown(_BOUND, _OWNER.proof("GET", _TOURS, _BOUND), scheme="dpop"))
    assert answer.status_code == 200


async def test_the_token_alone(client: httpx.AsyncClient) -> None:
    answer = await client.get("/tours", headers=shown(_BOUND, scheme="Bearer"))
    assert 'Bearer error="invalid_token"' in challenge(answer)
    assert 'DPoP algs="ES256 RS256 PS256 EdDSA"' in challenge(answer)
    proof = _OWNER.proof("GET", _TOURS, _BOUND)
    assert "invalid_token" in challenge(await client.get("/tours", headers=shown(_BOUND, proof, scheme="Bearer")))
    assert "invalid_dpop_proof" in challenge(await client.get("/tours", headers=shown(_BOUND)))
    assert (await client.get("/tours", headers=shown(_BOUND, proof))).status_code == 200


async def test_a_proof_by_the_thiefs_own_key(client: httpx.AsyncClient) -> None:
    answer = await client.get("/tours", headers=shown(_BOUND, _THIEF.proof("GET", _TOURS, _BOUND)))
    assert 'DPoP error="invalid_token"' in challenge(answer)
    assert f'resource_metadata="{_METADATA}"' in challenge(answer)
    assert 'algs="ES256 RS256 PS256 EdDSA"' in challenge(answer)


@pytest.mark.parametrize(
    ("method", "uri", "token"),
    [
        ("POST", _TOURS, _BOUND),
        ("GET", f"{_PUBLIC}/tours/7", _BOUND),
        ("GET", f"{_PUBLIC}/Tours", _BOUND),
        ("GET", f"{_PUBLIC}/tours/", _BOUND),
        ("GET", f"{_PUBLIC}//tours", _BOUND),
        ("GET", f"{_PUBLIC}/tours/../tours", _BOUND),
        ("GET", f"{_PUBLIC}%2Ftours", _BOUND),
        ("GET", "http://api.example.com/tours", _BOUND),
        ("GET", "https://api.example.com:8443/tours", _BOUND),
        ("GET", "http://10.0.0.7:8000/tours", _BOUND),
        ("GET", "https://mallory.example/tours", _BOUND),
        ("GET", "https://api.example.com@mallory.example/tours", _BOUND),
        ("GET", _TOURS, _PLAIN),
        ("GET", _TOURS, None),
    ],
)
async def test_a_proof_of_the_owners_that_was_for_something_else(
    client: httpx.AsyncClient, method: str, uri: str, token: str | None
) -> None:
    proof = _OWNER.proof(method, uri, token)
    assert "invalid_dpop_proof" in challenge(await client.get("/tours", headers=shown(_BOUND, proof)))


async def test_the_host_is_not_the_clients_to_say(client: httpx.AsyncClient) -> None:
    """A proof for a resource of the thief's, which the owner sent there."""
    proof = _OWNER.proof("GET", "https://mallory.example/tours", _BOUND)
    for name in ("Host", "X-Forwarded-Host", "Forwarded"):
        value = "host=mallory.example;proto=https" if name == "Forwarded" else "mallory.example"
        headers = [*shown(_BOUND, proof), (name, value), ("X-Forwarded-Proto", "https")]
        assert "invalid_dpop_proof" in challenge(await client.get("/tours", headers=headers))


async def test_dot_segments_on_the_way(client: httpx.AsyncClient) -> None:
    """What a proof says, and what this server takes the path for, may differ."""
    for sent in ("/tours/x/%2e%2e/7", "/tours/x/%2E./7", "/tours/%2e/7"):
        for said in (sent, "/tours/7"):
            headers = shown(_BOUND, _OWNER.proof("GET", f"{_PUBLIC}{said}", _BOUND))
            assert "invalid_dpop_proof" in challenge(await client.get(sent, headers=headers))


async def test_a_request_again(client: httpx.AsyncClient) -> None:
    headers = shown(_BOUND, _OWNER.proof("GET", _TOURS, _BOUND))
    assert (await client.get("/tours", headers=headers)).status_code == 200
    for _ in range(3):
        assert "invalid_dpop_proof" in challenge(await client.get("/tours", headers=headers))


async def test_more_than_one_proof(client: httpx.AsyncClient) -> None:
    one, other = (_OWNER.proof("GET", _TOURS, _BOUND) for _ in range(2))
    for proofs in ((one, other), (one, one), (one, ""), ("", one), (f"{one}, {other}",), (f"{one},{other}",)):
        assert "invalid_dpop_proof" in challenge(await client.get("/tours", headers=shown(_BOUND, *proofs)))
    assert (await client.get("/tours", headers=shown(_BOUND, one))).status_code == 200


async def test_a_proof_that_is_too_long(client: httpx.AsyncClient) -> None:
    proof = _OWNER.proof("GET", _TOURS, _BOUND, filling="x" * 8 * 1024)
    assert "invalid_dpop_proof" in challenge(await client.get("/tours", headers=shown(_BOUND, proof)))


async def test_a_token_that_is_not_bound_does_not_become_so(client: httpx.AsyncClient) -> None:
    """Who sees DPoP in a log would take it for bound."""
    answer = await client.get("/tours", headers=shown(_PLAIN, _THIEF.proof("GET", _TOURS, _PLAIN)))
    assert 'DPoP error="invalid_token"' in challenge(answer)
    for headers in (shown(_PLAIN, scheme="Bearer"), shown(_PLAIN, "anything", scheme="Bearer")):
        assert (await client.get("/tours", headers=headers)).status_code == 200


async def test_a_reference_token_with_a_proof() -> None:
    desk = Desk()
    token = desk.issue()
    checked = guard(_KEY, online=desk)
    proof = Proof("GET", _TOURS, _THIEF.proof("GET", _TOURS, token))
    assert isinstance(await checked.validate(token), Allowed)
    assert reason(await checked.validate(token, proof=proof)) is Reason.PROOF_MISMATCH


async def test_a_missing_scope_is_told_of_by_the_same_scheme(client: httpx.AsyncClient) -> None:
    headers = shown(_BOUND, _OWNER.proof("POST", f"{_PUBLIC}/sell", _BOUND))
    answer = await client.post("/sell", headers=headers)
    assert answer.status_code == 403
    assert answer.headers["www-authenticate"].startswith('DPoP error="insufficient_scope"')


def reason(verdict: Any) -> Reason:
    assert isinstance(verdict, Denied)
    return verdict.reason


def proof_of(token: str, **changes: Any) -> Proof:
    return Proof("GET", _TOURS, _OWNER.proof("GET", _TOURS, token, **changes))


def test_the_short_way_does_not_forget_the_key() -> None:
    """What was allowed with a proof a moment ago is not allowed without one."""
    checked = guard(_KEY)
    for _ in range(3):
        assert isinstance(checked.check(_BOUND, proof=proof_of(_BOUND)), Allowed)
        assert reason(checked.check(_BOUND)) is Reason.PROOF_REQUIRED
    assert isinstance(checked.check(_PLAIN), Allowed)
    assert reason(checked.check(_PLAIN, proof=proof_of(_PLAIN))) is Reason.PROOF_MISMATCH


@pytest.mark.parametrize(
    "cnf",
    [
        {},
        {"jkt": ""},
        {"jkt": 7},
        {"jkt": None},
        {"jkt": [_OWNER.jkt]},
        {"jwk": _OWNER.jwk},
        {"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"},
        {"jkt": _OWNER.jkt, "x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"},
        {"jkt": _OWNER.jkt.lower()},
        {"jkt": "é" * 43},
    ],
)
def test_a_binding_that_is_not_understood_is_not_met(cnf: dict[str, Any]) -> None:
    token = _KEY.sign(claims(cnf=cnf))
    checked = guard(_KEY)
    assert reason(checked.check(token)) is Reason.PROOF_REQUIRED
    assert isinstance(checked.check(token, proof=proof_of(token)), Denied)


def test_a_proof_is_not_used_up_by_what_was_refused() -> None:
    checked = guard(_KEY)
    proof = proof_of(_BOUND)
    assert reason(checked.check(_BOUND, scopes=["sec"], proof=proof)) is Reason.INSUFFICIENT_SCOPE
    assert reason(checked.check(_BOUND, min_position=5000, proof=proof)) is Reason.AHEAD_OF_VIEW
    assert isinstance(checked.check(_BOUND, proof=proof), Allowed)
    assert reason(checked.check(_BOUND, proof=proof)) is Reason.INVALID_PROOF


async def test_nobody_is_asked_about_a_proof_that_is_wrong_or_was_used() -> None:
    online = HeldOnline(Answer(allowed=True, reason="", position=1))
    checked: Guard = guard(_KEY, online=online, max_staleness=-1.0)
    stale = proof_of(_BOUND)
    assert isinstance(await checked.validate(_BOUND, proof=stale), Allowed)
    assert len(online.asked) == 1
    for wrong in (stale, proof_of(_BOUND, htm="POST"), Proof("GET", _TOURS, _THIEF.proof("GET", _TOURS, _BOUND))):
        assert isinstance(await checked.validate(_BOUND, proof=wrong), Denied)
    assert reason(await checked.validate(_BOUND)) is Reason.PROOF_REQUIRED
    assert len(online.asked) == 1


async def test_what_cannot_be_remembered_is_not_accepted() -> None:
    checked = guard(_KEY, online=HeldOnline(Answer(allowed=True, reason="", position=1)))
    checked._proofs._used._most = 1
    assert isinstance(await checked.validate(_BOUND, proof=proof_of(_BOUND)), Allowed)
    refused = await checked.validate(_BOUND, proof=proof_of(_BOUND))
    assert reason(refused) is Reason.TOO_MANY_PROOFS
    assert isinstance(refused, Denied)
    assert refused.temporary


@pytest.mark.parametrize("public", ["https://api.example.com/behind", "https://api.example.com/behind/"])
async def test_what_a_proxy_takes_off_the_path_belongs_to_the_address(public: str) -> None:
    app = GuardMiddleware(Starlette(routes=_ROUTES), guard(_KEY), resource_metadata_url=_METADATA, public_url=public)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
        proof = _OWNER.proof("GET", "https://api.example.com/behind/tours", _BOUND)
        assert (await client.get("/tours", headers=shown(_BOUND, proof))).status_code == 200
        proof = _OWNER.proof("GET", _TOURS, _BOUND)
        assert "invalid_dpop_proof" in challenge(await client.get("/tours", headers=shown(_BOUND, proof)))
