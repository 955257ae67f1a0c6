"""Whether whoever reads a long answer may still read it."""

import time
from collections.abc import Awaitable, Callable
from typing import Final

from shared.errors import Kind, Refusal
from shared.rpc.guard import Authenticate, RpcContext

ROLES: Final = frozenset({"administrator", "auditor"})
QUIET_SECONDS: Final = 1.0
"""How often the person is looked at again."""


class Permission:
    """Of the persons behind calls."""

    def __init__(self, authenticate: Authenticate) -> None:
        self._authenticate = authenticate

    def watch(self, context: RpcContext) -> Callable[[], Awaitable[None]]:
        """To be called now and then: refuses as soon as the token that the call began with is not accepted any more."""
        checked = time.monotonic()

        async def still_allowed() -> None:
            nonlocal checked
            if time.monotonic() - checked >= QUIET_SECONDS:
                await self._look(context)
                checked = time.monotonic()

        return still_allowed

    async def _look(self, context: RpcContext) -> None:
        for name, value in context.invocation_metadata() or ():
            if name == "authorization":
                person = await self._authenticate(value.partition(" ")[2].strip())
                if not person.roles & ROLES:
                    raise Refusal(Kind.FORBIDDEN, "role_missing", "the role was removed")
