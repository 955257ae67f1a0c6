"""The folder that holds the state of one system: `$STAGEDOOR_HOME`.

lock                  held while a system runs in the folder
secrets/              passwords and keys, one file each, made once
certificates/         the development authority and what it signed
postgres/  nats/      the data
ledger/               the tree of the log's hashes, and checkpoints of it
logs/<name>.log       what each process said; the run before is kept as <name>.log.1
demo.json             addresses and sign-ins, for tests and clients
"""

import fcntl
import os
import secrets
import shutil
from base64 import b64encode
from pathlib import Path
from urllib.parse import urlsplit

from infra.local.failure import SystemFailure

DEFAULT = ".stagedoor"
_PRIVATE = 0o600


class Home:
    """One system's folder. Only one running system can hold it."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: int | None = None

    @property
    def logs(self) -> Path:
        """What the processes write."""
        return self.path / "logs"

    @property
    def certificates(self) -> Path:
        """The development authority and the certificates that it signed."""
        return self.path / "certificates"

    @property
    def evidence(self) -> Path:
        """The tree of the log's hashes, and what was signed of it."""
        return self.path / "ledger"

    @property
    def archive(self) -> Path:
        """Events that have left the log."""
        return self.path / "archive"

    @property
    def demo(self) -> Path:
        """Addresses and sign-ins of the demo."""
        return self.path / "demo.json"

    def take(self) -> None:
        """Create what is missing and hold the folder until `release`, or raise `SystemFailure`."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                raise SystemFailure(f"another system is running in {self.path}") from None
            self._lock = lock
            # Only now: a running system's PostgreSQL may be let pass through the folder.
            self.path.chmod(0o700)
            for folder in (self.logs, self.path / "secrets"):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as failure:
            self.release()
            raise SystemFailure(f"the folder {self.path} cannot be used: {failure.strerror}") from failure

    def remember_origin(self, origin: str) -> None:
        """Raise `SystemFailure` if the data here are another origin's: tokens and registrations name it for ever."""
        path = self.path / "origin"
        if not path.exists():
            self.write_private(path, f"{origin}\n")
        known = path.read_text().strip()
        if known != origin:
            other_way = urlsplit(known).scheme != urlsplit(origin).scheme
            here = "run it with" if known.startswith("https:") else "run it without"
            way = f"{here} TLS=1" if other_way else "set STAGEDOOR_PORT_BASE to its port"
            raise SystemFailure(
                f"the data in {self.path} are those of {known} for ever; {way}, or set STAGEDOOR_HOME to another folder"
            )

    def release(self) -> None:
        """Let another system have the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def secret(self, name: str) -> Path:
        """The file of a generated password, made at the first call: 256 random bits, URL-safe."""
        return self._made_once(name, secrets.token_urlsafe(32))

    def master_key(self, service: str) -> Path:
        """The file of a service's master key, made at the first call: 32 random bytes in base64."""
        return self._made_once(f"{service}.master", b64encode(secrets.token_bytes(32)).decode())

    def _made_once(self, name: str, text: str) -> Path:
        path = self.path / "secrets" / name
        if not path.exists():
            self.write_private(path, f"{text}\n")
        return path

    def write_private(self, path: Path, text: str) -> None:
        """Write a file that only its owner can read; it has all of the text or does not change."""
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE), "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError as failure:
            draft.unlink(missing_ok=True)
            raise SystemFailure(f"{path} cannot be written: {failure.strerror}") from failure

    def log(self, name: str) -> Path:
        """The log of a process; what an earlier run wrote is kept once more as `<name>.log.1`."""
        path = self.logs / f"{name}.log"
        if path.exists() and path.stat().st_size > 0:
            shutil.move(path, path.with_name(f"{path.name}.1"))
        path.touch(mode=_PRIVATE)
        return path
