"""A feed that is not the ledger's any more tells of keys that nobody has, as fast as it can."""

import time

import msgspec
import pytest

from stagedoor import guard as guarding
from stagedoor.denials import Denial, DenialKind, DenialRule
from stagedoor.keys import HttpKeys
from stagedoor.verdict import Denied, Reason
from tests.support.ports import free_port
from tests.support.sdk_tokens import SigningKey, claims, guard
from tests.support.work import eventually


async def test_they_are_not_believed_and_the_issuer_is_asked_once_a_second_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guarding, "_KEYS_TOLD", (0.0,) * 100)
    real, invented = SigningKey("real"), SigningKey("invented-1")
    keys = HttpKeys(f"http://127.0.0.1:{free_port()}/jwks")
    fetched, began = 0, time.monotonic()

    def fetch() -> tuple[bytes, float]:
        nonlocal fetched
        fetched += 1
        return msgspec.json.encode({"keys": [real.jwk]}), 300.0

    monkeypatch.setattr(keys, "_fetch", fetch)
    async with guard(real, keys=keys) as checked:
        await eventually(lambda: keys.loaded)
        for number in range(1, 5001):
            checked.view.apply(
                Denial(
                    number=number,
                    position=1000 + number,
                    epoch=1,
                    kind=DenialKind.KEY,
                    id=f"invented-{number}",
                    rule=DenialRule.LIFTED,
                )
            )
        assert len(checked.view.keys_told) <= 64
        # It has tried for the first of them as often as it does, and given up.
        await eventually(lambda: not checked.view.keys_told and not checked.view.keys_changed.is_set())
        verdict = await checked.validate(invented.sign(claims(pos=5)))
        assert isinstance(verdict, Denied)
        assert verdict.reason is Reason.UNKNOWN_KEY
    assert fetched <= 2 + time.monotonic() - began
