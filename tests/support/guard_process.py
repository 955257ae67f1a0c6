"""A guard in a process of its own, fed over NATS or gRPC, so that it can be stopped in the middle of anything.

python -m tests.support.guard_process    reads its settings as JSON from the first line of its input, then tokens, one a
                                         line; says `ready`, then one reason (or `allowed`) for each
"""

import asyncio
import json
import sys

from grpc import aio

from stagedoor.feed import Feed
from stagedoor.grpc import GrpcFeed, credentials
from stagedoor.guard import Guard
from stagedoor.keys import StaticKeys, parse_jwk
from stagedoor.nats import NatsFeed
from stagedoor.verdict import Denied
from tests.support.sdk_tokens import AUDIENCE, ISSUER
from tests.support.work import eventually


async def main() -> None:
    """Judge until the input ends."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    settings = json.loads(await reader.readline())
    key = parse_jwk(settings["jwk"])
    assert key is not None
    if "nats" in settings:
        feed: Feed = NatsFeed(**settings["nats"], heartbeat_seconds=0.1)
    else:
        options = (("grpc.ssl_target_name_override", "token_issuer"),)
        shown = credentials(*(settings["shown"][name].encode() for name in ("ca", "certificate", "key")))
        feed = GrpcFeed(aio.secure_channel(settings["grpc"], shown, options=options), renew_seconds=0.3)
    guard = Guard(
        issuer=ISSUER,
        audience=AUDIENCE,
        keys=StaticKeys([key]),
        feed=feed,
        max_staleness=settings["max_staleness"],
    )
    async with guard:
        await eventually(guard.ready)
        print("ready", flush=True)
        while line := await reader.readline():
            verdict = guard.check(line.decode().strip())
            print(verdict.reason if isinstance(verdict, Denied) else "allowed", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
