"""ID tokens that nobody issued, shown as a hint of who is signed in."""

import json
from base64 import urlsafe_b64encode

import jwt

from services.token_issuer.authorization.answers import Redirect
from services.token_issuer.authorization.begin import Refused
from services.token_issuer.authorization.logout import begin_logout
from services.token_issuer.events import KeyUse
from services.token_issuer.signing import generate
from tests.support.issuing import ISSUER, PUBLIC, SPA, Stage, query


def _unsigned(header: dict[str, object], token: str) -> str:
    part = urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
    return f"{part}.{token.split('.')[1]}."


async def test_a_hint_has_to_be_one_of_ours(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    spa = await stage.register(PUBLIC, SPA)
    sub = await stage.user()
    body = await stage.tokens(hub, sub)
    hint = body["id_token"]
    kid = jwt.get_unverified_header(hint)["kid"]
    claims = jwt.decode(hint, options={"verify_signature": False})
    own, _ = generate(KeyUse.ID_TOKEN)
    forged = [
        _unsigned({"alg": "none", "typ": "JWT", "kid": kid}, hint),
        _unsigned({"alg": "none", "typ": "JWT", "kid": kid}, hint) + hint.split(".")[2],
        _unsigned({"alg": "None", "typ": "JWT", "kid": kid}, hint),
        _unsigned({"alg": "RS256", "typ": "JWT", "kid": "../../dev/null"}, hint) + hint.split(".")[2],
        _unsigned({"alg": "RS256", "typ": "JWT", "kid": "' OR 1=1"}, hint) + hint.split(".")[2],
        _unsigned({"alg": "ES256", "typ": "JWT", "kid": kid}, hint) + hint.split(".")[2],
        jwt.encode(claims, "k" * 32, algorithm="HS256", headers={"kid": kid}),
        own.sign("JWT", claims),
        body["access_token"],
        body["refresh_token"],
        (await stage.tokens(spa, sub))["id_token"],
        hint + "A",
    ]
    for token in forged:
        outcome = await stage.begin(hub, id_token_hint=token)
        assert isinstance(outcome, Redirect), token
        assert query(outcome.uri)["error"] == "invalid_request"
    for token in forged[:-2]:
        assert isinstance(await begin_logout(stage.issuer, [("id_token_hint", token)]), Refused)
    signer = stage.issuer.keys.signer(KeyUse.ID_TOKEN)
    foreign = signer.sign("JWT", {**claims, "iss": ISSUER + "/other"})
    outcome = await stage.begin(hub, id_token_hint=foreign)
    assert isinstance(outcome, Redirect)
