"""Every public endpoint is asked for whatever comes to mind, well-formed and not, and has to stay itself.

However a request looks: no 5xx, no trace of the inside, nothing of what was sent read back as markup or as a header,
only error codes that the specifications have, no redirect but to where one may lead, and the headers that belong to
every answer.

    STAGEDOOR_FUZZ_EXAMPLES=5000 STAGEDOOR_FUZZ_SEED=7 pytest tests/properties/test_public_endpoints.py

asks more, and other things with another seed.
"""

import json
import os
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, quote, quote_plus, urlsplit

import httpx
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from infra.local.ports import Ports
from infra.local.sign_in import CodeFlow, Visitor
from infra.local.system import System
from shared.http.forms import FORM_BYTES
from tests.support.dpop import ProofKey
from tests.support.system import running_system

EXAMPLES: Final = int(os.environ.get("STAGEDOOR_FUZZ_EXAMPLES", "40"))
SEED: Final = os.environ.get("STAGEDOOR_FUZZ_SEED")
HUB: Final = "com.backstagehub/app"
FREDDIE: Final = ("freddie", "a-kind-of-magic-1986")
BRIAN: Final = ("brian", "red-special-1963")
MARKUP: Final = "\"'><zq onload=x>"
"""What must not come back as it is."""
INSIDE: Final = re.compile(
    r"(?<![\w-])(?:Traceback|\w+\.py|asyncpg|psycopg|(?-i:SELECT )|starlette|uvicorn|grpc|pydantic)(?![\w-])",
    re.IGNORECASE,
)
"""As words of their own: what is random may have four given letters."""

pytestmark = pytest.mark.timeout(300 if SEED is None else 24 * 3600)

TOKEN_ERRORS: Final = {
    *("invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type"),
    *("invalid_scope", "invalid_target", "unsupported_token_type", "request_too_large", "method_not_allowed"),
    "invalid_dpop_proof",
}
"""RFC 6749 section 5.2, RFC 8707 section 2, RFC 9449 section 5, RFC 7009 section 2.2.1, and what HTTP has to say."""
DEVICE_ERRORS: Final = {"authorization_pending", "slow_down", "access_denied", "expired_token"}
"""RFC 8628 section 3.5."""
REDIRECTED_ERRORS: Final = {
    *("invalid_request", "unauthorized_client", "access_denied", "unsupported_response_type", "invalid_scope"),
    *("server_error", "temporarily_unavailable", "login_required", "consent_required", "interaction_required"),
    *("account_selection_required", "request_not_supported", "request_uri_not_supported", "invalid_request_uri"),
    *("invalid_request_object", "registration_not_supported", "invalid_target", "unmet_authentication_requirements"),
}
"""RFC 6749 section 4.1.2.1, OpenID Connect Core section 3.1.2.6 and its unmet_authentication_requirements, RFC 8707
section 2."""
REGISTRATION_ERRORS: Final = {
    *("invalid_client_metadata", "invalid_redirect_uri", "invalid_software_statement", "unapproved_software_statement"),
    *("invalid_request", "invalid_token", "unauthorized", "unsupported_media_type"),
    *("method_not_allowed", "request_too_large"),
}
"""RFC 7591 section 3.2.2, RFC 6750 section 3.1, and what HTTP itself has to say."""
METADATA_ERRORS: Final = {"invalid_request", "method_not_allowed", "request_too_large"}
BEARER_ERRORS: Final = {
    *("invalid_request", "invalid_token", "insufficient_scope", "unauthorized", "invalid_dpop_proof"),
    "request_too_large",
}
"""RFC 6750 section 3.1, RFC 9449 section 7.1, and what HTTP has to say; nothing is said to who shows no token."""


@dataclass(frozen=True)
class Kind:
    """An endpoint, and what is known to be of interest there."""

    path: str
    names: tuple[str, ...]
    errors: frozenset[str] | None = None
    """The codes that its JSON may have; None: it answers with pages."""
    methods: tuple[str, ...] = ("GET", "POST")


