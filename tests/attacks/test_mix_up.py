"""Mix-up of authorization servers (RFC 9700 section 4.4, RFC 9207)."""

from services.token_issuer.authorization.answers import Redirect
from tests.support.doors import Doors
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
    for uri in (wrong.uri, sent.redirect.uri, nobody.redirect.uri):
        assert query(uri)["iss"] == ISSUER


async def test_the_metadata_says_so_and_each_document_is_of_this_server(doors: Doors) -> None:
    """RFC 9207 section 3, RFC 8414 section 3.3: whoever compares is not sent to another server's endpoints."""
    for place in (
        f"{doors.issuer}/.well-known/openid-configuration",
        f"{doors.origin}/.well-known/oauth-authorization-server/id",
    ):
        document = (await doors.http.get(place, headers={"X-Forwarded-Host": "mallory.example"})).json()
        assert document["issuer"] == doors.issuer
        assert document["authorization_response_iss_parameter_supported"] is True
        endpoints = [value for name, value in document.items() if name.endswith(("_endpoint", "jwks_uri"))]
        assert len(endpoints) > 4
        assert all(value.startswith(f"{doors.issuer}/") for value in endpoints)
    answer = await doors.http.get(doors.flow("openid", prompt="none").address)
    assert query(answer.headers["location"])["iss"] == doors.issuer
