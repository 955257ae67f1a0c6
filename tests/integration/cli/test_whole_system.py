"""The command against the whole system: signing in, and what the other services do for it."""

import asyncio
import json
import re
import shlex
import stat
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc.jwk import RSAKey

from infra.local.services import python_environment
from infra.local.sign_in import Visitor
from infra.local.system import System
from services.cli import profile
from shared.ids import new_id
from tests.support.work import eventually

AUDITOR = ("auditor", "under-pressure-1981")


@dataclass
class Command:
    """The command with a profile."""

    system: System
    profile: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            **python_environment(),
            "STAGEDOOR_HOME": str(self.system.home.path),
            "STAGEDOOR_PORT_BASE": str(self.system.ports.base),
            "STAGEDOOR_PROFILE": str(self.profile),
            "BROWSER": "",
            "DISPLAY": "",
            "WAYLAND_DISPLAY": "",
        }

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.cli.main", *arguments),
            env=self.environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def __call__(self, *arguments: str, given: str = "") -> tuple[int | None, str, str]:
        """Status, output, and what it says beside it."""
        process = await self.start(*arguments)
        async with asyncio.timeout(60):
            out, err = await process.communicate(given.encode())
        return process.returncode, out.decode(), err.decode()

    async def json(self, *arguments: str, given: str = "") -> Any:
        """The one document that it prints."""
        status, out, err = await self(*arguments, "--json", given=given)
        assert status == 0, err
        return json.loads(out)


@pytest.fixture
def brian(system: System) -> Command:
    """With the profile that the system left for Brian."""
    return Command(system, system.home.path / "profile.toml")


@pytest.fixture
def newcomer(system: System, tmp_path: Path) -> Command:
    """Without a profile."""
    return Command(system, tmp_path / "profile.toml")


async def _login(newcomer: Command, name: str, password: str) -> tuple[int | None, str]:
    """`stagedoor login`, with a browser that has no window; what it prints."""
    process = await newcomer.start("login", "--json")
    assert process.stderr is not None
    async with asyncio.timeout(60), Visitor(name, password) as person:
        address = ""
        while "/connect/authorize?" not in address:
            line = await process.stderr.readline()
            assert line, "it ended without showing an address"
            address = line.decode().strip()
        page = await person.browser.get(await person.go(address))
        assert page.status_code == 200
        out, _ = await process.communicate()
    return process.returncode, out.decode()


async def test_signing_in_with_the_browser(newcomer: Command) -> None:
    status, out = await _login(newcomer, *AUDITOR)
    assert status == 0
    assert json.loads(out)["issuer"] == newcomer.system.ports.issuer
    assert stat.S_IMODE(newcomer.profile.stat().st_mode) == 0o600
    assert profile.read(newcomer.profile).refresh_token

    status, out, _ = await newcomer("audit", "replay", "--limit", "3", "--json")
    assert status == 0
    assert [json.loads(line)["position"] for line in out.splitlines()] == [1, 2, 3]
    status, out, err = await newcomer("apps", "disable", "com.backstagehub/app")
    assert (status, out, err.count("\n")) == (1, "", 1)


async def test_signing_in_with_a_browser_elsewhere(newcomer: Command) -> None:
    process = await newcomer.start("login", "--device", "--json")
    assert process.stderr is not None
    async with asyncio.timeout(90), Visitor(*AUDITOR) as person:
        said = ""
        while "user_code=" not in said:
            line = await process.stderr.readline()
            assert line, "it ended without showing an address"
            said += line.decode()
        page, code, address = re.findall(r"^  (\S+)$", said, re.MULTILINE)
        assert (page, address) == (f"{newcomer.system.ports.issuer}/device", f"{page}?user_code={code}")
        await person.let_in(address)
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert json.loads(out)["issuer"] == newcomer.system.ports.issuer
    assert stat.S_IMODE(newcomer.profile.stat().st_mode) == 0o600
    assert profile.read(newcomer.profile).refresh_token
    assert (await newcomer("audit", "replay", "--limit", "1"))[0] == 0


