"""A logout token is shown where another token is asked for (RFC 8725 section 2.8): every application is sent one.

The other way round, see `test_forged_logout_tokens.py`.
"""

from services.token_issuer.authorization.begin import Proceed, Refused
from services.token_issuer.authorization.logout import begin_logout
from services.token_issuer.backchannel.logout_token import logout_token
from services.token_issuer.events import KeyUse
from stagedoor.verdict import Denied, Reason
from tests.support.issuing import HUB, USERINFO, Stage


async def a_logout_token(stage: Stage, sub: str, sid: str) -> str:
    key = stage.issuer.keys.signer(KeyUse.ID_TOKEN)
    return logout_token(key, stage.issuer.policy.issuer, HUB, sub, sid, stage.clock())


async def test_it_is_no_id_token(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    sub = await stage.user()
    person, _ = await stage.sign_in(sub)
    token = await a_logout_token(stage, sub, person.sid)
    assert isinstance(await begin_logout(stage.issuer, [("id_token_hint", token)]), Refused)
    assert not isinstance(await stage.begin(hub, id_token_hint=token), Proceed)


async def test_it_is_no_access_token(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    sub = await stage.user()
    person, _ = await stage.sign_in(sub)
    token = await a_logout_token(stage, sub, person.sid)
    for audience in (HUB, USERINFO):
        verdict = await stage.validate(token, audience)
        assert isinstance(verdict, Denied)
        assert verdict.reason in {Reason.MALFORMED, Reason.WRONG_TYPE}
    assert (await stage.introspect(hub, token)).json() == {"active": False}
    answer = await stage.refresh(hub, token)
    assert answer.json()["error"] == "invalid_grant"
