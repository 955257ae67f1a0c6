"""Every command of docs/auditors.md, in order, as an auditor types them."""

import ast
import asyncio
import json
import os
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from infra.local.services import ROOT
from infra.local.sign_in import Visitor
from infra.local.system import System
from shared.evidence import stagedoor_verify
from tests.integration.cli.test_whole_system import AUDITOR, Command
from tests.support.work import eventually


def commands() -> list[list[str]]:
    """What stands in blocks of code."""
    blocks = (ROOT / "docs" / "auditors.md").read_text().split("```\n")[1::2]
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


async def _run(folder: Path, environment: dict[str, str], *command: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate()
    return process.returncode, said.decode()


async def _sign_in(command: Command) -> None:
    process = await command.start("login", "--json")
    assert process.stderr is not None
    async with asyncio.timeout(60), Visitor(*AUDITOR) as person:
        address = ""
        while "/connect/authorize?" not in address:
            line = await process.stderr.readline()
            assert line, "it ended without showing an address"
            address = line.decode().strip()
        await person.browser.get(await person.go(address))
        await process.communicate()
    assert process.returncode == 0


async def _names(command: Command) -> dict[str, str]:
    """What an auditor puts in the place of words in capitals: a token of the log, its position and its user."""
    status, said, why = await command("audit", "replay", "--type", "token_issuer.GrantOpened", "--limit", "1", "--json")
    assert status == 0, why
    opened = json.loads(said)["data"]
    issuing = ("--type", "token_issuer.CodeRedeemed", "--gid", opened["gid"])
    status, said, why = await command("audit", "replay", *issuing, "--json")
    assert status == 0, why
    redeemed = json.loads(said)
    return {"TOKEN_ID": redeemed["data"]["jti"], "POS": str(redeemed["position"]), "SUB": opened["sub"]}


@pytest.mark.timeout(400)
async def test_every_command_of_the_page(system: System, tmp_path: Path) -> None:
    auditor = Command(system, tmp_path / "profile.toml")
    alone = tmp_path / "alone"
    alone.mkdir()
    script = shutil.copy(stagedoor_verify.__file__, alone)
    await eventually((system.home.evidence / "1" / "checkpoint").exists, 30)
    given = commands()
    assert len(given) > 15
    named: dict[str, str] | None = None
    for number, (program, *arguments) in enumerate(given):
        if program == "stagedoor-verify":
            # With nothing of ours in reach.
            bare = {"PATH": os.environ["PATH"]}
            status, said = await _run(tmp_path, bare, sys.executable, "-P", "-I", str(script), *arguments)
            assert said.startswith("right: "), said
        elif arguments == ["login"]:
            await _sign_in(auditor)
            status, said = 0, ""
        else:
            assert program == "stagedoor"
            if named is None:
                named = await _names(auditor)
            typed = [named.get(argument, argument) for argument in arguments]
            command = (sys.executable, "-m", "services.cli.main", *typed)
            status, said = await _run(tmp_path, auditor.environment, *command)
        assert status == 0, (number, program, arguments, said)
    assert (tmp_path / "log.key").read_text() == (system.home.evidence / "1" / "key").read_text()
    assert oct((system.home.path / "secrets" / "ledger.master").stat().st_mode)[-3:] == "600"
    status, said = await _run(
        *(tmp_path, auditor.environment, sys.executable, "-m", "services.cli.main"),
        *("audit", "replay", "--source", "ledger", "--json"),
    )
    assert status == 0
    asked = {json.loads(line)["data"]["question"] for line in said.splitlines()}
    expected = {"evidence", "proof_of_inclusion", "proof_of_consistency", "events", "as_of", "explanation", "report"}
    assert expected <= asked


def test_the_script_imports_nothing_of_ours() -> None:
    tree = ast.parse(Path(stagedoor_verify.__file__).read_text())
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or "."]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported - sys.stdlib_module_names == {"cryptography"}