async def test_a_token_that_ends_is_refreshed_on_the_way(newcomer: Command) -> None:
    await _login(newcomer, *AUDITOR)
    before = profile.read(newcomer.profile)
    profile.write(newcomer.profile, before.model_copy(update={"expires_at": 0}))
    ended = await asyncio.gather(*(newcomer("audit", "replay", "--limit", "1") for _ in range(2)))
    assert [status for status, _, _ in ended] == [0, 0]
    after = profile.read(newcomer.profile)
    assert after.refresh_token != before.refresh_token
    assert (await newcomer("audit", "replay", "--limit", "1"))[0] == 0


async def test_the_life_of_a_user(brian: Command) -> None:
    name = f"john-{new_id()[:6].lower().strip('-_')}x"
    added = await brian.json("users", "add", name, "--given-name", "John", given="deacon-bass-1951\n")
    assert added["position"] > 0
    shown = await brian.json("users", "show", name)
    assert (shown["sub"], shown["given_name"], shown["roles"]) == (added["sub"], "John", [])
    assert await brian.json("users", "show", "--sub", added["sub"]) == shown
    changed = await brian.json("users", "change", name, "--role", "auditor", "--family-name", "Deacon")
    assert (changed["roles"], changed["family_name"], changed["given_name"]) == (["auditor"], "Deacon", "John")
    reached = ("--phone", "+442079460958", "--phone-verified", "--address", "1 Logan Place", "--country", "GB")
    changed = await brian.json("users", "change", name, *reached)
    assert (changed["phone_number"], changed["phone_number_verified"]) == ("+442079460958", True)
    assert (changed["street_address"], changed["country"], changed["given_name"]) == ("1 Logan Place", "GB", "John")
    await brian.json("users", "disable", name, "--reason", "on leave")
    assert (await brian.json("users", "show", name))["enabled"] is False
    await brian.json("users", "enable", name)
    await brian.json("users", "set-password", name, given="another-one-bites-1980\n")
    assert shown["second_factors"] == []
    status, _, said = await brian("users", "reset-second-factor", name)
    assert (status, "no_second_factor" in said) == (1, True)
    assert name in [one["user_name"] for one in await brian.json("users", "list")]
    status, out, said = await brian("users", "erase", name, given="n\n")
    assert (status, out.strip(), f"Erase {name} for ever?" in said) == (1, "", True)
    status, out, _ = await brian("users", "erase", name, given="y\n")
    assert (status, out.strip().startswith(f"{name} is erased, sub {added['sub']} (position ")) == (0, True)


async def test_tokens_are_listed_and_taken_back(brian: Command, newcomer: Command) -> None:
    await _login(newcomer, *AUDITOR)
    listed = await brian.json("tokens", "list", "--client", "com.stagedoor/cli")
    assert {one["state"] for one in listed} >= {"open"}
    kept = profile.read(newcomer.profile)
    revoked = await brian.json("tokens", "revoke", given=f"{kept.refresh_token}\n")
    assert revoked["position"] > 0

    async def refused() -> bool:
        status, _, err = await newcomer("audit", "replay", "--limit", "1")
        assert status == 0 or "stagedoor login" in err
        return status == 1

    await eventually(refused, 30)


async def test_what_is_no_token_cannot_be_taken_back(brian: Command) -> None:
    status, out, err = await brian("tokens", "revoke", given="rubbish\n")
    assert (status, out) == (1, "")
    assert "no such token" in err


async def test_verdicts(brian: Command) -> None:
    token = profile.read(brian.profile).access_token
    management = f"{brian.system.ports.origin}/management"
    verdict = await brian.json("tokens", "validate", "--audience", management, "--scope", "sec", given=f"{token}\n")
    assert verdict["allowed"] is True
    assert verdict["claims"]["client_id"] == "com.stagedoor/cli"
    status, out, err = await brian("tokens", "validate", "--audience", management, "--json", given="garbage\n")
    assert (status, json.loads(out)["allowed"]) == (1, False)
    assert "malformed" in err


