"""Requests that are larger than anybody means."""

from services.token_issuer.authorization.begin import Refused
from tests.support.issuing import Stage, error

TOKEN, INTROSPECT, REVOKE = "/id/connect/token", "/id/connect/introspect", "/id/connect/revocation"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


async def test_there_are_bounds(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    large = "grant_type=client_credentials&scope=" + "r" * 70_000
    answer = await stage.http.post(TOKEN, content=large, headers={**hub.headers(), **FORM})
    assert answer.status_code == 413
    many = "grant_type=client_credentials&" + "&".join(f"a{number}=b" for number in range(200))
    answer = await stage.http.post(TOKEN, content=many, headers={**hub.headers(), **FORM})
    assert error(answer) == "invalid_request"
    assert isinstance(await stage.begin(hub, *((f"p{number}", "x") for number in range(100))), Refused)
    assert isinstance(await stage.begin(hub, state="x" * 30_000), Refused)
