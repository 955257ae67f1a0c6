"""Whether the whole system is ready: asks every service, and answers for all of them.

    python -m infra.local.readiness [<host>:]<port> <service>=[<host>:]<port> ...

The front door sends its `/readyz` here; a host that is not named is this one's loopback address. On Kubernetes there is
no such process: an ingress leaves out the pods whose own `/readyz` says no.
"""

import asyncio
import contextlib
import json
import sys

from infra.local.ports import LOOPBACK

_SECONDS = 2.0
_REQUEST = b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
_LONGEST = 64 * 1024


async def _ask(where: tuple[str, int]) -> tuple[bool, object]:
    """Whether a service is ready, and what it says about itself."""
    writer = None
    try:
        async with asyncio.timeout(_SECONDS):
            reader, writer = await asyncio.open_connection(*where)
            writer.write(_REQUEST)
            answer = await reader.read(_LONGEST)
            while more := await reader.read(_LONGEST):
                answer += more
                if len(answer) > _LONGEST:
                    return False, "answers too much"
    except (OSError, TimeoutError):
        return False, "does not answer"
    finally:
        if writer is not None:
            writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    return status == [b"200"], said


class _Answering:
    """The server's one page."""

    def __init__(self, services: dict[str, tuple[str, int]]) -> None:
        self._services = services

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(2 * _SECONDS):
                await reader.readuntil(b"\r\n\r\n")
                answers = await asyncio.gather(*map(_ask, self._services.values()))
                ready = all(one for one, _ in answers)
                body = json.dumps(
                    {
                        "ready": ready,
                        "services": {
                            name: {"ready": one, "says": said}
                            for name, (one, said) in zip(self._services, answers, strict=True)
                        },
                    }
                ).encode()
                status = b"200 OK" if ready else b"503 Service Unavailable"
                writer.write(
                    b"HTTP/1.1 " + status + b"\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n"
                    b"Connection: close\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body
                )
                await writer.drain()
        writer.close()


async def _serve(host: str, port: int, services: dict[str, tuple[str, int]]) -> None:
    server = await asyncio.start_server(_Answering(services), host, port, limit=_LONGEST)
    async with server:
        await server.serve_forever()


def main() -> None:
    """Serve until told to stop."""
    bind, *services = sys.argv[1:]
    named = {name: _address(where) for name, _, where in (entry.partition("=") for entry in services)}
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(*_address(bind), named))


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host or LOOPBACK, int(port)


if __name__ == "__main__":
    main()