async def test_the_keys_change_under_running_services(brian: Command) -> None:
    listed = await brian.json("keys", "list")
    active = {one["use"]: one["kid"] for one in listed if one["state"] == "active"}
    assert set(active) == {"access_token", "id_token", "id_token_es256"}
    (rotated,) = await brian.json("keys", "rotate", "--use", "access_token")
    assert rotated["kid"] in [one["kid"] for one in await brian.json("keys", "list") if one["state"] == "pending"]

    token = profile.read(brian.profile).access_token
    assert (await brian.json("keys", "compromise", active["access_token"], "--yes"))["position"] > rotated["position"]
    # The token that did it was signed by that key, so the next command begins with another one.
    states = {one["kid"]: one["state"] for one in await brian.json("keys", "list")}
    assert (states[active["access_token"]], states[rotated["kid"]]) == ("compromised", "pending")
    assert profile.read(brian.profile).access_token != token
    management = f"{brian.system.ports.origin}/management"
    status, _, err = await brian("tokens", "validate", "--audience", management, given=f"{token}\n")
    assert status == 1
    assert "denied_key" in err or "unknown_key" in err

    async def accepted() -> bool:
        # Services fetch the key that signed it within a second or two, as they do not ask at each unknown one.
        for asked in (("apps", "list"), ("users", "list"), ("audit", "replay", "--limit", "1")):
            status, _, err = await brian(*asked)
            assert status == 0 or "unknown_key" in err
            if status != 0:
                return False
        return True

    await eventually(accepted, 30)

    status, _, err = await brian("keys", "compromise", "no-such-key", "--yes")
    assert (status, err.count("\n")) == (1, 1)
    assert "key_not_found" in err
    assert (await brian("keys", "rotate", "--use", "both"))[0] == 2
    assert (await brian("keys", "compromise", rotated["kid"]))[0] == 1


async def test_the_log_is_followed_live(brian: Command) -> None:
    process = await brian.start("audit", "tail", "--last", "0", "--type", "registry.ApplicationDisabled", "--json")
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            seen = asyncio.create_task(process.stdout.readline())
            while not seen.done():
                await brian.json("apps", "disable", "com.merchsync/service")
                await brian.json("apps", "enable", "com.merchsync/service")
                await asyncio.wait([seen], timeout=0.2)
        assert json.loads(await seen)["data"]["client_id"] == "com.merchsync/service"
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.communicate()


async def test_bootstrap_is_over(newcomer: Command) -> None:
    secret = (newcomer.system.home.path / "secrets" / "deploy").read_text().strip()
    status, out, err = await newcomer("bootstrap", "mallory", given=f"{secret}\nsome-password-1234\n")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert secret not in err


async def test_the_life_of_a_reference_token(brian: Command) -> None:
    hub = "com.backstagehub/app"
    made = await brian.json("tokens", "issue-reference", hub, "--label", "nightly sync", "--scope", "read")
    assert made["token"].startswith("stagedoor_pat_")
    verdict = await brian.json("tokens", "validate", "--scope", "read", given=f"{made['token']}\n")
    assert (verdict["claims"]["jti"], verdict["claims"]["reference"]) == (made["jti"], "pat")
    listed = {one["jti"]: one for one in await brian.json("tokens", "list", "--references", "--client", hub)}
    assert (listed[made["jti"]]["label"], listed[made["jti"]]["state"]) == ("nightly sync", "active")
    assert not any("token" in one for one in listed.values())

    service = await brian.json("tokens", "issue-reference", hub, "--label", "sync", "--kind", "sat", "--days", "366")
    assert service["scopes"] == ["read", "update"]
    leaked = await brian.json("tokens", "report-leaked", given=f"{service['token']}\n")
    assert await brian.json("tokens", "report-leaked", given=f"{service['token']}\n") == leaked
    await brian.json("tokens", "revoke", "--jti", made["jti"])
    for one in (made, service):
        status, out, _ = await brian("tokens", "validate", "--json", given=f"{one['token']}\n")
        assert (status, json.loads(out)["reason"]) == (1, "denied_token")


