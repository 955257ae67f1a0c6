"""Lines, colours and headers that a request tries to write into what others read (CWE-117, CWE-113)."""

import asyncio
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from infra.local.ports import SERVICES
from infra.local.process import until
from shared.ids import new_id
from tests.support.doors import Doors

EVIL = [
    '{0}\r\n{{"event":"{0}","level":"info"}}\r\n',
    '{0}\n{{"event":"{0}"}}',
    "{0}\u2028{0}\u2029{0}\u0085{0}",
    "{0}\x1b[2J\x1b]0;owned\x07",
    "{0}\x7f\x9b31m",
    "{0}\u202e{0}",
    '{0}","level":"critical","x":"',
]
"""For a mark that is looked for afterwards."""


async def send(doors: Doors, raw: bytes, port: int) -> bytes:
    """A request as no client library would send it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(raw)
    async with asyncio.timeout(15):
        answer = await reader.read()
    writer.close()
    return answer


def written(doors: Doors) -> list[tuple[str, Path, bytes]]:
    """Every line of every service."""
    logs = [(name, doors.system.home.logs / f"{name}.log") for name in SERVICES]
    return [(name, path, line) for name, path in logs for line in path.read_bytes().split(b"\n") if line]


async def test_whatever_is_sent_it_stays_inside_one_line(doors: Doors) -> None:
    mark = new_id()
    for evil in (text.format(mark) for text in EVIL):
        value = quote(evil)
        await doors.http.get(f"{doors.issuer}/connect/authorize?client_id={value}&state={value}&scope={value}")
        await doors.http.get(f"{doors.issuer}/connect/endsession?client_id={value}&state={value}")
        await doors.http.get(f"{doors.issuer}/{value}")
        await doors.http.get(f"{doors.origin}/api/tours/{value}")
        await doors.http.post(f"{doors.issuer}/signin", data={"user_name": evil, "password": evil})
        await doors.http.post(
            f"{doors.issuer}/connect/token", data={"grant_type": evil, "client_id": evil, "client_secret": evil}
        )
        await doors.http.post(f"{doors.issuer}/connect/introspect", data={"token": evil}, auth=doors.secret())
    for name in ("User-Agent", "Correlation-Id", "X-Forwarded-For", "Referer", "Origin", "Cookie"):
        for text in (evil.format(mark) for evil in EVIL[2:]):
            head = f"GET /id/signin HTTP/1.1\r\nHost: 127.0.0.1:{doors.system.ports.door}\r\nConnection: close\r\n"
            for port in (doors.system.ports.door, doors.system.ports.http("identity")):
                await send(doors, head.encode() + f"{name}: {text}\r\n\r\n".encode(), port)

    async def logged() -> bool:
        # The paths at the issuer's and the API's addresses are in their access logs.
        return any(mark.encode() in line for _, _, line in written(doors))

    assert await until(logged, 30)
    for name, path, line in written(doors):
        said = json.loads(line)
        assert said["service"] == name, path
        assert said["event"] != mark
        assert line.isascii()
        assert not any(byte < 0x20 or byte == 0x7F for byte in line), line


@pytest.mark.parametrize(
    "evil", ["x\r\nSet-Cookie: a=b", "x\r\n\r\n<script>", "x\nX-Injected: 1", "x\u0000", "\u010d\u010a"]
)
async def test_no_answer_has_a_header_that_a_request_wrote(doors: Doors, evil: str) -> None:
    """U+010D and U+010A end in the bytes of CR and LF, which a careless encoder would keep."""
    flow = doors.flow("openid", prompt="none")
    state = quote(evil)
    answers = [
        await doors.http.get(flow.address.replace(f"state={flow.state}", f"state={state}")),
        await doors.http.get(flow.address + f"&login_hint={state}&ui_locales={state}"),
        await doors.http.get(f"{doors.issuer}/connect/endsession?state={state}"),
        await doors.http.get(f"{doors.issuer}/signin?then={state}"),
        await doors.http.post(f"{doors.issuer}/connect/token", data={"grant_type": evil}, auth=doors.secret()),
        await doors.http.get(f"{doors.origin}/api/tours", headers={"Authorization": f"Bearer {state}"}),
    ]
    for answer in answers:
        assert answer.status_code < 500
        assert "x-injected" not in answer.headers
        assert "a=b" not in answer.headers.get("set-cookie", "")
        assert "<script>" not in answer.text
        assert answer.headers.get("location", "").isascii()
