"""Client certificates (RFC 8705): how a proxy passes one on, who is believed, and which token goes with which."""

from base64 import b64encode
from urllib.parse import quote

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from stagedoor import Allowed, Certificate, ClientCertificates, Denied, Proof, Reason
from stagedoor.asgi import GuardMiddleware
from stagedoor.certificate import LONGEST, from_field
from stagedoor.dpop import NOT_PRESENTED
from stagedoor.verdict import Verdict
from tests.support.client_certificates import certificate, der, field_of, thumbprint
from tests.support.sdk_tokens import SigningKey, claims, guard

OWN, OTHER = certificate("own"), certificate("other")
SHOWN = Certificate(der(OWN))
PEM = OWN.public_bytes(Encoding.PEM).decode()


@pytest.mark.parametrize(
    "text",
    [
        field_of(OWN),
        quote(PEM, safe=""),
        quote(PEM.rstrip("\n"), safe=""),
        quote(PEM, safe="/+="),
        quote(PEM.replace("\n", "\r\n"), safe=""),
    ],
)
def test_a_proxy_writes_it_in_one_of_two_ways(text: str) -> None:
    assert from_field(text) == SHOWN


@pytest.mark.parametrize("text", ["", "::"])
def test_a_proxy_says_that_there_is_none(text: str) -> None:
    assert from_field(text) is None


