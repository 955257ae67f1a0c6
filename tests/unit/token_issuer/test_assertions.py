"""Client assertions as they are read, before anything of them is believed."""

import json
from base64 import urlsafe_b64encode
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.registry.events import AuthMethod
from services.token_issuer.assertions.assertion import TYPE, Assertion, read
from services.token_issuer.assertions.jws import MOST_AHEAD, SKEW
from services.token_issuer.assertions.keys import keys_of, usable
from services.token_issuer.clients import presented
from shared.http.forms import single
from tests.unit.token_issuer.world import HUB, ISSUER, NOW

AUDIENCES = frozenset({ISSUER, f"{ISSUER}/connect/token"})


def part(value: Any) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def text(header: dict[str, Any] | None = None, **claims: Any) -> str:
    at = int(NOW.timestamp())
    said = {"iss": HUB, "sub": HUB, "aud": ISSUER, "iat": at, "exp": at + 60, "jti": "1", **claims}
    head = {"alg": "ES256", "kid": "one", **(header or {})}
    return ".".join((part(head), part({n: v for n, v in said.items() if v is not None}), "c2lnbmF0dXJl"))


def with_header(raw: bytes) -> str:
    return ".".join((urlsafe_b64encode(raw).decode().rstrip("="), *text().split(".")[1:]))


def good(**claims: Any) -> Assertion:
    found = read(text(**claims))
    assert found is not None
    return found


def test_what_an_assertion_says() -> None:
    found = good(nbf=int(NOW.timestamp()) + 5)
    assert (found.client_id, found.jws.algorithm, found.jws.kid, found.jws.audiences) == (
        HUB,
        "ES256",
        "one",
        (ISSUER,),
    )
    assert (found.not_before, found.expires_at) == (NOW + timedelta(seconds=5), NOW + timedelta(seconds=60))
    assert not found.proved
    assert not found.spent
    assert "c2lnbm" not in repr(found)


@pytest.mark.parametrize("typ", ["JWT", "jwt", "application/jwt", "client-authentication+jwt"])
def test_types_that_it_may_have(typ: str) -> None:
    assert read(text({"typ": typ})) is not None


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "..",
        "a.b.c",
        text() + ".",
        text()[:-1] + "=",
        text().replace("c2lnbmF0dXJl", ""),
        text() + " ",
        "\u00e9" + text(),
        text({"alg": "HS256"}),
        text({"alg": ["ES256"]}),
        text({"kid": 1}),
        text({"crit": []}),
        text({"typ": "at+jwt"}),
        text({"typ": 7}),
        text(jti="a\0b"),
        text(iss="com.other/app"),
        text(exp=float(2**40)),
        "A" * 9000,
        f"{part('x')}.{part('y')}.AAAA",
        ".".join(
            (urlsafe_b64encode(b'{"alg":"ES256","alg":"none"}').decode().rstrip("="), text().split(".")[1], "AAAA")
        ),
        with_header(b'{"alg":"ES256","alg":"none"}'),
        with_header(b"[" * 3000),
        with_header(b'{"alg": "ES256", "x": "\\ud800"}'),
    ],
)
def test_what_is_none(broken: str) -> None:
    assert read(broken) is None


@given(st.text() | st.lists(st.binary(max_size=60).map(lambda raw: urlsafe_b64encode(raw).decode())).map(".".join))
def test_nothing_breaks_the_reader(anything: str) -> None:
    assert read(anything) is None


def test_it_is_for_us_and_for_now() -> None:
    second = timedelta(seconds=1)
    fine = good()
    assert fine.timely(AUDIENCES, NOW)
    assert fine.timely(AUDIENCES, fine.expires_at + SKEW - second)
    assert not fine.timely(AUDIENCES, fine.expires_at + SKEW)
    assert fine.timely(AUDIENCES, NOW - SKEW)
    assert not fine.timely(AUDIENCES, NOW - SKEW - second)
    assert not good(exp=int((NOW + MOST_AHEAD + SKEW + second).timestamp())).timely(AUDIENCES, NOW)
    assert good(aud=sorted(AUDIENCES)).timely(AUDIENCES, NOW)
    assert not good(aud=[ISSUER, "https://other.example"]).timely(AUDIENCES, NOW)
    assert not good(aud=f"{ISSUER}/connect/token").timely(frozenset({ISSUER}), NOW)
    assert good(iat=None).not_before == datetime.min.replace(tzinfo=UTC)


def test_one_jti_of_one_application_is_one_use() -> None:
    one = good().once
    assert one == good(aud=[ISSUER]).once
    assert one.digest != good(jti="2").once.digest
    assert one.digest != good(iss="com.other/app", sub="com.other/app").once.digest


def test_the_assertion_names_the_client() -> None:
    found = presented([], single([("client_assertion_type", TYPE), ("client_assertion", text())]))
    assert (found.client_id, found.method, found.secret) == (HUB, AuthMethod.PRIVATE_KEY_JWT, "")
    assert "c2lnbm" not in repr(found)


def test_keys_that_serve() -> None:
    point = {
        "kty": "EC",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    }
    found = usable(point)
    assert found is not None
    assert found.algorithms == {"ES256"}
    for wrong in (
        {**point, "alg": "HS256"},
        {**point, "use": "enc"},
        {**point, "kid": 7},
        {**point, "crv": "P-384"},
        {**point, "kty": "oct"},
        {**point, "kty": ["EC"]},
        {**point, "y": point["x"]},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        {"kty": "RSA", "n": "f" + "_" * 341, "e": "AQAB"},  # 2047 bits
    ):
        assert usable(wrong) is None, wrong
    # What is of no use is left out, as RFC 7517 section 5 has it; what is not public discredits the set.
    assert len(keys_of(json.dumps({"keys": [point, {"kty": "new"}]}).encode())) == 1
    with pytest.raises(ValueError, match="not public"):
        keys_of(json.dumps({"keys": [point, {**point, "d": "AA"}]}).encode())


@given(st.binary().filter(lambda document: b'"keys"' not in document))
def test_no_document_breaks_the_reader_of_keys(document: bytes) -> None:
    with suppress(ValueError):
        # Nearly always it is no set, and nothing else may be raised; bytes that are one have no key, or a public one.
        assert all(key.key is not None for key in keys_of(document))
