"""Introspection as a way to learn about tokens of others (RFC 7662 section 4)."""

from tests.support.issuing import Stage


async def test_introspection_is_no_oracle(stage: Stage) -> None:
    """Somebody else's live token and a made-up one give the same bytes."""
    hub = await stage.register(resources=True)
    other = await stage.register(client_id="com.setlist/app")
    body = await stage.tokens(hub, await stage.user())
    answers = [
        await stage.introspect(other, token)
        for token in (body["access_token"], body["refresh_token"], "a.b.c", body["access_token"][:-5] + "AAAAA")
    ]
    assert len({(answer.status_code, answer.content) for answer in answers}) == 1
