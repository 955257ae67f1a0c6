"""The head of the log, read for many askers at once, and for each of them after it asked."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

from shared.log.append import Head
from shared.log.log import Log


@dataclass(frozen=True, slots=True)
class HeadReading:
    """A head, and a moment just before it was read."""

    head: Head
    read_at: datetime


class HeadReader:
    """Reads the head. Whoever asks while a reading is under way shares the next one."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._asking: list[asyncio.Future[HeadReading]] = []
        self._reading: asyncio.Task[None] | None = None

    async def read(self) -> HeadReading:
        """A head that was read after this call began. Raises `LogUnavailable`."""
        asking: asyncio.Future[HeadReading] = asyncio.get_running_loop().create_future()
        self._asking.append(asking)
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        return await asking

    async def _read(self) -> None:
        while self._asking:
            asking, self._asking = self._asking, []
            read_at = datetime.now(UTC)
            try:
                reading = HeadReading(await self._log.head(), read_at)
            except Exception as failure:  # noqa: BLE001  (whatever it is, it is the askers' to know)
                for one in asking:
                    if not one.done():
                        one.set_exception(failure)
                continue
            for one in asking:
                if not one.done():
                    one.set_result(reading)
