"""Credentials in an address end up in histories, logs and Referer headers (RFC 9700 section 4.3)."""

from tests.support.issuing import HUB, Stage, error

TOKEN, INTROSPECT, REVOKE = "/id/connect/token", "/id/connect/introspect", "/id/connect/revocation"


async def test_nothing_is_said_in_the_address(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    form = {"grant_type": "client_credentials"}
    for query_string in (f"client_id={HUB}&client_secret={hub.secret}", "scope=read", "x=y", "token=abc"):
        for path in (TOKEN, INTROSPECT, REVOKE):
            answer = await stage.http.post(f"{path}?{query_string}", data=form, headers=hub.headers())
            assert (answer.status_code, error(answer)) == (400, "invalid_request")
            assert (hub.secret or "") not in answer.text
