"""Keys and passwords in the core dump of a service that was made to crash (CWE-528), or read out by a neighbour."""

import asyncio
import sys

_MAIN = """
import ctypes, resource, sys
from shared.http.serve import run

async def main():
    dumpable = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) if sys.platform == "linux" else 0
    print(dumpable, *resource.getrlimit(resource.RLIMIT_CORE))

run(main())
"""
"""3 is `PR_GET_DUMPABLE` (prctl(2))."""


async def test_a_service_leaves_none() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _MAIN, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        told, complaints = await process.communicate()
    assert told.split() == [b"0", b"0", b"0"], complaints
