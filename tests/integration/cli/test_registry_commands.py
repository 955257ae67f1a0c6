"""`stagedoor apps` and `stagedoor resources`, as processes, against the real registry."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from infra.local.services import python_environment
from services.cli import profile
from tests.support.documents import vendor
from tests.support.parties import Parties
from tests.support.registry import Running

DEMO = True
"""Documents are fetched from this machine."""
HUB = "com.backstagehub/app"
API = "http://127.0.0.1:8400/api"
REGISTER_HUB = (
    *("apps", "register", HUB, "--name", "BackstageHub", "--redirect-uri", "http://localhost:8480/callback"),
    *("--scope", "read update", "--grant", "authorization_code", "--grant", "refresh_token"),
)
REGISTER_API = (
    *("resources", "register", API, "--name", "Tours"),
    *("--scope", "read=see your tours", "--scope", "update=change your tours"),
)


@dataclass
class Ended:
    """What came of a command."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.status == 0, self.err
        return json.loads(self.out)


Command = Callable[..., Awaitable[Ended]]


@pytest.fixture
def stagedoor(registry: Running, parties: Parties, tmp_path: Path) -> Command:
    """The command, with a profile of somebody who is signed in."""
    operator = parties.authority.operator()
    path = tmp_path / "profile.toml"
    signed_in = profile.local(tmp_path, 8400).model_copy(
        update={
            "ca_file": parties.authority.certificate,
            "certificate_file": operator.certificate,
            "key_file": operator.key,
            "grpc": {"registry": f"127.0.0.1:{registry.server.port}"},
            "access_token": "administrator",
            "expires_at": 4_000_000_000,
        }
    )
    profile.write(path, signed_in)

    async def run(*arguments: str, token: str = "administrator", given: str = "") -> Ended:
        profile.write(path, signed_in.model_copy(update={"access_token": token}))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.cli.main", *arguments),
            env={**python_environment(), "STAGEDOOR_PROFILE": str(path)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate(given.encode())
        assert process.returncode is not None
        return Ended(process.returncode, out.decode(), err.decode())

    return run


async def test_the_life_of_an_application(stagedoor: Command) -> None:
    assert (await stagedoor(*REGISTER_API, "--json")).json["identifier"] == API
    registered = (await stagedoor(*REGISTER_HUB, "--json")).json
    assert registered["client_secret"].startswith("sds_")
    assert registered["position"] > 0

    shown = (await stagedoor("apps", "show", HUB, "--json")).json
    assert "client_secret" not in shown
    assert (shown["client_id"], shown["display_name"], shown["scopes"]) == (HUB, "BackstageHub", ["read", "update"])
    assert shown["enabled"] is True

    changed = (await stagedoor("apps", "change", HUB, "--scope", "read", "--contact", "x@y.example", "--json")).json
    assert (changed["scopes"], changed["contact"]) == (["read"], "x@y.example")
    assert changed["position"] > shown["position"]
    cleared = (await stagedoor("apps", "change", HUB, "--clear", "contact", "--json")).json
    assert (cleared["scopes"], cleared["contact"]) == (["read"], "")

    assert (await stagedoor("apps", "disable", HUB, "--reason", "leaked", "--json")).json["client_id"] == HUB
    assert (await stagedoor("apps", "show", HUB, "--json")).json["enabled"] is False
    await stagedoor("apps", "enable", HUB, "--json")
    listed = (await stagedoor("apps", "list", "--json")).json
    assert [(one["client_id"], one["enabled"]) for one in listed] == [
        (HUB, True),
        ("com.stagedoor/cli", True),
        ("com.stagedoor/install", True),
    ]

    assert (await stagedoor("apps", "uninstall", HUB, "--yes", "--json")).status == 0
    gone = await stagedoor("apps", "show", HUB, "--json")
    assert (gone.status, gone.out) == (1, "")
    assert gone.err == "stagedoor: there is no such application (application_not_found)\n"


async def test_secrets_rotate_without_a_gap(stagedoor: Command) -> None:
    await stagedoor(*REGISTER_API)
    first = (await stagedoor(*REGISTER_HUB, "--json")).json
    second = (await stagedoor("apps", "rotate-secret", HUB, "--expires-at", "2100-01-01", "--json")).json
    assert second["client_secret"] not in ("", first["client_secret"])
    secrets = (await stagedoor("apps", "show", HUB, "--json")).json["secrets"]
    assert [one["expires_at"] for one in secrets] == [None, "2100-01-01T00:00:00.000Z"]
    third = (await stagedoor("apps", "rotate-secret", HUB, "--revoke-others", "--json")).json
    assert set(third["revoked"]) == {one["secret_id"] for one in secrets}
    ended = await stagedoor("apps", "revoke-secret", HUB, third["secret_id"], "--compromised", "--json")
    assert ended.json["position"] > third["position"]
    assert (await stagedoor("apps", "show", HUB, "--json")).json["secrets"] == []


async def test_an_application_is_installed_from_its_document(stagedoor: Command) -> None:
    async with vendor() as by:
        by.describe(scope="openid")
        digest = sha256(by.web.body).hexdigest()
        asked = await stagedoor("apps", "install", by.document, given="n\n")
        assert (asked.status, asked.out) == (1, "")
        assert all(shown in asked.err for shown in ("127.0.0.1", "https://setlist.example/callback", digest))
        installed = await stagedoor("apps", "install", by.document, "--digest", digest, "--json")
        assert installed.json["client_id"] == "example.setlist/app"
        shown = (await stagedoor("apps", "show", "example.setlist/app", "--json")).json
        assert (shown["document"], shown["document_digest"]) == (by.document, digest)


async def test_programs_are_let_register(stagedoor: Command) -> None:
    await stagedoor(*REGISTER_API)
    limits = ("--days", "30", "--uses", "5", "--prefix", "com.tour/", "--scope", "read update")
    grant = ("--grant", "client_credentials")
    issued = (await stagedoor("initial-access", "issue", "--purpose", "Build server", *limits, *grant, "--json")).json
    assert issued["initial_access_token"].startswith("stagedoor_iat_")
    assert (issued["uses"], issued["used"], issued["client_id_prefix"]) == (5, 0, "com.tour/")
    assert (issued["scopes"], issued["grants"]) == (["read", "update"], ["client_credentials"])
    usual = await stagedoor("initial-access", "issue", "--purpose", "Once")
    assert "stagedoor_iat_" in usual.out
    assert "shown this once" in usual.err
    listed = await stagedoor("initial-access", "list")
    assert "0 of 5" in listed.out
    assert "0 of 1" in listed.out
    assert "stagedoor_iat_" not in listed.out
    revoked = (await stagedoor("initial-access", "revoke", issued["token_id"], "--json")).json
    assert revoked["position"] > issued["position"]
    (left,) = (await stagedoor("initial-access", "list", "--json")).json
    assert (left["purpose"], left["uses"]) == ("Once", 1)
    refused = await stagedoor("initial-access", "issue", "--purpose", "Too much", "--scope", "sec")
    assert (refused.status, refused.out) == (1, "")
    assert (await stagedoor("apps", "revoke-registration-token", "com.tour/bus")).status == 1


async def test_people_read_calm_tables(stagedoor: Command) -> None:
    await stagedoor(*REGISTER_API)
    registered = await stagedoor(*REGISTER_HUB)
    assert registered.status == 0
    assert "sds_" in registered.out
    assert "shown this once" in registered.err
    listed = await stagedoor("apps", "list")
    assert HUB in listed.out
    assert "\x1b" not in listed.out
    assert "see your tours" in (await stagedoor("resources", "show", API)).out


async def test_a_refusal_is_one_line_and_status_1(stagedoor: Command) -> None:
    refused = await stagedoor(*REGISTER_HUB, "--json")
    assert (refused.status, refused.out) == (1, "")
    assert refused.err == "stagedoor: no resource has the scope read update (invalid_scope)\n"


async def test_what_the_person_may_not_do_is_refused(stagedoor: Command) -> None:
    refused = await stagedoor("apps", "disable", "com.stagedoor/cli", token="auditor")
    assert (refused.status, refused.err.count("\n")) == (1, 1)


async def test_somebody_whose_sign_in_has_ended_is_told_so(stagedoor: Command) -> None:
    ended = await stagedoor("apps", "list", token="expired")
    assert ended.status == 1
    assert "stagedoor login" in ended.err


async def test_ending_for_ever_asks_first(stagedoor: Command) -> None:
    await stagedoor(*REGISTER_API)
    await stagedoor(*REGISTER_HUB)
    assert (await stagedoor("apps", "uninstall", HUB, given="n\n")).status == 1
    assert (await stagedoor("apps", "uninstall", HUB)).status == 1
    assert (await stagedoor("apps", "show", HUB)).status == 0
    assert (await stagedoor("apps", "uninstall", HUB, given="y\n")).status == 0


async def test_a_service_that_is_away(stagedoor: Command, registry: Running) -> None:
    await registry.server.stop(None)
    away = await stagedoor("apps", "list", "--json")
    assert (away.status, away.out, away.err.count("\n")) == (1, "", 1)
