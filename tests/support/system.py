"""The running system that tests share, and systems of a test's own."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from infra.local.system import System
from tests.support.ports import free_ports


def new_folder() -> Path:
    """A folder for a system. Not below pytest's, which another user (PostgreSQL's, under root) cannot enter."""
    return Path(tempfile.mkdtemp(prefix="stagedoor-"))


@asynccontextmanager
async def running_system(
    *, tls: bool = False, settings: Mapping[str, str] | None = None, console: bool = False
) -> AsyncIterator[System]:
    """A system with the demo data, in a folder that goes with it; `settings` other than usual."""
    folder = new_folder()
    try:
        ports = free_ports(tls=tls)
        async with System(folder, ports=ports, settings=settings, durable=False, console=console) as running:
            yield running
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def system() -> AsyncIterator[System]:
    """One system for the whole run. Tests that stop parts of it start them again."""
    async with running_system() as running:
        yield running


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for a system of the test's own."""
    path = new_folder()
    yield path
    shutil.rmtree(path, ignore_errors=True)
