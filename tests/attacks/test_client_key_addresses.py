"""Having the issuer fetch from where an application says (SSRF): inside this network, elsewhere, or without an end."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from services.token_issuer.assertions.keys import ClientKeys, keys_of
from shared.http.outgoing import Outgoing, Reach
from tests.support.assertions import ClientKey, signing_client
from tests.support.issuing import Stage, error
from tests.support.sdk_tokens import number_b64
from tests.support.web import Web, web

OWN = {"grant_type": "client_credentials"}
Fetching = Callable[..., None]


@pytest.fixture
async def keys() -> AsyncIterator[Web]:
    """An address with a good key."""
    async with web() as running:
        running.answer(200, json.dumps({"keys": [ClientKey().jwk]}).encode())
        yield running


@pytest.fixture
async def fetching(stage: Stage) -> AsyncIterator[Fetching]:
    """Have the issuer fetch by these rules."""
    made: list[Outgoing] = []

    def by(*, demo: bool = False, seconds: float = 1.0) -> None:
        made.append(Outgoing(Reach(loopback=demo), at_once=4, seconds=seconds))
        object.__setattr__(stage.issuer, "client_keys", ClientKeys(made[-1], demo=demo))

    yield by
    for outgoing in made:
        await outgoing.close()


async def test_nothing_on_this_machine_is_asked_outside_demo_mode(stage: Stage, keys: Web, fetching: Fetching) -> None:
    """Also of an application that was registered when it still was demo mode."""
    fetching()
    port = keys.uri.split(":")[2]
    for number, uri in enumerate(
        (
            keys.uri,
            f"https://127.0.0.1:{port}",
            f"https://localhost:{port}",
            f"https://[::1]:{port}",
            f"https://[::ffff:127.0.0.1]:{port}",
            f"https://127.1:{port}",
            f"https://2130706433:{port}",
        )
    ):
        client = await signing_client(stage, client_id=f"com.example/{number}", resources=number == 0, jwks_uri=uri)
        assert error(await stage.token(client, **OWN)) == "invalid_client", uri
    assert keys.asked == 0


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "172.16.3.4",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104  (it is asked for, not bound)
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "fe80::1",
        "fd00::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
    ],
)
def test_no_address_of_a_network_like_this_is_reached(address: str) -> None:
    assert not Reach().admits(address)
    assert not Reach(loopback=True).admits(address)


async def test_redirects_are_not_followed(stage: Stage, keys: Web, fetching: Fetching) -> None:
    fetching(demo=True)
    async with web() as elsewhere:
        elsewhere.answer(302, b"", b"Location: %b\r\n" % keys.uri.encode())
        client = await signing_client(stage, jwks_uri=elsewhere.uri)
        assert error(await stage.token(client, **OWN)) == "invalid_client"
        assert (elsewhere.asked, keys.asked) == (1, 0)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"keys": {}}',
        b'{"keys": [1]}',
        b"\xff\xfe",
        b"[" * 50_000,
        b'{"keys": [], "more": "' + b"x" * (70 * 1024) + b'"}',
        json.dumps({"keys": [ClientKey(kid=str(number)).jwk for number in range(11)]}).encode(),
        json.dumps({"keys": [{**ClientKey().jwk, "d": "AA"}]}).encode(),
        json.dumps({"keys": [{"kty": "oct", "kid": "one", "k": "AAAA"}]}).encode(),
        json.dumps({"keys": [{**ClientKey().jwk, "use": "enc"}]}).encode(),
        json.dumps({"keys": [{**ClientKey().jwk, "x": "AA"}]}).encode(),
        json.dumps({"keys": [{**ClientKey().jwk, "crv": ["P-256"]}]}).encode(),
        json.dumps({"keys": [{**ClientKey().jwk, "crv": {}}]}).encode(),
        json.dumps({"keys": [{**ClientKey().jwk, "alg": ["ES256"]}]}).encode(),
        json.dumps({"keys": [{**ClientKey().jwk, "alg": {}}]}).encode(),
    ],
    ids=lambda body: body[:20].decode("latin-1"),
)
async def test_what_is_no_set_of_public_keys_has_no_keys(
    stage: Stage, keys: Web, fetching: Fetching, body: bytes
) -> None:
    fetching(demo=True)
    keys.answer(200, body)
    client = await signing_client(stage, jwks_uri=keys.uri)
    assert error(await stage.token(client, **OWN)) == "invalid_client"
    assert keys.asked == 1


def test_a_key_that_takes_long_to_check_with_is_none() -> None:
    """An exponent as long as the modulus has a check take a hundred times as long; each of ten keys may be tried."""
    modulus = rsa.generate_private_key(65537, 3072).public_key().public_numbers().n
    for exponent, usable in ((65537, 1), (2**32 + 1, 0), (2**63 + 1, 0), (2**3070 + 1, 0)):
        jwk = {"kty": "RSA", "kid": "one", "n": number_b64(modulus), "e": number_b64(exponent)}
        assert len(keys_of(json.dumps({"keys": [jwk]}).encode())) == usable


async def test_an_address_that_hangs_holds_up_itself_alone(stage: Stage, keys: Web, fetching: Fetching) -> None:
    fetching(demo=True, seconds=2.0)
    keys.free.clear()
    slow = await signing_client(stage, client_id="com.slow/app", jwks_uri=keys.uri)
    hub = await signing_client(stage, resources=False)
    waiting = [asyncio.create_task(stage.token(slow, **OWN)) for _ in range(30)]
    assert (await stage.token(hub, **OWN)).status_code == 200
    assert {error(answer) for answer in await asyncio.gather(*waiting)} == {"invalid_client"}
    assert keys.asked == 1
