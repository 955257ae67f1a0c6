"""The keys: made once, kept wrapped, the same for every replica."""

import asyncio
import base64
import json

import pytest

from services.token_issuer.events import KeyUse, SigningKeyActivated, SigningKeyCreated
from services.token_issuer.keys import KeyRing
from services.token_issuer.read_model import Questions
from shared.errors import Unavailable
from shared.keys import MasterKey
from tests.support.issuing import MovableClock, policy, replica
from tests.support.postgres import Database


async def test_replicas_that_start_at_once_make_one_set(database: Database) -> None:
    issuers = [(await replica(database, MovableClock()))[0] for _ in range(3)]
    with pytest.raises(Unavailable):
        issuers[0].keys.signer(KeyUse.ID_TOKEN)
    with pytest.raises(Unavailable):
        assert issuers[0].keys.jwks
    await asyncio.gather(*(issuer.keys.prepare() for issuer in issuers))
    assert len({issuer.keys.jwks for issuer in issuers}) == 1
    kids = {issuer.keys.signer(use).kid for issuer in issuers for use in KeyUse}
    assert len(kids) == len(KeyUse)
    facts = [type(recorded.event) for recorded in await issuers[0].log.read(0)]
    assert facts.count(SigningKeyCreated) == len(KeyUse)
    assert facts.count(SigningKeyActivated) == len(KeyUse)


async def test_private_halves_are_kept_wrapped(database: Database) -> None:
    issuer, _ = await replica(database, MovableClock())
    await issuer.keys.prepare()
    der = [issuer.keys.signer(use).private_der() for use in KeyUse]
    wrapped = [row["wrapped"] for row in await issuer.log.pool.fetch("SELECT wrapped FROM token_issuer.vault")]
    assert len(wrapped) == len(KeyUse)
    assert not any(plain in kept or plain[40:60] in kept for plain in der for kept in wrapped)
    log = " ".join(row.data for row in await issuer.log.read_rows(0, limit=100))
    assert not any(member in key for key in json.loads(issuer.keys.jwks)["keys"] for member in ("d", "p", "q", "k"))
    assert '"d"' not in log
    assert not any(base64.b64encode(plain).decode() in log for plain in der)
    stranger = KeyRing(issuer.log, Questions(issuer.log.pool), MasterKey(b"x" * 32), policy().keys)
    with pytest.raises(SystemExit, match="does not open"):
        await stranger.prepare()


async def test_a_restart_finds_the_same_keys(database: Database) -> None:
    first, _ = await replica(database, MovableClock())
    await first.keys.prepare()
    second, _ = await replica(database, MovableClock())
    await second.keys.prepare()
    assert second.keys.jwks == first.keys.jwks
    kid = second.keys.signer(KeyUse.ACCESS_TOKEN).kid
    found = second.keys.find(kid)
    assert found is not None
    assert second.keys.find_for_id_tokens(kid) is None
    await second.keys.refresh()
    assert second.keys.find(kid) is found
