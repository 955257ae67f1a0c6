"""What `make run` runs: one system, its addresses and sign-ins on one table, until Ctrl-C."""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.table import Table

from infra.local.failure import SystemFailure
from infra.local.home import DEFAULT
from infra.local.leash import end_with_parent
from infra.local.ports import DEFAULT_BASE, Ports, tls_wanted
from infra.local.system import System

_LOOK_SECONDS = 0.2
_HIGHEST_BASE = 64_000


def main() -> None:
    """Run the local system; exit status 1 and one line on standard error if it cannot run."""
    if "MAKELEVEL" in os.environ:
        # Who ends `make run`, in whatever way, means what it runs.
        end_with_parent(signal.SIGTERM)
    try:
        asyncio.run(_run())
    except SystemFailure as failure:
        print(f"stagedoor: {failure}", file=sys.stderr)
        raise SystemExit(1) from None


def _ports() -> Ports:
    text = os.environ.get("STAGEDOOR_PORT_BASE", str(DEFAULT_BASE))
    if not text.isascii() or not text.isdigit() or not 1024 <= int(text) <= _HIGHEST_BASE:
        raise SystemFailure(f"STAGEDOOR_PORT_BASE has to be a number from 1024 to {_HIGHEST_BASE}, not {text!r}")
    return Ports(int(text), tls=tls_wanted())


async def _run() -> None:
    told_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, told_to_stop.set)
    console = Console(highlight=False)
    folder = Path(os.environ.get("STAGEDOOR_HOME") or DEFAULT)
    system = System(folder, ports=_ports(), say=console.print)

    with console.status("starting"):
        starting = asyncio.create_task(system.start())
        stopping = asyncio.create_task(told_to_stop.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            # It stops what it has started by then.
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            return
        stopping.cancel()
        starting.result()
    try:
        console.print(_table(system))
        await _tend(system, told_to_stop, console)
    finally:
        console.print("stopping")
        await system.stop()


async def _tend(system: System, told_to_stop: asyncio.Event, console: Console) -> None:
    while not told_to_stop.is_set():
        lines = await system.tending.look()
        # Ctrl-C reaches the whole group: what ended a moment before it was noticed here has not failed.
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await told_to_stop.wait()
                return
        for line in lines:
            console.print(line)


def _table(system: System) -> Table:
    """The one table: where things are, and who can sign in."""
    ports, demo = system.ports, system.demo
    table = Table(title="Stagedoor is ready. Ctrl-C stops it.", title_justify="left", show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("BackstageHub", f"http://localhost:{ports.backstagehub}")
    table.add_row("your account", f"{demo['issuer']}/account")
    table.add_row("the console", f"{ports.origin}/console  (as brian; as auditor, the log)")
    table.add_row("the front door", ports.origin)
    if ports.tls:
        table.add_row("with certificates", ports.mtls_origin)
        table.add_row("its authority", demo["ca"])
    table.add_row("issuer", demo["issuer"])
    table.add_row("API", f"{ports.origin}/api")
    table.add_row("NATS", f"nats://127.0.0.1:{ports.nats}")
    table.add_row("state, logs", str(system.home.path))
    table.add_section()
    for user in demo["users"]:
        table.add_row(user["name"], f"{user['password']}  ({user['kind']})")
    table.add_section()
    for application in demo["applications"]:
        table.add_row(application["client_id"], ", ".join(application["grants"]))
    table.add_section()
    table.add_row("secrets, clients", str(system.home.demo))
    table.add_row("command line", "stagedoor apps list  (signed in as brian)")
    return table


if __name__ == "__main__":
    main()
