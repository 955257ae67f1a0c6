"""The profile: which instance the command talks to, and for whom.

It holds tokens, so only its owner can read it. It is replaced as a whole, never half; and while a refresh token is
being used, a lock keeps other commands from using it a second time, which would end the grant.
"""

import asyncio
import fcntl
import os
import tomllib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from json import dumps
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.errors import Kind, Refusal
from shared.rpc.tls import Tls

CLIENT_ID: Final = "com.stagedoor/cli"
SERVICES: Final = ("registry", "identity", "token_issuer", "ledger")
"""Those that the command calls."""
_PRIVATE: Final = 0o600
_LOCK_SECONDS: Final = 30.0
_LOCK_EVERY: Final = 0.05


class Profile(BaseModel):
    """Where an instance is, how it is trusted, and the tokens of who is signed in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str
    origin: str
    client_id: str = CLIENT_ID
    ca_file: Path
    """Authority for the services' certificates, and for the issuer's where it has one of its own."""
    certificate_file: Path
    """Names the command to the services as an operator's."""
    key_file: Path
    grpc: Mapping[str, str]
    """Host and port of each service in `SERVICES`."""
    access_token: str = Field(default="", repr=False)
    refresh_token: str = Field(default="", repr=False)
    expires_at: int = 0
    """When the access token ends, in seconds since 1970."""

    @property
    def signed_in(self) -> bool:
        """Whether somebody is, or can be again without a browser."""
        return bool(self.access_token or self.refresh_token)

    def tls(self) -> Tls:
        """How services are recognised, and how they recognise the command."""
        return Tls.read_files(self.ca_file, self.certificate_file, self.key_file)


def home() -> Path:
    """The folder of the local system's state."""
    return Path(os.environ.get("STAGEDOOR_HOME") or ".stagedoor")


def default_path() -> Path:
    """`STAGEDOOR_PROFILE`, or `profile.toml` in the home."""
    return Path(os.environ.get("STAGEDOOR_PROFILE") or home() / "profile.toml")


def local(folder: Path, base: int) -> Profile:
    """What the local system in a folder has: certificates and origin there, ports from the base."""
    certificates = folder.absolute() / "certificates"
    try:
        origin = (folder / "origin").read_text().strip()
    except OSError:
        origin = f"http://127.0.0.1:{base}"
    ports = {"registry": 1001, "identity": 1002, "token_issuer": 1003, "ledger": 1005}
    return Profile(
        issuer=f"{origin}/id",
        origin=origin,
        ca_file=certificates / "ca.pem",
        certificate_file=certificates / "operator.pem",
        key_file=certificates / "operator.key",
        grpc={name: f"127.0.0.1:{base + port}" for name, port in ports.items()},
    )


def read(path: Path) -> Profile:
    """Read a profile; refuses with one line where there is none, or it is not one."""
    try:
        return Profile.model_validate(tomllib.loads(path.read_text()))
    except FileNotFoundError:
        raise Refusal(
            Kind.PRECONDITION, "no_profile", f"there is no profile at {path}; sign in: stagedoor login"
        ) from None
    except OSError as failure:
        raise Refusal(Kind.PRECONDITION, "no_profile", f"{path} cannot be read: {failure.strerror}") from None
    except tomllib.TOMLDecodeError:
        raise Refusal(Kind.PRECONDITION, "bad_profile", f"{path} is not TOML") from None
    except ValidationError as wrong:
        name = ".".join(str(part) for part in wrong.errors()[0]["loc"])
        raise Refusal(Kind.PRECONDITION, "bad_profile", f"{path}: {name} is missing or wrong") from None


def write(path: Path, profile: Profile) -> None:
    """Write a profile for its owner's eyes alone (mode 0600); the file is the old one or the new one, never between."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{token_hex(4)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE), "w") as file:
            file.write(_toml(profile.model_dump(mode="json")))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


@asynccontextmanager
async def locked(path: Path) -> AsyncIterator[None]:
    """Keep other commands from changing the profile meanwhile; waits for them, but not for ever."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE)
    try:
        try:
            async with asyncio.timeout(_LOCK_SECONDS):
                while not _taken(lock):  # noqa: ASYNC110  (the lock is another process's, and tells nobody)
                    await asyncio.sleep(_LOCK_EVERY)
        except TimeoutError:
            raise Refusal(Kind.CONFLICT, "profile_locked", f"another command is holding {path}") from None
        yield
    finally:
        os.close(lock)


def _taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _toml(values: Mapping[str, Any]) -> str:
    """Strings, whole numbers, and tables of them. A JSON string is a basic string of TOML."""
    tables = {name: value for name, value in values.items() if isinstance(value, Mapping)}
    lines = [f"{name} = {dumps(value, ensure_ascii=False)}" for name, value in values.items() if name not in tables]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {dumps(value, ensure_ascii=False)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"
