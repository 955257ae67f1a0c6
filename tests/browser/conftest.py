"""A real Chromium, where there is one."""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright, expect

from infra.local.system import System
from tests.support.system import running_system

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")

QUIET = ("--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
          "--disable-sync", "--disable-quic")  # fmt: skip

expect.set_options(timeout=30_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave these tests out, visibly, on a machine without a browser."""
    if CHROMIUM is None:
        for item in items:
            if item.get_closest_marker("browser"):
                item.add_marker(pytest.mark.skip(reason="no Chromium on this machine (set CHROMIUM to its path)"))


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def system() -> AsyncIterator[System]:
    """A system for each file: what people have allowed so far decides which pages they see."""
    async with running_system() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """One browser for all tests; each test opens a context of its own."""
    # Chromium's sandbox refuses root; only pages of our own are opened.
    root = ("--no-sandbox",) if os.geteuid() == 0 else ()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, *root])
        yield browser
        await browser.close()


@pytest.fixture
def screenshots() -> Path:
    """Where screenshots are kept as output of the tests."""
    folder = Path(os.environ.get("STAGEDOOR_SCREENSHOTS", ".stagedoor-screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
