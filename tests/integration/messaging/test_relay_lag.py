"""How far the stream is behind is seen whether a relay runs, stands still or was never there."""

from shared.relay_lag import RelayLag
from tests.support.facts import Facts
from tests.support.nats import NatsServer
from tests.support.relaying import caught_up, start, write
from tests.support.work import Work, eventually


async def test_the_lag_grows_without_a_relay_and_ends_with_one(
    facts: Facts, nats_server: NatsServer, work: Work
) -> None:
    await write(facts, 5)
    log = await facts.log("ledger")
    seen = RelayLag(log, nats_server.access("ledger"))
    work.start(seen.watch())
    await eventually(lambda: seen.lag.seconds() > 0.5)
    relay, relaying = await start(facts, nats_server, work)
    await caught_up(relay, log)
    await eventually(lambda: seen.lag.seconds() < 0.5 and seen.lag.positions() == 0)
    await work.stop(relaying)
    await write(facts, 3, "two")
    await eventually(lambda: seen.lag.positions() == 3 and seen.lag.seconds() > 1.0)