AUTHORIZE: Final = (
    *("response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge"),
    *("code_challenge_method", "prompt", "max_age", "login_hint", "id_token_hint", "ui_locales", "response_mode"),
    *("display", "acr_values", "claims", "request", "request_uri", "resource", "dpop_jkt"),
)
REGISTRATION: Final = (
    *("redirect_uris", "token_endpoint_auth_method", "grant_types", "response_types", "client_name", "logo_uri"),
    *("scope", "contacts", "jwks", "jwks_uri", "software_statement", "application_type", "client_id", "client_secret"),
    *("backchannel_logout_uri", "id_token_signed_response_alg", "userinfo_signed_response_alg"),
)
TOKEN: Final = ("grant_type", "code", "redirect_uri", "code_verifier", "refresh_token", "scope", "resource")
EXCHANGE: Final = (
    *("subject_token", "subject_token_type", "requested_token_type", "actor_token", "actor_token_type", "audience"),
)
CLIENT: Final = ("client_id", "client_secret", "client_assertion", "client_assertion_type")
PAGE: Final = ("request", "form", "then", "user_name", "password", "decision", "action", "id", "scope")
KINDS: Final = (
    Kind("/id/connect/authorize", AUTHORIZE),
    Kind(
        "/id/connect/token",
        (*TOKEN, *EXCHANGE, "device_code", *CLIENT),
        frozenset(TOKEN_ERRORS | DEVICE_ERRORS),
        ("POST", "POST", "POST", "GET", "OPTIONS", "PUT"),
    ),
    Kind("/id/connect/introspect", ("token", "token_type_hint", *CLIENT), frozenset(TOKEN_ERRORS), ("POST", "GET")),
    Kind(
        "/id/connect/revocation",
        ("token", "token_type_hint", *CLIENT),
        frozenset(TOKEN_ERRORS),
        ("POST", "POST", "GET", "OPTIONS"),
    ),
    Kind(
        "/id/connect/par",
        (*AUTHORIZE, *CLIENT),
        frozenset(TOKEN_ERRORS | REDIRECTED_ERRORS | {"invalid_redirect_uri"}),
        ("POST", "POST", "GET", "OPTIONS"),
    ),
    Kind("/id/connect/register", REGISTRATION, frozenset(REGISTRATION_ERRORS), ("POST", "POST", "POST", "GET")),
    Kind(
        "/id/connect/register/{text}",
        REGISTRATION,
        frozenset(REGISTRATION_ERRORS | {"not_found"}),
        ("GET", "PUT", "PUT", "DELETE", "POST"),
    ),
    Kind(
        "/id/connect/device",
        ("scope", "resource", *CLIENT),
        frozenset(TOKEN_ERRORS),
        ("POST", "POST", "GET", "OPTIONS"),
    ),
    Kind("/id/connect/userinfo", ("access_token",), frozenset(BEARER_ERRORS), ("GET", "POST", "HEAD", "OPTIONS")),
    Kind("/id/connect/endsession", ("id_token_hint", "client_id", "post_logout_redirect_uri", "state", "logout_hint")),
    Kind("/id/signin", PAGE),
    Kind("/id/signin/choose", PAGE),
    Kind("/id/consent", PAGE),
    Kind("/id/device", ("user_code", "form", "request")),
    Kind("/id/device/done", ("outcome",)),
    Kind("/id/signedout", ("state", "client_id", "request")),
    Kind("/id/account", PAGE),
    Kind("/id/account/password", ("form", "current", "new", "again")),
    Kind("/id/account/tokens/new", ("form", "client_id", "name", "scope", "days")),
    Kind("/id/account/tokens/revoke", ("form", "token_id", "jti")),
    Kind("/id/account/sessions/end", ("form", "sid")),
    Kind("/id/account/applications/stop", ("form", "client_id")),
    Kind("/id/signin/second-factor", (*PAGE, "by", "code", "begun", "answer")),
    Kind("/id/signin/step-up", (*PAGE, "by", "code", "begun", "answer")),
    Kind("/id/account/second-factor", PAGE),
    Kind("/id/account/second-factor/begin", ("form", "password")),
    Kind("/id/account/second-factor/add", ("form", "begun", "code")),
    Kind("/id/account/second-factor/remove", ("form", "password", "code")),
    Kind("/id/account/second-factor/recovery-codes", ("form", "password", "code")),
    Kind("/id/signin/passkey", (*PAGE, "begun", "answer")),
    Kind("/id/account/passkeys", PAGE),
    Kind("/id/account/passkeys/begin", ("form", "name")),
    Kind("/id/account/passkeys/add", ("form", "begun", "answer")),
    Kind("/id/account/passkeys/remove", ("form", "passkey")),
    Kind("/id/account/passkeys/recovery-codes", ("form",)),
    Kind("/id/account/signout", ("form", "request")),
    Kind("/id/install", ("document", "digest", "once", "form", "decision")),
    Kind("/id/install/done", ("installed",)),
    Kind("/id/uninstall", ("client_id", "once", "form", "decision")),
    Kind("/id/static/{text}", ("v",)),
    Kind("/id/.well-known/openid-configuration", ("x",), frozenset(METADATA_ERRORS)),
    Kind("/.well-known/oauth-authorization-server/id", ("x",), frozenset(METADATA_ERRORS)),
    Kind("/id/connect/jwks", ("x",), frozenset(METADATA_ERRORS)),
    Kind(
        "/api/tours",
        ("after", "limit", "access_token"),
        frozenset(BEARER_ERRORS | {"method_not_allowed", "unsupported_media_type", "invalid_tour", "not_found"}),
        ("GET", "POST", "PUT", "DELETE", "HEAD"),
    ),
    Kind(
        "/api/tours/{text}",
        ("access_token",),
        frozenset(BEARER_ERRORS | {"method_not_allowed", "unsupported_media_type", "invalid_tour", "not_found"}),
        ("GET", "PUT", "DELETE"),
    ),
    Kind(
        "/api/merchandise",
        ("after", "limit"),
        frozenset(BEARER_ERRORS | {"method_not_allowed", "unsupported_media_type", "invalid_merchandise", "not_found"}),
    ),
    Kind("/.well-known/oauth-protected-resource/api", ("x",), frozenset(METADATA_ERRORS)),
    Kind("/.well-known/oauth-protected-resource/id/connect/userinfo", ("x",), frozenset(METADATA_ERRORS)),
    Kind("/console/callback", ("state", "code", "iss", "error", "error_description")),
    Kind("/console/applications/show", ("id", "done")),
    Kind("/console/users/find", ("form", "once", "user_name")),
    Kind("/console/log", ("types", "client_ids", "subs", "jtis", "since", "before", "until")),
    Kind("/console/log/explain", ("jti", "position", "time")),
    Kind("/{text}", ("x",)),
)


