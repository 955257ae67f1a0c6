"""The certificates that a service shows and the authority that it believes."""

from dataclasses import dataclass, field
from pathlib import Path

import grpc

from shared.settings import ServiceSettings


@dataclass(frozen=True, slots=True)
class Tls:
    """One party's certificate and key, and the authority for everybody else's; all PEM."""

    ca: bytes
    certificate: bytes
    key: bytes = field(repr=False)

    @classmethod
    def read(cls, settings: ServiceSettings) -> "Tls":
        """Read the three files that the settings name, or end the process with one line."""
        return cls.read_files(settings.tls_ca_file, settings.tls_certificate_file, settings.tls_key_file)

    @classmethod
    def read_files(cls, ca: Path, certificate: Path, key: Path) -> "Tls":
        """Read three files, or end the process with one line."""
        return cls(_read(ca), _read(certificate), _read(key))

    def server_credentials(self) -> grpc.ServerCredentials:
        """For a server: nobody without a certificate of the authority gets past the handshake."""
        return grpc.ssl_server_credentials(
            [(self.key, self.certificate)], root_certificates=self.ca, require_client_auth=True
        )

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """For a client."""
        return grpc.ssl_channel_credentials(self.ca, self.key, self.certificate)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as failure:
        raise SystemExit(f"stagedoor: a certificate or key cannot be read: {failure.strerror}: {path}") from failure
