"""How far the stream on NATS is behind the log, as every ledger sees for itself, whether a relay runs or none does."""

import asyncio
import time

from prometheus_client import Gauge

from shared.log.log import Log
from shared.messaging.access import ANSWER_SECONDS, STREAM, NatsAccess
from shared.messaging.lag import Lag
from shared.messaging.session import Session, keep

_BEHIND = Gauge("stagedoor_relay_lag_positions", "By how much the stream was behind the log when looked at.")
_SINCE = Gauge("stagedoor_relay_lag_seconds", "Since the stream was last known to have everything.")

_LOOK_SECONDS = 1.0


class RelayLag:
    """Looks at both ends of the relay; it grows while either is out of reach."""

    def __init__(self, log: Log, nats: NatsAccess) -> None:
        self._log = log
        self._nats = nats
        self.lag = Lag()
        _BEHIND.set_function(self.lag.positions)
        _SINCE.set_function(self.lag.seconds)

    async def watch(self) -> None:
        """Look again and again, for ever."""
        await keep(self._nats, "watching the stream", self._watch)

    async def _watch(self, session: Session) -> None:
        stream = session.client.jetstream(timeout=ANSWER_SECONDS)
        while True:
            session.check()
            asked_at = time.monotonic()
            head = await self._log.head()
            info = await stream.stream_info(STREAM)
            self.lag.look(asked_at, head.position, info.state.last_seq)
            session.goes_on()
            await asyncio.sleep(_LOOK_SECONDS)