@dataclass(frozen=True)
class Outside:
    """A running system, and what is true there and makes a request go further than the first check."""

    system: System
    http: httpx.Client
    truths: tuple[str, ...]
    bearer: str
    basic: str
    initial: str
    """The demo's initial access token."""
    cookies: dict[str, str]
    landing: tuple[str, ...]
    """Where a redirect may lead."""
    proofs: tuple[str, ...]
    """DPoP proofs that are right in all but one thing."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def running() -> AsyncIterator[System]:
    """A system whose limits do not end what is asked here after a hundred requests."""
    generous = {
        f"STAGEDOOR_{name}": "100000000"
        for name in ("CLIENT_FAILURES", "CLIENT_ADDRESS_FAILURES", "SIGN_IN_FAILURES", "ADDRESS_FAILURES")
    }
    async with running_system(settings=generous, console=True) as system:
        yield system


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def outside(running: System) -> AsyncIterator[Outside]:
    ports, demo = running.ports, running.demo
    hub = next(one for one in demo["applications"] if one["client_id"] == HUB)
    flow = CodeFlow(ports.issuer, HUB, hub["redirect_uris"][0], "openid profile offline_access read update")
    async with Visitor(*FREDDIE) as freddie:
        code = flow.code(await freddie.go(flow.address))
        tokens = await flow.redeem(code, client_secret=hub["client_secret"])
        cookies = {cookie.name: cookie.value or "" for cookie in freddie.browser.cookies.jar}
        unused = CodeFlow(ports.issuer, HUB, hub["redirect_uris"][0], "openid read")
        waiting = unused.code(await freddie.go(unused.address))
        pages = [
            (await freddie.browser.get(f"{ports.issuer}/account{path}")).text for path in ("/password", "/tokens/new")
        ]
    async with Visitor(*BRIAN) as brian:
        console = f"{ports.origin}/console"
        await brian.browser.get(await brian.go(console, until=f"{console}/callback"))
        cookies |= {
            cookie.name: cookie.value or "" for cookie in brian.browser.cookies.jar if cookie.path == "/console"
        }
    async with httpx.AsyncClient(trust_env=False) as television:
        device = (
            await television.post(
                f"{ports.issuer}/connect/device",
                data={"scope": "openid read"},
                auth=httpx.BasicAuth(quote_plus(HUB), hub["client_secret"]),
            )
        ).json()
    forms = {value for page in pages for value in re.findall(r'name="form" value="([^"]+)"', page)}
    truths = (
        *("code", "query", "S256", "none", "login", "consent", "page", "en de", "0", "3600", "-1", "read update"),
        *("openid", "openid profile offline_access read", "authorization_code", "refresh_token", "client_credentials"),
        *(
            f"urn:ietf:params:oauth:{each}"
            for each in ("grant-type:token-exchange", "token-type:access_token", "token-type:jwt")
        ),
        *(HUB, "com.roadie/spa", "com.merchsync/service", hub["client_secret"], *hub["redirect_uris"]),
        *(str(tokens["access_token"]), str(tokens["refresh_token"]), str(tokens["id_token"]), code, waiting),
        *(flow.verifier, "A" * 43, f"{ports.origin}/api", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        *(
            *sorted(forms),
            *(device["device_code"], device["user_code"], "urn:ietf:params:oauth:grant-type:device_code", "allowed"),
            "sign_in",
            "allow",
            "deny",
            "cancel",
            *FREDDIE,
            "access_token",
            "refresh_token",
            *hub["post_logout_redirect_uris"],
            '{"userinfo":{"name":null}}',
            "{}",
        ),
    )
    landing = tuple(
        address for one in demo["applications"] for address in one["redirect_uris"] + one["post_logout_redirect_uris"]
    )
    with httpx.Client(base_url=ports.origin, trust_env=False, timeout=30) as http:
        basic = b64encode(f"{quote_plus(HUB)}:{hub['client_secret']}".encode()).decode()
        landing = (f"{ports.issuer}/", f"{ports.origin}/console", *landing)
        bearer, initial = str(tokens["access_token"]), demo["initial_access_token"]
        yield Outside(running, http, truths, bearer, basic, initial, cookies, landing, _proofs(ports))


def _proofs(ports: Ports) -> tuple[str, ...]:
    key = ProofKey()
    addresses = f"{ports.issuer}/connect/token", f"{ports.issuer}/connect/par", f"{ports.origin}/api/tours"
    wrong: tuple[dict[str, Any], ...] = ({}, {"iat": 1}, {"jti": MARKUP}, {"htu": None}, {"iat": 10**30}, {"ath": ""})
    return tuple(key.proof("POST", address, **changes) for address in addresses for changes in wrong)


HOSTILE: Final = (
    *(
        MARKUP,
        f"javascript:alert(1)//{MARKUP}",
        f"https://evil.example/{MARKUP}",
        "//evil.example",
        "\r\nSet-Cookie: a=b",
    ),
    *(
        "%00",
        "\0",
        "\x7f",
        "' OR 1=1 --",
        "../../etc/passwd",
        "{{7*7}}",
        "${7*7}",
        "%",
        "\ud7ff",
        "\uffff",
        "\U0001d523",
    ),
    *(
        "A" * 3000,
        "9" * 400,
        "[]",
        "null",
        "eyJhbGciOiJub25lIn0.e30.",
        "stagedoor_pat_" + "0" * 49,
        "e\u0301",
        "\u202e",
    ),
)


def _values(truths: tuple[str, ...]) -> st.SearchStrategy[str]:
    text = st.text(st.characters(codec="utf-8"), max_size=40)
    marked = text.map(lambda some: some + MARKUP)
    cut = st.tuples(st.sampled_from(truths), st.integers(0, 200)).map(lambda pair: pair[0][: pair[1]])
    return st.one_of(st.sampled_from(truths), st.sampled_from(truths), st.sampled_from(HOSTILE), marked, text, cut)


@st.composite
def _requests(draw: st.DrawFn, kind: Kind, there: Outside) -> httpx.Request:
    values = _values(there.truths)
    path = kind.path.replace("{text}", quote(draw(values), safe=draw(st.sampled_from(("", "/", "/:@")))))
    method = draw(st.sampled_from(kind.methods))
    names = st.one_of(*[st.sampled_from(kind.names)] * 4, values)
    pairs = draw(st.lists(st.tuples(names, values), max_size=8, unique_by=_most(draw)))
    encoded = "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in pairs).encode()
    if draw(st.integers(0, 7)) == 0:
        encoded = draw(
            st.one_of(st.binary(max_size=200), st.just(encoded[: len(encoded) // 2] + b"%"), st.just(b"a" * 70_000))
        )
    headers = draw(_headers(there, values))
    query, body = b"", b""
    if method in {"GET", "HEAD", "DELETE", "OPTIONS"} or draw(st.integers(0, 9)) == 0:
        query = encoded[:6000]
    else:
        body = encoded
        headers["content-type"] = draw(
            st.sampled_from(
                (*["application/x-www-form-urlencoded"] * 6, "application/json", "multipart/form-data; boundary=x", "x")
            )
        )
        if headers["content-type"] == "application/json":
            body = draw(
                st.one_of(st.just(json.dumps(dict(pairs)).encode()), st.binary(max_size=50), st.just(b"[[" * 400))
            )
    target = f"{there.system.ports.origin}{path}".encode() + (b"?" + _as_a_target(query) if query else b"")
    return there.http.build_request(method, target.decode("ascii"), headers=headers, content=body)


def _most(draw: st.DrawFn) -> Callable[[tuple[str, str]], object]:
    """Mostly each parameter once; sometimes some of them twice."""
    return (lambda pair: pair) if draw(st.integers(0, 5)) == 0 else (lambda pair: pair[0])


def _as_a_target(query: bytes) -> bytes:
    """What a client would still let through: broken escapes stay, other bytes than visible ASCII are escaped."""
    return b"".join(bytes([byte]) if 0x21 <= byte < 0x7F and byte != 0x23 else b"%%%02X" % byte for byte in query)


def _headers(there: Outside, values: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, str]]:
    plain = values.map(lambda text: re.sub(r"[^\x21-\x7e]", "", text)[:4000])
    credential = st.one_of(
        st.just(f"Bearer {there.bearer}"),
        st.just(f"Basic {there.basic}"),
        st.just(f"Bearer {there.initial}"),
        st.just(f"DPoP {there.bearer}"),
        plain.map(lambda text: f"Bearer {text}".strip()),
        plain.map(lambda text: f"DPoP {text}".strip()),
        plain.map(lambda text: f"Basic {text}".strip()),
        plain,
    )
    cookie = st.one_of(
        st.just("; ".join(f"{name}={value}" for name, value in there.cookies.items())),
        plain.map(lambda text: f"stagedoor_session={text}; stagedoor_form={text}"),
    )
    return st.fixed_dictionaries(
        {},
        optional={
            "authorization": credential,
            "cookie": cookie,
            "origin": st.one_of(st.just(there.system.ports.origin), st.just("null"), st.just("https://evil.example")),
            "x-api-key": plain,
            "dpop": st.one_of(st.sampled_from(there.proofs), plain),
            "accept-language": plain,
            "user-agent": plain,
            "correlation-id": plain,
            "idempotency-key": plain,
        },
    ).map(dict)


def _check(kind: Kind, there: Outside, request: httpx.Request, answer: httpx.Response) -> None:
    asked = f"{request.method} {str(request.url)[:500]} {request.content[:300]!r}"
    shown = f"{asked} -> {answer.status_code} {answer.text[:400]}"
    assert answer.status_code < 500, shown
    assert answer.status_code != 429, shown
    assert not INSIDE.search(answer.text), shown
    assert MARKUP not in answer.text, shown
    assert "<zq" not in answer.text, shown
    assert "a=b" not in answer.headers.get_list("set-cookie"), shown
    for header in answer.headers.get_list("set-cookie"):
        assert header.startswith("stagedoor_"), shown
        assert "httponly" in header.lower(), shown
        assert "samesite=lax" in header.lower(), shown
    if answer.has_redirect_location:
        assert answer.status_code == 303, shown
        assert answer.headers["location"].startswith(there.landing), shown
        said_back = parse_qs(urlsplit(answer.headers["location"]).query)
        assert set(said_back.get("error", [])) <= REDIRECTED_ERRORS, shown
    if _answered_by_the_door(answer):
        return
    for name in ("x-content-type-options", "content-security-policy", "referrer-policy", "cache-control"):
        assert name in answer.headers, (name, shown)
    content = answer.headers.get("content-type", "")
    assert not content or content.startswith(("application/json", "text/html", "text/css", "image/svg+xml")), shown
    if answer.is_error and content.startswith("application/json") and answer.content:
        _check_error(kind, answer, shown)


def _check_error(kind: Kind, answer: httpx.Response, shown: str) -> None:
    said: dict[str, Any] = answer.json()
    assert set(said) >= {"error"}, shown
    assert re.fullmatch(r"[a-z_]+", said["error"]), shown
    assert re.fullmatch(r"[\x20-\x21\x23-\x5b\x5d-\x7e]*", said.get("error_description", "")), shown
    if kind.errors is not None:
        assert said["error"] in kind.errors, shown
    if answer.status_code == 401:
        assert answer.headers["www-authenticate"].startswith(("Basic ", "Bearer ", "DPoP ")), shown
    if said["error"] == "invalid_client":
        assert answer.status_code == 401, shown


def _answered_by_the_door(answer: httpx.Response) -> bool:
    """Whether the request went no further than the front door, which says little."""
    return "correlation-id" not in answer.headers and answer.status_code in {400, 404, 413, 414, 421, 431}


def test_nothing_that_is_named_to_applications_is_left_out(outside: Outside) -> None:
    origin, asked = outside.system.ports.origin, {kind.path for kind in KINDS}
    metadata = outside.http.get("/id/.well-known/openid-configuration").json()
    named = {value.removeprefix(origin) for name, value in metadata.items() if name.endswith(("_endpoint", "_uri"))}
    assert len(named) == 10
    assert named <= asked


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.path)
def test_whatever_is_asked_it_stays_itself(outside: Outside, kind: Kind) -> None:
    @_settings
    @given(st.data())
    def ask(data: st.DataObject) -> None:
        request = data.draw(_requests(kind, outside))
        try:
            answer = outside.http.send(request, follow_redirects=False)
        except httpx.RemoteProtocolError:
            # Who sends more than is read is hung up on, perhaps before they have read why.
            assert len(request.content) > FORM_BYTES
        else:
            _check(kind, outside, request, answer)

    ask()


def _settings(test: Callable[..., None]) -> Callable[..., None]:
    chosen = settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=SEED is None,
        database=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )(test)
    return seed(int(SEED))(chosen) if SEED is not None else chosen


@pytest.fixture(autouse=True)
def _nothing_unforeseen(outside: Outside) -> Iterator[None]:
    """What was unforeseen inside is in a service's log, whatever the answer said."""
    yield
    logs = {path.name: path.read_text(errors="replace") for path in outside.system.home.logs.glob("*.log")}
    assert not [name for name, text in logs.items() if "http_failed" in text or "Traceback" in text]
