"""What a client says about itself in the words of a proxy (RFC 9700 section 4.13)."""

import asyncio
from base64 import b64encode

import httpx

from shared.http.attempts import USUAL
from shared.ids import new_id
from tests.support.doors import Doors


async def test_another_address_for_each_guess(doors: Doors) -> None:
    """The front door says where a request comes from; what came with it is dropped."""
    pair = b64encode(f"com.guess%2F{new_id().lower()}:guess".encode()).decode()

    async def guess(number: int) -> httpx.Response:
        forged = {
            "X-Forwarded-For": f"198.51.100.{number}",
            "Forwarded": f"for=198.51.100.{number}",
            "X-Real-IP": f"198.51.100.{number}",
        }
        return await doors.http.post(
            f"{doors.issuer}/connect/token",
            data={"grant_type": "client_credentials"},
            headers={"Authorization": f"Basic {pair}", **forged},
        )

    # Side by side, as failures are forgotten with time.
    answers = await asyncio.gather(*(guess(number) for number in range(USUAL.subject.burst + 60)))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.status_code for answer in answers} == {401, 429}
    assert len(answers) - len(refused) >= USUAL.subject.burst
    for answer in refused:
        assert answer.json()["error"] == "temporarily_unavailable"
        assert int(answer.headers["retry-after"]) >= 1
    # Others at the same address are not in the way.
    assert await doors.introspection(doors.honest.access_token) == "active"


async def test_another_host_or_person(doors: Doors) -> None:
    forged = {
        "X-Forwarded-Host": "mallory.example",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Prefix": "/evil",
        "X-Original-URL": "/api/tours",
        "X-Forwarded-User": "brian",
        "X-Remote-User": "brian",
        "X-Forwarded-Client-Cert": 'URI="spiffe://stagedoor/operator"',
        "X-Ssl-Client-Verify": "SUCCESS",
    }
    for address in (f"{doors.issuer}/signin", doors.flow("openid").address, f"{doors.issuer}/account"):
        answer = await doors.http.get(address, headers=forged, follow_redirects=True)
        assert "mallory" not in answer.text + str(answer.headers)
        assert str(answer.url).startswith(f"{doors.issuer}/signin")
    assert (await doors.http.get(f"{doors.origin}/api/tours", headers=forged)).status_code == 401
