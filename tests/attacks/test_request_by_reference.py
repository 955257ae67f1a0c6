"""Having the server fetch what an attacker names (RFC 9101 section 10.4)."""

from services.token_issuer.authorization.answers import Redirect
from tests.support.issuing import Stage, query


async def test_request_objects_are_not_fetched_or_read(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    for name in ("request", "request_uri", "registration"):
        outcome = await stage.begin(hub, **{name: "https://mallory.example/request.jwt"})
        assert isinstance(outcome, Redirect)
        assert query(outcome.uri)["error"] == f"{name}_not_supported"
