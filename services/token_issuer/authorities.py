"""The authorities whose word says which application a certificate belongs to (RFC 8705 section 2.1).

A setting names the file with their certificates. A client's certificate is one that one of these has signed itself:
what comes with a connection beside it is not passed on by the door, so an authority between belongs into the file, too.
Nobody asks them what they have revoked; an application whose certificate is not to be believed any more is disabled, or
its name is changed.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError

_CLIENT: Final = (
    ExtensionPolicy.webpki_defaults_ee()
    .may_be_present(x509.SubjectAlternativeName, Criticality.AGNOSTIC, None)
    .may_be_present(x509.AuthorityKeyIdentifier, Criticality.AGNOSTIC, None)
)
"""RFC 5280, without what only certificates of servers on the web need to have."""
_AUTHORITY: Final = ExtensionPolicy.webpki_defaults_ca().may_be_present(
    x509.AuthorityKeyIdentifier, Criticality.AGNOSTIC, None
)


class Authorities:
    """Says whether a certificate is from one of them."""

    def __init__(self, certificates: Sequence[x509.Certificate]) -> None:
        """Raises `ValueError` for none, and for one that is not an authority's."""
        if not all(map(_is_authority, certificates)):
            raise ValueError("there is a certificate in it that is not an authority's")
        self._store = Store(list(certificates))

    @classmethod
    def read(cls, path: Path) -> "Authorities":
        """From a file of PEM; ends the process where that is not what it has to be."""
        try:
            return cls(x509.load_pem_x509_certificates(path.read_bytes()))
        except OSError as failure:
            why = str(failure.strerror)
        except ValueError as wrong:
            why = str(wrong)
        raise SystemExit(f"stagedoor: the authorities of client certificates cannot be read: {why}: {path}")

    def issued(self, content: x509.Certificate, now: datetime) -> bool:
        """Whether one of them has issued this certificate, for a client, and it is valid now (RFC 5280 section 6)."""
        verifier = (
            PolicyBuilder()
            .store(self._store)
            .time(now)
            .max_chain_depth(0)
            .extension_policies(ca_policy=_AUTHORITY, ee_policy=_CLIENT)
            .build_client_verifier()
        )
        try:
            verifier.verify(content, [])
        except (VerificationError, ValueError):
            return False
        return True


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return False