async def test_reference_tokens_that_may_not_be(brian: Command) -> None:
    for arguments, code in (
        (("com.setlist/app", "--label", "x"), "reference_tokens_not_allowed"),
        (("com.backstagehub/app", "--label", ""), "invalid_label"),
        (("com.backstagehub/app", "--label", "x", "--scope", "sec"), "invalid_scope"),
        (("com.nobody/app", "--label", "x"), "application_not_found"),
    ):
        status, out, err = await brian("tokens", "issue-reference", *arguments)
        assert (status, out) == (1, "")
        assert f"({code})" in err
    assert (await brian("tokens", "issue-reference", "com.backstagehub/app", "--label", "x", "--days", "367"))[0] == 2
    status, _, err = await brian("tokens", "report-leaked", given="rubbish\n")
    assert (status, "(malformed)" in err) == (1, True)


async def test_an_application_that_signs(brian: Command, tmp_path: Path) -> None:
    """Registered by the command, and then asking with a library that knows nothing of us."""
    private = RSAKey.generate_key(2048, {"kid": "one"})
    keys, wrong = tmp_path / "jwks.json", tmp_path / "private.json"
    keys.write_text(json.dumps({"keys": [private.as_dict(private=False)]}))
    wrong.write_text(json.dumps({"keys": [private.as_dict(private=True)]}))
    client_id = f"com.signing/{uuid4().hex}"
    register = ("apps", "register", client_id, "--name", "Signs", "--grant", "client_credentials", "--scope", "read")
    status, _, err = await brian(*register, "--jwks", str(wrong))
    assert (status, "not public" in err) == (1, True)
    assert "Traceback" not in err
    found = await brian.json(*register, "--jwks", str(keys))
    assert found["auth_method"] == "private_key_jwt"
    assert "client_secret" not in found
    assert found["secrets"] == []
    assert json.loads(found["jwks"])["keys"][0]["kid"] == "one"
    status, _, err = await brian("apps", "rotate-secret", client_id)
    assert (status, "no_secrets" in err) == (1, True)

    endpoint = f"{brian.system.ports.issuer}/connect/token"
    async with AsyncOAuth2Client(
        client_id, private.as_pem(private=True).decode(), token_endpoint_auth_method="private_key_jwt", trust_env=False
    ) as client:
        client.register_client_auth_method(PrivateKeyJWT(endpoint))
        token = await client.fetch_token(endpoint, grant_type="client_credentials")
        assert token["scope"] == "read"
        answer = await client.get(f"{brian.system.ports.origin}/api/tours")
        assert answer.status_code == 200
    moved = await brian.json("apps", "change", client_id, "--clear", "jwks", "--jwks-uri", "http://localhost:8480/keys")
    assert (moved["jwks"], moved["jwks_uri"]) == ("", "http://localhost:8480/keys")
    pushing = await brian.json("apps", "change", client_id, "--require-pushed-authorization-requests")
    assert pushing["require_pushed_authorization_requests"] is True


async def test_an_application_of_ones_own_is_registered_as_backstagehub_says(brian: Command) -> None:
    """By the command of its README, with another name; what BackstageHub asks people for is among what it may have."""
    readme = Path(__file__).parents[3] / "sdk" / "examples" / "backstagehub" / "README.md"
    (shown,) = re.findall(r"```\n(stagedoor apps register .*?)```", readme.read_text(), re.DOTALL)
    client_id = f"com.example/{uuid4().hex}"
    program, *arguments = shlex.split(shown.replace("\\\n", "").replace("com.example/app", client_id))
    assert program == "stagedoor"
    told = await brian.json(*arguments)
    assert told["client_id"] == client_id
    assert {"authorization_code", "refresh_token"} <= set(told["grants"])
    assert {"read", "update"} <= set(told["scopes"])
