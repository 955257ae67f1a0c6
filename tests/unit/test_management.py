"""Who is behind a management call: the SDK's verdict, in the words of the RPCs."""

from typing import Any, cast

import pytest

from shared.errors import Kind, Refusal
from shared.management import SCOPE, Management
from shared.rpc.caller import Person
from stagedoor import Allowed, Denied, Guard, Reason, Verdict
from stagedoor.verdict import denied


class FixedGuard:
    """A guard that always answers the same."""

    def __init__(self, verdict: Verdict, *, current: bool = True) -> None:
        self.verdict = verdict
        self.current = current
        self.asked: list[tuple[str, Any]] = []

    def ready(self) -> bool:
        return self.current

    async def validate(self, token: str, *, scopes: Any) -> Verdict:
        self.asked.append((token, scopes))
        return self.verdict


ALLOWED = Allowed(
    sub="brian",
    client_id="com.stagedoor/cli",
    scopes=frozenset({"sec"}),
    jti="j",
    sid="s",
    gid="g",
    roles=frozenset({"administrator"}),
    position=20,
    payload=b'{"pos":7}',
)


def management(guard: FixedGuard) -> Management:
    return Management(cast("Guard", guard))


async def test_an_accepted_token_names_a_person() -> None:
    guard = FixedGuard(ALLOWED)
    person = await management(guard).authenticate("token")
    assert person == Person(
        "brian", "com.stagedoor/cli", frozenset({"administrator"}), frozenset({"sec"}), "j", position=7
    )
    assert guard.asked == [("token", (SCOPE,))]


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (Reason.EXPIRED, Kind.UNAUTHENTICATED),
        (Reason.WRONG_AUDIENCE, Kind.UNAUTHENTICATED),
        (Reason.DENIED_SUBJECT, Kind.UNAUTHENTICATED),
        (Reason.INSUFFICIENT_SCOPE, Kind.FORBIDDEN),
        (Reason.TOO_STALE, Kind.UNAVAILABLE),
        (Reason.AHEAD_OF_VIEW, Kind.UNAVAILABLE),
    ],
)
async def test_any_other_is_refused_with_its_reason(reason: Reason, kind: Kind) -> None:
    verdict: Denied = denied(reason)
    with pytest.raises(Refusal) as refused:
        await management(FixedGuard(verdict)).authenticate("token")
    assert (refused.value.kind, refused.value.code) == (kind, reason)


def test_it_is_ready_once_it_could_judge() -> None:
    guard = FixedGuard(ALLOWED, current=False)
    manager = management(guard)
    assert not manager.readiness().ok
    guard.current = True
    assert manager.readiness().ok
    guard.current = False
    assert manager.readiness().ok
    assert "asking the issuer" in manager.readiness().detail
