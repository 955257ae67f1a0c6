"""Guards in processes of their own (`tests.benchmarks.guarding`), as their parent sees them."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

from infra.local.system import System
from tests.benchmarks.child import Child

Kind = Literal["nats", "grpc"]


class Guards:
    """Several of them, asked side by side."""

    def __init__(self, each: Sequence[Child]) -> None:
        self.each = each

    async def watch(self, tokens: Mapping[str, str]) -> int:
        """Have tokens watched that are allowed; answers how often one was not."""
        return sum(len(answer["refused"]) for answer in await self.ask("watch", tokens=tokens))

    async def ask(self, do: str, **more: Any) -> list[Any]:
        """The answers of all, in order."""
        return list(await asyncio.gather(*(guard.ask(do, **more) for guard in self.each)))


@asynccontextmanager
async def guards(system: System, *kinds: Kind, max_staleness: float) -> AsyncIterator[Guards]:
    """Guards for the API of a system, as an outside team would run them, ready; fed in these ways."""
    demo = system.demo
    settings = {
        "issuer": demo["issuer"],
        "audience": demo["resources"][0]["identifier"],
        "nats": demo["nats"],
        "grpc": demo["grpc"]["token_issuer"],
        "ca": demo["ca"],
        **demo["validation_client"],
        "max_staleness": max_staleness,
    }
    each: list[Child] = []
    try:
        for kind in kinds:
            child = await Child.start("tests.benchmarks.guarding", {**settings, "feed": kind})
            each.append(child)
        await asyncio.gather(*(guard.ready() for guard in each))
        yield Guards(each)
    finally:
        await asyncio.gather(*(guard.stop() for guard in each))
