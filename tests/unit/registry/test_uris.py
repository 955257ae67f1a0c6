"""Addresses: what is compared exactly later has one spelling now."""

import pytest

from services.registry.domain.uris import LONGEST, called_fault, identifier_fault, redirect_fault, web_fault


@pytest.mark.parametrize(
    "uri",
    [
        "https://app.example/callback",
        "https://app.example",
        "https://app.example:8443/callback?tenant=1",
        "https://xn--bcher-kva.example/%C3%A4",
        "http://localhost:8480/callback",
        "http://127.0.0.1:1/x",
        "http://[::1]:8480/x",
        "https://[2001:db8::1]/x",
        "https://app.example/..a/b..",
    ],
)
def test_web_addresses(uri: str) -> None:
    assert web_fault(uri) is None
    assert redirect_fault(uri, native=False) is None
    assert redirect_fault(uri, native=True) is None


@pytest.mark.parametrize(
    ("uri", "fault"),
    [
        ("", "characters"),
        ("https://a.example/" + "x" * LONGEST, "characters"),
        ("/callback", "scheme"),
        ("//app.example/callback", "scheme"),
        ("HTTPS://app.example/", "lower case"),
        ("https://App.example/", "lower case"),
        ("https:app.example", "host"),
        ("https:///callback", "host"),
        ("https://-a.example/", "host"),
        ("https://a..example/", "host"),
        ("https://a.example./", "host"),
        ("https://[::1/", "cannot be read"),
        ("https://[0:0::1]/", "host"),
        ("https://a.example:/", "port"),
        ("https://a.example:0/", "port"),
        ("https://a.example:65536/", "port"),
        ("https://a.example:80x/", "port"),
        ("https://a.example/#", "fragment"),
        ("https://a.example/x#y", "fragment"),
        ("https://good.example@evil.example/", "user"),
        ("https://:@evil.example/", "user"),
        ("https://a.example/*", "wildcard"),
        ("https://*.example/", "wildcard"),
        ("https://a.example/a/../b", "dot segment"),
        ("https://a.example/a/%2e%2E/b", "dot segment"),
        ("https://a.example\\@evil.example/", "no URI"),
        ("https://a.example/ b", "no URI"),
        ("https://a.example/\n", "no URI"),
        ("\thttps://a.example/", "no URI"),
        ("https://a.example/%zz", "no URI"),
        ("https://bücher.example/", "no URI"),
        ("http://a.example/", "loopback"),
        ("http://localhost.evil.example/", "loopback"),
        ("http://127.0.0.2/", "loopback"),
        ("http://0x7f000001/", "loopback"),
        ("http://0/", "loopback"),
        ("ftp://a.example/", "neither"),
        ("javascript:alert(1)", "neither"),
        ("data:text/html,x", "neither"),
        ("com.example.app:/callback", "neither"),
    ],
)
def test_faults_of_web_addresses(uri: str, fault: str) -> None:
    found = web_fault(uri)
    assert found is not None
    assert fault in found
    assert redirect_fault(uri, native=False) == found


@pytest.mark.parametrize("uri", ["com.example.app:/callback", "com.example.app://callback"])
def test_a_native_application_may_have_a_scheme_of_its_own(uri: str) -> None:
    assert redirect_fault(uri, native=True) is None


@pytest.mark.parametrize(
    "uri", ["example:/callback", "javascript:alert(1)", "com.example.app:", "com.example.app:x", "http://a.example/"]
)
def test_faults_of_native_addresses(uri: str) -> None:
    assert redirect_fault(uri, native=True) is not None


@pytest.mark.parametrize(
    "uri", ["https://api.example/v1", "http://api.internal:8080/v1", "urn:example:api", "api://tours"]
)
def test_identifiers(uri: str) -> None:
    assert identifier_fault(uri) is None


@pytest.mark.parametrize("uri", ["", "tours", "https://", "urn:", "https://api.example/#", "urn:a b"])
def test_faults_of_identifiers(uri: str) -> None:
    assert identifier_fault(uri) is not None


@pytest.mark.parametrize("demo", [False, True])
def test_logouts_go_to_https(demo: bool) -> None:
    assert called_fault("https://app.example/logout?tenant=1", demo=demo) is None
    for uri in ("http://app.example/logout", "app.example:/logout", "javascript:alert(1)", "https://app.example/#x"):
        assert called_fault(uri, demo=demo) is not None
    for uri in ("https://freddie@app.example/logout", "https://app.example/a/../b", "https://*.example/logout"):
        assert called_fault(uri, demo=demo) is not None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_logouts_go_to_this_machine_in_demo_mode_only(scheme: str, host: str) -> None:
    uri = f"{scheme}://{host}:8480/logout"
    assert called_fault(uri, demo=True) is None
    assert called_fault(uri, demo=False) is not None


def test_what_follows_an_address_in_brackets_is_a_port() -> None:
    # Whether Python itself cannot read it differs between its versions; it is refused by all.
    assert "port" in (found := web_fault("http://[::1]x/") or "") or "cannot be read" in found
