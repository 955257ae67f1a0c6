"""What a client says about itself in the words of a proxy (RFC 9700 section 4.13)."""

from base64 import b64encode

from shared.http.attempts import USUAL
from shared.ids import new_id
from tests.support.doors import Doors


async def test_another_address_for_each_guess(doors: Doors) -> None:
    """The front door says where a request comes from; what came with it is dropped."""
    pair = b64encode(f"com.guess%2F{new_id().lower()}:guess".encode()).decode()
    statuses = []
    for number in range(USUAL.subject.burst + 60):
        forged = {
            "X-Forwarded-For": f"198.51.100.{number}",
            "Forwarded": f"for=198.51.100.{number}",
            "X-Real-IP": f"198.51.100.{number}",
        }
        answer = await doors.http.post(
            f"{doors.issuer}/connect/token",
            data={"grant_type": "client_credentials"},
            headers={"Authorization": f"Basic {pair}", **forged},
        )
        statuses.append(answer.status_code)
        if answer.status_code == 429:
            assert answer.json()["error"] == "temporarily_unavailable"
            assert int(answer.headers["retry-after"]) >= 1
            break
    assert statuses[: USUAL.subject.burst] == [401] * USUAL.subject.burst
    assert statuses[-1] == 429
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
