"""No attack: what the doors say to honest tokens, so that their refusals mean something."""

from tests.support.doors import API, HINT, INTROSPECTION, MANAGEMENT, REFUSED, USERINFO, VALIDATE, Doors

FORBIDDEN = "403 insufficient_scope"


async def test_each_honest_token_opens_its_own_doors_and_no_other(doors: Doors) -> None:
    token = doors.honest.access_token
    accepted = {API: "200", USERINFO: "200", INTROSPECTION: "active", VALIDATE: "allowed"}
    assert await doors.answers(token) == {**REFUSED, **accepted}
    assert await doors.answers(doors.honest.management) == {**REFUSED, MANAGEMENT: "OK"}
    # Nobody is signed in in this browser; the hint itself is right.
    assert await doors.answers(doors.honest.id_token) == {**REFUSED, HINT: "login_required"}
    assert await doors.answers(doors.honest.refresh_token) == {**REFUSED, INTROSPECTION: "active"}
