"""Mix-up of authorization servers (RFC 9700 section 4.4, RFC 9207)."""

from services.token_issuer.authorization.begin import Redirect
from tests.support.issuing import ISSUER, Stage, query


async def test_every_answer_says_which_server_it_is_from(stage: Stage) -> None:
    """Mix-up (RFC 9207): errors as well as codes."""
    hub = await stage.register(resources=True)
    person, position = await stage.sign_in(await stage.user())
    outcome = await stage.begin(hub)
    wrong = await stage.begin(hub, response_type="token")
    assert isinstance(wrong, Redirect)
    sent = await stage.issue(outcome, person, position)
    nobody = await stage.issue(outcome, person, position, sub="nobody")
    for uri in (wrong.uri, sent.redirect, nobody.redirect):
        assert query(uri)["iss"] == ISSUER
