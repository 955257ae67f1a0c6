"""Tokens that bring their key along, point to one, or ask for special treatment (RFC 8725 section 3.10)."""

import asyncio

import pytest

from stagedoor.verdict import Denied, Reason
from tests.support.attacking import reason
from tests.support.doors import REFUSED, Doors, parts
from tests.support.sdk_tokens import SigningKey, claims, guard


def test_a_key_in_the_header_is_not_used(key: SigningKey) -> None:
    thief = SigningKey("thief")
    for extra in (
        {"jwk": thief.jwk},
        {"jwk": thief.jwk, "kid": key.kid},
        {"jku": "https://evil.example/jwks"},
        {"x5u": "https://evil.example/chain"},
        {"x5c": ["MIIB"]},
    ):
        assert isinstance(guard(key).check(thief.sign(claims(), extra)), Denied)
        # Even the issuer's own signature does not make such a header acceptable.
        assert isinstance(guard(key).check(key.sign(claims(), extra)), Denied)


@pytest.mark.parametrize("extra", [{"crit": ["exp"]}, {"crit": []}, {"b64": False, "crit": ["b64"]}, {"zip": "DEF"}])
def test_critical_extensions_are_refused(key: SigningKey, extra: dict[str, object]) -> None:
    assert reason(guard(key).check(key.sign(claims(), extra))) is Reason.MALFORMED


async def test_nothing_that_a_header_points_to_is_fetched_or_used(doors: Doors, rsa_key: SigningKey) -> None:
    visits: list[str] = []

    async def visited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.append((await reader.readline()).decode())
        writer.close()

    server = await asyncio.start_server(visited, "127.0.0.1", 0)
    place = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        for token in (*doors.honest.access_tokens, doors.honest.id_token):
            header, said, _ = parts(token)
            for extra in (
                {"jku": f"{place}/jwks"},
                {"x5u": f"{place}/chain"},
                {"x5c": ["MIIB"]},
                {"jwk": rsa_key.jwk},
                {"kid": f"{place}/jwks"},
                {"crit": ["exp"]},
                {"crit": ["b64"], "b64": False},
                {"zip": "DEF"},
            ):
                for changed in (extra, {"kid": header["kid"], **extra}):
                    forged = rsa_key.sign(said, {"typ": header["typ"], **changed})
                    assert await doors.answers(forged) == REFUSED
    assert visits == []
