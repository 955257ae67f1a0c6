"""When a file of TLS was renewed, which a server, its channels and its clients read only when they are made.

Certificates are renewed by whoever issues them (cert-manager, say), which replaces the file. To end and be started
again is what a service does well in any case; nothing that is under way is lost by it.
"""

import asyncio
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_LOOK_SECONDS: Final = 60.0
_LOOKS: Final = 5
"""At least so many looks within the time that is given."""


class Renewal:
    """Watches files of certificates, its own and authorities. What they held at first is what the process goes by."""

    def __init__(self, files: Iterable[Path], seconds: float) -> None:
        """`seconds`: the longest time from something new in one of the files to the moment that `due` returns."""
        self._known = {file: _content(file) for file in files}
        self._every = min(_LOOK_SECONDS, seconds / _LOOKS)
        self._spread = seconds - self._every

    async def due(self) -> None:
        """Return when one of them is another, at a moment that replicas do not share."""
        while not any(map(self._is_new, self._known)):  # noqa: ASYNC110  (files tell nobody)
            await asyncio.sleep(self._every)
        await asyncio.sleep(random.uniform(0, self._spread))  # noqa: S311  (parts replicas, no secret)

    def _is_new(self, file: Path) -> bool:
        found = _content(file)
        return found is not None and found != self._known[file]


def _content(file: Path) -> bytes | None:
    """What is in it; None while it is not to be read, as when it is being replaced."""
    try:
        return file.read_bytes() or None
    except OSError:
        return None
