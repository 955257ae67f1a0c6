"""When a certificate was renewed, which a server and its channels take notice of only when they are made.

Certificates are renewed by whoever issues them (cert-manager, say), which replaces the file. To end and be started
again is what a service does well in any case; nothing that is under way is lost by it.
"""

import asyncio
import random
from pathlib import Path
from typing import Final

_LOOK_SECONDS: Final = 60.0
_LOOKS: Final = 5
"""At least so many looks within the time that is given."""


class Renewal:
    """Watches the file of a certificate. What it held at first is what the process shows."""

    def __init__(self, certificate: Path, seconds: float) -> None:
        """`seconds`: the longest time from a new certificate in the file to the moment that `due` returns."""
        self._file = certificate
        self._shown = _content(certificate)
        self._every = min(_LOOK_SECONDS, seconds / _LOOKS)
        self._spread = seconds - self._every

    async def due(self) -> None:
        """Return when there is another certificate, at a moment that replicas do not share."""
        while (found := _content(self._file)) is None or found == self._shown:  # noqa: ASYNC110  (files tell nobody)
            await asyncio.sleep(self._every)
        await asyncio.sleep(random.uniform(0, self._spread))  # noqa: S311  (parts replicas, no secret)


def _content(file: Path) -> bytes | None:
    """What is in it; None while it is not to be read, as when it is being replaced."""
    try:
        return file.read_bytes() or None
    except OSError:
        return None
