"""Asking for more than was allowed."""

from services.token_issuer.authorization.answers import Redirect
from services.token_issuer.scopes import parse
from tests.support.issuing import Stage, query


async def test_scopes_cannot_be_confused(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    for scope in ("read sec", "READ", "read,update", "read;update", "read\u00a0update", "read\u2028", "read%20update"):
        outcome = await stage.begin(hub, scope=scope)
        assert isinstance(outcome, Redirect), scope
        assert query(outcome.uri)["error"] in ("invalid_scope", "invalid_request")
    assert parse("read read") == ("read",)
