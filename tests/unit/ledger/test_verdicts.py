"""Verdicts from facts alone; that they are a guard's is shown in tests/properties/test_looking_back.py."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from services.identity import events as identity
from services.ledger.verdicts import LEEWAY, judge
from services.registry import events as registry
from services.token_issuer import events as issuer
from shared.history import IssuedToken
from shared.ids import new_command_id
from shared.log.event import Event, Recorded

AT = datetime(2026, 7, 12, tzinfo=UTC)
LATER = AT + timedelta(days=2)
ACCESS = IssuedToken(
    jti="jti",
    kind="access_token",
    client_id="app",
    sub="freddie",
    sid="sid",
    gid="gid",
    scopes=("read",),
    audiences=("api",),
    issued_at=AT,
    expires_at=AT + timedelta(hours=1),
    position=10,
    epoch=1,
    key="kid",
)
KEY = replace(ACCESS, kind="pat", sid=None, gid=None, key=None)

REVOKED = issuer.AccessTokenRevoked(jti="jti", client_id="app", token_ends_at=LATER)
ENDED = issuer.GrantEnded(gid="gid", reason=issuer.GrantEndReason.CODE_REUSED, tokens_end_at=LATER)
SIGNED_OUT = identity.SessionEnded(
    sub="freddie", sid="sid", reason=identity.SessionEndReason.SIGNED_OUT, tokens_end_at=LATER
)
CHANGED = identity.PasswordChanged(sub="freddie", kept_session="other")
KEPT = identity.PasswordChanged(sub="freddie", kept_session="sid")
RESET = identity.PasswordReset(sub="freddie")
DISABLED = identity.UserDisabled(sub="freddie", reason="")
ENABLED = identity.UserEnabled(sub="freddie")
OFF = registry.ApplicationDisabled(client_id="app", reason="")
ON = registry.ApplicationEnabled(client_id="app")
STOLEN = registry.SecretReportedCompromised(client_id="app", secret_id="one")
REVOKED_SECRET = registry.SecretRevoked(client_id="app", secret_id="one")
WITHDRAWN = identity.ConsentWithdrawn(sub="freddie", client_id="app")
COMPROMISED = issuer.SigningKeyCompromised(kid="kid")
ANNOUNCED = issuer.SigningKeyCreated(kid="kid", algorithm="ES256", use=issuer.KeyUse.ACCESS_TOKEN, public_jwk={})


def at(position: int, event: Event) -> Recorded:
    return Recorded(event, "stream-x", 1, position, 1, AT, "user:x", new_command_id(), "course")


@pytest.mark.parametrize(
    ("token", "facts", "reason", "deciding"),
    [
        (ACCESS, [], "", []),
        (ACCESS, [(11, REVOKED)], "denied_token", [11]),
        (ACCESS, [(11, ENDED)], "denied_grant", [11]),
        (ACCESS, [(11, SIGNED_OUT)], "denied_session", [11]),
        (ACCESS, [(11, CHANGED)], "denied_session", [11]),
        (ACCESS, [(11, KEPT)], "", []),
        (ACCESS, [(9, CHANGED)], "", []),
        (ACCESS, [(11, RESET)], "denied_subject", [11]),
        (ACCESS, [(9, RESET)], "", []),
        (ACCESS, [(9, DISABLED)], "denied_subject", [9]),
        (ACCESS, [(9, DISABLED), (12, ENABLED)], "", []),
        (ACCESS, [(9, DISABLED), (12, ENABLED), (13, DISABLED)], "denied_subject", [13]),
        (ACCESS, [(11, RESET), (12, DISABLED), (13, ENABLED)], "denied_subject", [11]),
        (ACCESS, [(11, OFF), (12, DISABLED)], "denied_client", [11]),
        (ACCESS, [(11, OFF), (12, ON), (13, STOLEN)], "denied_client", [13]),
        (ACCESS, [(11, REVOKED_SECRET)], "", []),
        (ACCESS, [(11, WITHDRAWN)], "denied_grant", [11]),
        (ACCESS, [(3, ANNOUNCED), (11, COMPROMISED)], "denied_key", [11]),
        (ACCESS, [(3, COMPROMISED), (4, ANNOUNCED)], "denied_key", [3]),
        (KEY, [(11, SIGNED_OUT), (12, CHANGED), (13, COMPROMISED)], "", []),
        (KEY, [(11, RESET)], "denied_subject", [11]),
    ],
)
def test_a_verdict_and_what_decides_it(
    token: IssuedToken, facts: Sequence[tuple[int, Event]], reason: str, deciding: list[int]
) -> None:
    verdict = judge(token, [at(*one) for one in reversed(facts)], AT)
    assert (verdict.accepted, verdict.reason) == (not reason, reason)
    assert [cause.recorded.position for cause in verdict.causes if cause.decides] == deciding
    assert verdict.description


def test_time_is_looked_at_first_and_clocks_may_differ() -> None:
    off = [at(11, OFF)]
    assert judge(ACCESS, off, ACCESS.expires_at + LEEWAY).reason == "expired"
    assert judge(ACCESS, off, ACCESS.expires_at + LEEWAY - timedelta(seconds=1)).reason == "denied_client"
    assert judge(ACCESS, [], ACCESS.expires_at).accepted
