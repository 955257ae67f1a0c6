"""An issuer whose clock is an hour ahead: `iat` is the log's time, and the log's time says what has expired."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from infra.local.demo_data import BACKSTAGEHUB
from infra.local.ports import Ports
from infra.local.process import until
from infra.local.system import System
from tests.support.ports import free_ports
from tests.support.replicas import Replicas, claims

pytestmark = pytest.mark.timeout(240)
AHEAD_SECONDS = 3700
"""A token that lives for an hour would have ended by this clock when it is issued."""
FREDDIE = ("freddie", "a-kind-of-magic-1986")
SCOPE = "openid offline_access read update"
TRUE, AHEAD = 0, 1
"""The replicas: of the issuer, and of an identity service that calls it."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ahead(system: System) -> AsyncIterator[Ports]:
    own = free_ports()
    names = await asyncio.gather(
        system.add_replica("token_issuer", own, ("tests.support.clock_ahead", str(AHEAD_SECONDS))),
        system.add_replica("identity", own),
    )
    yield own
    await asyncio.gather(*(system.stop_part(name) for name in names))


@pytest.fixture
async def replicas(system: System, ahead: Ports) -> AsyncIterator[Replicas]:
    made = Replicas(system, [system.ports, ahead])
    yield made
    await made.close()


def is_now(seconds: int) -> bool:
    return abs(seconds - time.time()) < 60


async def code(replicas: Replicas, *, begun: int, ended: int) -> tuple[str, str]:
    """A code, and its verifier: the request is judged by one issuer, and the grant opened by one."""
    flow = replicas.flow(BACKSTAGEHUB, SCOPE)
    async with replicas.visitor(*FREDDIE) as freddie:
        door = freddie.browser._transport
        door.at["identity"] = begun  # type: ignore[attr-defined]
        first = await freddie.browser.get(flow.address)
        door.at["identity"] = ended  # type: ignore[attr-defined]
        address = str(first.headers["location"])
        return flow.code(await freddie.go(address, until=flow.redirect_uri)), flow.verifier


# The first one has to be the first: it is about an issuer that nobody has asked anything yet.
async def test_the_first_requests_to_it_are_judged_by_the_true_time(replicas: Replicas) -> None:
    issued = await replicas.token(BACKSTAGEHUB, TRUE, grant_type="client_credentials", scope="read")
    assert (await replicas.validate(AHEAD, issued.json()["access_token"])).allowed
    given, _ = await code(replicas, begun=TRUE, ended=AHEAD)
    assert given


async def test_what_it_issues_says_the_true_time_and_is_accepted(replicas: Replicas) -> None:
    issued = await replicas.token(BACKSTAGEHUB, AHEAD, grant_type="client_credentials", scope="read")
    assert issued.status_code == 200, issued.text
    token, told = issued.json()["access_token"], issued.json()["expires_in"]
    said = claims(token)
    assert is_now(said["iat"])
    assert is_now(said["nbf"])
    assert said["exp"] - said["iat"] == told == 3600

    async def accepted() -> bool:
        return (await replicas.api("GET", "/tours", TRUE, token)).status_code == 200

    assert await until(accepted, 30)
    for replica in (TRUE, AHEAD):
        assert (await replicas.validate(replica, token)).allowed
        assert (await replicas.introspect(BACKSTAGEHUB, replica, token)).json()["active"]


@pytest.mark.parametrize(("issuing", "redeeming"), [(TRUE, AHEAD), (AHEAD, TRUE), (AHEAD, AHEAD)])
async def test_codes_and_refresh_tokens_live_by_the_true_time(replicas: Replicas, issuing: int, redeeming: int) -> None:
    given, verifier = await code(replicas, begun=TRUE, ended=issuing)
    redeemed = await replicas.token(
        BACKSTAGEHUB,
        redeeming,
        grant_type="authorization_code",
        code=given,
        redirect_uri=replicas.application(BACKSTAGEHUB)["redirect_uris"][0],
        code_verifier=verifier,
    )
    assert redeemed.status_code == 200, redeemed.text
    assert is_now(claims(redeemed.json()["id_token"])["iat"])
    first = redeemed.json()["refresh_token"]
    answers = [
        await replicas.token(BACKSTAGEHUB, replica, grant_type="refresh_token", refresh_token=first)
        for replica in (redeeming, issuing)
    ]
    assert [answer.status_code for answer in answers] == [200, 200], answers[-1].text
    assert claims(answers[0].json()["access_token"]) == claims(answers[1].json()["access_token"]), "within the grace"
    assert is_now(claims(answers[0].json()["access_token"])["iat"])


async def test_what_it_revokes_is_refused_for_as_long_as_it_would_live(replicas: Replicas, system: System) -> None:
    issued = await replicas.token(BACKSTAGEHUB, TRUE, grant_type="client_credentials", scope="read")
    token = issued.json()["access_token"]
    assert (await replicas.revoke(BACKSTAGEHUB, AHEAD, token)).headers["stagedoor-position"]

    async def refused() -> bool:
        return (await replicas.api("GET", "/tours", TRUE, token)).status_code == 401

    assert await until(refused, 30)
