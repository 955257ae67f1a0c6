"""What BackstageHub is told by its environment, in variables `BACKSTAGEHUB_*`."""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Settings:
    """Where things are, and who BackstageHub is."""

    issuer: str
    """Of the Stagedoor instance: everything else about it is in its discovery document."""
    api: str
    """Where tours are: the address before `/tours`."""
    client_id: str
    client_secret: str = field(repr=False)
    bind: str
    """Host and port to listen on."""
    origin: str
    """How browsers reach it. The redirect URI below it has to be registered, letter by letter."""
    ca_file: Path | None = None
    """Authorities of Stagedoor's certificate; None: those that this machine knows."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read them, or end the process with one line that says which variable is wrong."""
        port = environment.get("BACKSTAGEHUB_PORT", "8480")
        secret_file = environment.get("BACKSTAGEHUB_CLIENT_SECRET_FILE")
        if not secret_file:
            raise SystemExit("backstagehub: BACKSTAGEHUB_CLIENT_SECRET_FILE names the file with the client secret")
        try:
            secret = Path(secret_file).read_text().strip()
        except OSError as failure:
            raise SystemExit(f"backstagehub: the client secret cannot be read: {failure.strerror}") from failure
        bind = environment.get("BACKSTAGEHUB_BIND", f"127.0.0.1:{port}")
        if not bind.rpartition(":")[2].isdecimal():
            raise SystemExit("backstagehub: BACKSTAGEHUB_BIND is a host and a port")
        ca_file = environment.get("BACKSTAGEHUB_CA_FILE")
        if ca_file and not Path(ca_file).is_file():
            raise SystemExit("backstagehub: BACKSTAGEHUB_CA_FILE names no file")
        return cls(
            issuer=environment.get("BACKSTAGEHUB_ISSUER", "http://127.0.0.1:8400/id"),
            api=environment.get("BACKSTAGEHUB_API", "http://127.0.0.1:8400/api").rstrip("/"),
            client_id=environment.get("BACKSTAGEHUB_CLIENT_ID", "com.backstagehub/app"),
            client_secret=secret,
            bind=bind,
            origin=environment.get("BACKSTAGEHUB_ORIGIN", f"http://localhost:{port}").rstrip("/"),
            ca_file=Path(ca_file) if ca_file else None,
        )

    @property
    def redirect_uri(self) -> str:
        """Where Stagedoor sends the browser back to."""
        return f"{self.origin}/callback"

    @property
    def signed_out_uri(self) -> str:
        """Where Stagedoor sends the browser after signing out."""
        return f"{self.origin}/signed-out"

    @property
    def issuer_origin(self) -> str:
        """Scheme, host and port of the issuer."""
        parts = urlsplit(self.issuer)
        return f"{parts.scheme}://{parts.netloc}"

    def trust(self) -> ssl.SSLContext:
        """Whose certificates Stagedoor may show."""
        return ssl.create_default_context(cafile=self.ca_file)

    @property
    def secure(self) -> bool:
        """Whether browsers reach it over https, so that its cookie may ask for that."""
        return self.origin.startswith("https://")
