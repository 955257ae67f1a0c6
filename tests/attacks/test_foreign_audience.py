"""Tokens for somebody else (RFC 8725 section 3.9, RFC 9700 section 4.9)."""

import pytest

from stagedoor.verdict import Allowed, Reason
from tests.support.attacking import reason
from tests.support.doors import API, INTROSPECTION, MANAGEMENT, REFUSED, USERINFO, VALIDATE, Doors
from tests.support.sdk_tokens import AUDIENCE, SigningKey, claims, guard


@pytest.mark.parametrize("audience", [["https://other.example"], [f"{AUDIENCE}/"], [AUDIENCE[:-1]], []])
def test_a_foreign_audience(key: SigningKey, audience: list[str]) -> None:
    assert reason(guard(key).check(key.sign(claims(aud=audience)))) is Reason.WRONG_AUDIENCE


def test_a_remembered_token_is_not_good_for_another_audience(key: SigningKey) -> None:
    checked, token = guard(key), key.sign(claims())
    assert isinstance(checked.check(token), Allowed)
    assert reason(checked.check(token, audience="https://other.example")) is Reason.WRONG_AUDIENCE
    assert isinstance(checked.check(token), Allowed)


async def test_a_token_for_one_resource_at_another(doors: Doors) -> None:
    """Each is honest, and opens its own door."""
    answer = await doors.http.post(
        f"{doors.issuer}/connect/token", data={"grant_type": "client_credentials"}, auth=doors.secret()
    )
    for_the_api = answer.json()["access_token"]
    own = {API: "200", INTROSPECTION: "active", VALIDATE: "allowed"}
    assert await doors.answers(for_the_api) == {**REFUSED, **own}
    only_userinfo = await doors.sign_in("openid")
    own = {USERINFO: "200", INTROSPECTION: "active"}
    assert await doors.answers(str(only_userinfo["access_token"])) == {**REFUSED, **own}
    assert await doors.answers(doors.honest.management) == {**REFUSED, MANAGEMENT: "OK"}