@pytest.mark.parametrize(
    "text",
    [
        ":",
        ":::",
        field_of(OWN)[1:],
        field_of(OWN)[:-1],
        f"{field_of(OWN)}, {field_of(OTHER)}",
        f"{field_of(OWN)};a=1",
        f" {field_of(OWN)}",
        f":{b64encode(der(OWN)).decode()[:-4]}=AAA:",
        ":not base64:",
        ":" + "A" * LONGEST + ":",
        PEM.replace("\n", "\t"),
        quote(PEM + PEM, safe=""),
        quote(PEM, safe="") + "," + quote(PEM, safe=""),
        quote("x" + PEM, safe=""),
        quote("-----BEGIN CERTIFICATE-----\n\n-----END CERTIFICATE-----\n", safe=""),
        'Hash=abc;Cert="x"',
        "é",
        b64encode(der(OWN)).decode(),
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a client certificate"):
        from_field(text)


def test_who_is_believed() -> None:
    here = [(b"client-cert", field_of(OWN).encode())]
    believed = ClientCertificates("Client-Cert")
    for peer in ("127.0.0.1", "127.1.2.3", "::1"):
        assert believed.of(here, peer) == SHOWN
    for peer in ("10.0.0.1", "", "unix", "::ffff:10.0.0.1", "localhost"):
        assert believed.of(here, peer) is None
    assert believed.of([], "127.0.0.1") is None
    assert believed.of([(b"x-client-cert", field_of(OWN).encode())], "127.0.0.1") is None
    elsewhere = ClientCertificates("x-cert", proxies=("10.0.0.0/8",))
    assert elsewhere.of([(b"x-cert", field_of(OWN).encode())], "10.0.0.1") == SHOWN
    assert elsewhere.of([(b"x-cert", field_of(OWN).encode())], "127.0.0.1") is None
    assert elsewhere.of(here, "10.0.0.1") is None


def test_of_two_fields_one_is_the_clients() -> None:
    twice = [(b"client-cert", field_of(OWN).encode()), (b"client-cert", b"::")]
    for fields in (twice, twice[::-1], [twice[0], twice[0]]):
        with pytest.raises(ValueError, match="more than one"):
            ClientCertificates().of(fields, "127.0.0.1")
        assert ClientCertificates().of(fields, "10.0.0.1") is None


KEY = SigningKey()
BOUND = {"x5t#S256": thumbprint(OWN)}


def verdict(cnf: object, proof: Proof | Certificate | None) -> Verdict:
    return guard(KEY).check(KEY.sign(claims(cnf=cnf)), proof=proof)


def test_a_bound_token_goes_with_its_certificate() -> None:
    assert isinstance(verdict(BOUND, SHOWN), Allowed)
    assert isinstance(verdict(BOUND, NOT_PRESENTED), Allowed)


@pytest.mark.parametrize(
    ("cnf", "proof", "reason"),
    [
        (BOUND, None, Reason.PROOF_REQUIRED),
        (BOUND, Certificate(der(OTHER)), Reason.PROOF_MISMATCH),
        (BOUND, Certificate(b""), Reason.PROOF_MISMATCH),
        (BOUND, Proof("GET", "https://api.example.com", "x"), Reason.PROOF_REQUIRED),
        ({"jkt": thumbprint(OWN)}, SHOWN, Reason.PROOF_REQUIRED),
        ({**BOUND, "jkt": "x"}, SHOWN, Reason.PROOF_REQUIRED),
        ({"x5t#s256": thumbprint(OWN)}, SHOWN, Reason.PROOF_REQUIRED),
        ({"x5t": thumbprint(OWN)}, SHOWN, Reason.PROOF_REQUIRED),
        ({"x5t#S256": 7}, SHOWN, Reason.PROOF_REQUIRED),
        ({"x5t#S256": [thumbprint(OWN)]}, SHOWN, Reason.PROOF_REQUIRED),
        ({"x5t#S256": thumbprint(OWN) + "="}, SHOWN, Reason.PROOF_MISMATCH),
        ({"x5t#S256": "é"}, SHOWN, Reason.PROOF_MISMATCH),
        ({"x5t#S256": ""}, SHOWN, Reason.PROOF_MISMATCH),
        ({}, SHOWN, Reason.PROOF_REQUIRED),
    ],
)
def test_and_with_nothing_else(cnf: object, proof: Proof | Certificate | None, reason: Reason) -> None:
    found = verdict(cnf, proof)
    assert isinstance(found, Denied)
    assert found.reason is reason


def test_what_is_allowed_with_a_certificate_is_not_remembered_for_those_without() -> None:
    checked, token = guard(KEY), KEY.sign(claims(cnf=BOUND))
    for _ in range(2):
        assert isinstance(checked.check(token, proof=SHOWN), Allowed)
        assert isinstance(checked.check(token), Denied)
        assert isinstance(checked.check(token, proof=Certificate(der(OTHER))), Denied)


def test_a_token_that_is_not_bound_goes_with_any() -> None:
    checked, token = guard(KEY), KEY.sign(claims())
    for proof in (None, SHOWN, Certificate(der(OTHER)), None):
        assert isinstance(checked.check(token, proof=proof), Allowed)


def test_nothing_of_it_is_shown() -> None:
    assert repr(SHOWN) == f"Certificate({thumbprint(OWN)!r})"


METADATA = "https://api.example.com/.well-known/oauth-protected-resource/api"


async def answer(
    believed: ClientCertificates | None, token: str, *fields: tuple[str, str], peer: str = "127.0.0.1"
) -> tuple[int, str | None]:
    """Status and error of a request to an API with this token, over the middleware."""

    async def sold(_: Request) -> Response:
        return JSONResponse({})

    app = GuardMiddleware(
        Starlette(routes=[Route("/sell", sold)]),
        guard(KEY),
        resource_metadata_url=METADATA,
        client_certificates=believed,
    )
    transport = httpx.ASGITransport(app, client=(peer, 1))
    async with httpx.AsyncClient(transport=transport, base_url="https://api.example.com") as client:
        found = await client.get("/sell", headers=[("Authorization", f"Bearer {token}"), *fields])
    return found.status_code, found.json().get("error")


async def test_the_middleware_reads_what_the_proxy_says() -> None:
    bound, plain = KEY.sign(claims(cnf=BOUND)), KEY.sign(claims())
    own, other = ("Client-Cert", field_of(OWN)), ("Client-Cert", field_of(OTHER))
    believed, invalid = ClientCertificates(), (401, "invalid_token")
    assert await answer(believed, bound, own) == (200, None)
    assert await answer(believed, plain, own) == await answer(believed, plain) == (200, None)
    assert await answer(believed, bound) == invalid
    assert await answer(believed, bound, other) == invalid
    assert await answer(believed, bound, ("Client-Cert", "::")) == invalid
    assert await answer(believed, bound, own, peer="10.0.0.1") == invalid, "not the proxy"
    assert await answer(None, bound, own) == invalid, "nobody is believed unless that is said"
    for fields in ((own, other), (other, own), (own, own), (("Client-Cert", "x"),)):
        assert await answer(believed, bound, *fields) == (400, "invalid_request")
        assert await answer(believed, plain, *fields) == (400, "invalid_request")
        assert await answer(None, plain, *fields) == (200, None)
