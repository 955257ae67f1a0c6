"""The examples of `docs/app-developers.md`, as a developer would copy them."""

import re
import shlex
from pathlib import Path
from typing import Any

from infra.local.system import System
from tests.support.command import stagedoor

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "app-developers.md"


def blocks(language: str) -> list[str]:
    """The code blocks of a language, in their order."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def block(language: str, client_id: str) -> str:
    """The one that is about an application."""
    (found,) = [one for one in blocks(language) if client_id in one]
    return found


async def register(system: System, client_id: str) -> str:
    """Register an application by the commands that stand there; answers its secret, if it has one."""
    answers = []
    for command in block("sh", client_id).splitlines():
        program, *arguments = shlex.split(command)
        assert program == "stagedoor"
        answers += await stagedoor(system, *arguments)
    assert answers[0]["client_id"] == client_id
    return str(answers[0].get("client_secret", ""))


def run(source: str) -> dict[str, Any]:
    """What a block defines."""
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(source, str(PAGE), "exec"), names)  # noqa: S102  (it is our own text)
    return names
