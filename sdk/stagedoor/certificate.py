"""Client certificates (RFC 8705): who presents a certificate-bound token holds the key of that certificate.

    Certificate(der)                what a connection was opened with
    from_field(text)                the certificate in a header field, as a proxy writes it
    ClientCertificates(header)      from which proxies that field is believed

That the key is held is shown in the TLS handshake, and whoever ends the connection passes the certificate on. So all
depends on who may say so: a header that a client could have written proves nothing.
"""

import hmac
from base64 import b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from hashlib import sha256
from ipaddress import ip_address, ip_network
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from stagedoor.verdict import Denied, Reason, denied

CLIENT_CERT: Final = "client-cert"
"""The header field of RFC 9440."""
MEMBER: Final = "x5t#S256"
"""The member of `cnf` that names a certificate (section 3.1)."""
LONGEST: Final = 24 * 1024
"""Characters of a field that are looked at."""

_LOOPBACK: Final = ("127.0.0.0/8", "::1/128")
_BEGIN: Final = "-----BEGIN CERTIFICATE-----\n"
_END: Final = "\n-----END CERTIFICATE-----"


class Certificate(msgspec.Struct, frozen=True):
    """The certificate that a client has opened its connection with."""

    der: bytes

    def __repr__(self) -> str:
        return f"Certificate({self.thumbprint!r})"

    @property
    def thumbprint(self) -> str:
        """SHA-256 over the whole of it, base64url (section 3.1)."""
        return urlsafe_b64encode(sha256(self.der).digest()).rstrip(b"=").decode()

    def mismatch(self, cnf: Mapping[str, Any] | None) -> Denied | None:
        """Why a token with this `cnf` cannot be presented with it; None where it can, as with one that is not bound."""
        if cnf is None:
            return None
        bound = cnf.get(MEMBER)
        # A token that is bound otherwise as well needs more than this certificate (RFC 7800 section 3.1).
        if cnf.keys() != {MEMBER} or not isinstance(bound, str):
            return denied(Reason.PROOF_REQUIRED)
        same = bound.isascii() and hmac.compare_digest(self.thumbprint, bound)
        return None if same else denied(Reason.PROOF_MISMATCH)


def from_field(text: str) -> Certificate | None:
    """The one certificate in a header field; None where the field says that there was none.

    As RFC 9440 section 2.1 has it (base64 between colons), or as a percent-encoded PEM, which Envoy and nginx write.
    Raises `ValueError` for everything else: what is understood in two ways is one way too many.
    """
    if not text or text == "::":
        return None
    if len(text) > LONGEST or not text.isascii():
        raise ValueError("not a client certificate")
    if text[0] == text[-1] == ":":
        encoded = text[1:-1]
    else:
        pem = unquote(text).replace("\r\n", "\n").rstrip("\n")
        if not (pem.startswith(_BEGIN) and pem.endswith(_END)):
            raise ValueError("not a client certificate")
        encoded = pem[len(_BEGIN) : -len(_END)].replace("\n", "")
    try:
        der = b64decode(encoded, validate=True)
    except Error:
        raise ValueError("not a client certificate") from None
    if not der:
        raise ValueError("not a client certificate")
    return Certificate(der)


class ClientCertificates:
    """Tells which certificate a request has come with, by the word of the proxy in front."""

    def __init__(self, header: str = CLIENT_CERT, *, proxies: Collection[str] = _LOOPBACK) -> None:
        """`header`: where the proxy says it. `proxies`: the networks of those that are believed.

        The proxy has to set the field at each request, and to drop what a client has sent under its name.
        """
        self._name = header.lower().encode("ascii")
        networks = tuple(ip_network(network) for network in proxies)

        @lru_cache(maxsize=4096)
        def believed(peer: str) -> bool:
            try:
                address = ip_address(peer)
            except ValueError:
                return False
            return any(address in network for network in networks)

        self._believed = believed

    def of(self, headers: Iterable[tuple[bytes, bytes]], peer: str) -> Certificate | None:
        """The certificate of a request, names of headers in lower case; from anybody else's mouth there is none.

        Raises `ValueError` where there is more than one, or what is none: one of the two is the client's own word.
        """
        said = [value for name, value in headers if name == self._name]
        if not said or not self._believed(peer):
            return None
        if len(said) > 1:
            raise ValueError("more than one client certificate")
        return from_field(said[0].decode("latin-1"))
