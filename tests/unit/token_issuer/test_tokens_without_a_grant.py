"""The small aggregates: tokens without a grant, revocations."""

from services.token_issuer.domain import access_token, revocation
from services.token_issuer.events import AccessTokenIssued, AccessTokenRevoked
from tests.support.decider import given
from tests.unit.token_issuer.world import API, HUB, NOW

ISSUE = access_token.Issue("j", HUB, HUB, ("read",), (API,), 3600)
ISSUED = AccessTokenIssued(
    jti="j", client_id=HUB, sub=HUB, scopes=("read",), audiences=(API,), access_token_seconds=3600
)


def test_a_token_of_its_own_is_issued_once() -> None:
    given(access_token.decider).when(ISSUE).then(ISSUED).when(ISSUE).refused("token_exists")


def test_a_token_is_revoked_once() -> None:
    revoke = revocation.Revoke("j", HUB, NOW)
    revoked = AccessTokenRevoked(jti="j", client_id=HUB, token_ends_at=NOW)
    given(revocation.decider).when(revoke).then(revoked).when(revoke).then_nothing()
