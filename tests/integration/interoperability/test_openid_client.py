"""openid-client and jose, libraries for Node that we did not write, against the running system.

What they do is in `node/`, as a developer would write it; here are the people with their browsers, and Brian.
"""

import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from infra.local.sign_in import Visitor
from infra.local.system import System
from tests.support import node
from tests.support.command import stagedoor
from tests.support.receiver import receiving
from tests.support.work import eventually

FREDDIE = ("freddie", "a-kind-of-magic-1986")
CALLBACK = "http://localhost:8498/callback"


async def test_an_application_with_a_secret(system: System) -> None:
    async with Visitor(*FREDDIE) as visitor:
        await node.run("secret", node.told(system), {"visit": node.Person(visitor).visit})


async def test_an_application_that_signs_pushes_and_is_told_of_logouts(system: System, tmp_path: Path) -> None:
    async with Visitor(*FREDDIE) as visitor, receiving() as receiver:

        async def register(jwks: dict[str, Any]) -> dict[str, Any]:
            file = tmp_path / "jwks.json"
            file.write_text(json.dumps(jwks))
            client_id = f"com.example/node-{secrets.token_hex(4)}"
            (registered,) = await stagedoor(
                *(system, "apps", "register", client_id, "--name", "Node", "--jwks", str(file)),
                *("--redirect-uri", CALLBACK, "--scope", "read", "--require-pushed-authorization-requests"),
                *("--grant", "authorization_code", "--grant", "refresh_token", "--grant", "client_credentials"),
                *("--id-token-signed-response-alg", "ES256", "--userinfo-signed-response-alg", "ES256"),
                *("--backchannel-logout-uri", receiver.uri),
            )
            assert registered["id_token_signed_response_alg"] == "ES256"
            return registered

        async def logout(_: None) -> str:
            await eventually(lambda: len(receiver.tokens) == 1)
            return receiver.tokens[0]

        answers: node.Answers = {"visit": node.Person(visitor).visit, "register": register, "logout": logout}
        await node.run("signing", node.told(system), answers)


async def test_applications_without_a_person_and_without_a_secret(system: System) -> None:
    async with Visitor(*FREDDIE) as visitor:
        await node.run("public", node.told(system), {"visit": node.Person(visitor).visit})


async def test_an_application_that_registers_itself(system: System) -> None:
    async with Visitor(*FREDDIE) as visitor:
        await node.run("registering", node.told(system), {"visit": node.Person(visitor).visit})


async def test_applications_whose_tokens_are_bound_to_a_key(system: System) -> None:
    async with Visitor(*FREDDIE) as visitor:
        await node.run("bound", node.told(system), {"visit": node.Person(visitor).visit})


async def test_an_application_that_is_held_to_the_fapi_2_security_profile(system: System, tmp_path: Path) -> None:
    async with Visitor(*FREDDIE) as visitor:

        async def register(jwks: dict[str, Any]) -> dict[str, Any]:
            file = tmp_path / "jwks.json"
            file.write_text(json.dumps(jwks))
            client_id = f"com.example/node-{secrets.token_hex(4)}"
            (registered,) = await stagedoor(
                *(system, "apps", "register", client_id, "--name", "Node", "--security-profile", "fapi2"),
                *("--jwks", str(file), "--redirect-uri", "https://node.example/callback", "--scope", "read"),
                *("--grant", "authorization_code", "--grant", "refresh_token", "--grant", "client_credentials"),
            )
            assert registered["security_profile"] == "fapi2"
            assert registered["require_pushed_authorization_requests"]
            assert registered["dpop_bound_access_tokens"]
            assert registered["id_token_signed_response_alg"] == "ES256"
            return registered

        await node.run("profiled", node.told(system), {"visit": node.Person(visitor).visit, "register": register})


async def test_what_a_program_finds_wrong_is_told(system: System) -> None:
    with pytest.raises(AssertionError, match="issuer"):
        await node.run("secret", {**node.told(system), "issuer": f"{system.ports.issuer}/"}, {})


def test_the_lock_names_no_place_to_fetch_from() -> None:
    lock = (node.PROGRAMS / "package-lock.json").read_text()
    packages = json.loads(lock)["packages"]
    assert "resolved" not in lock
    assert all(one["integrity"].startswith("sha512-") for name, one in packages.items() if name)
