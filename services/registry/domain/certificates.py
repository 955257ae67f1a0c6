"""What an application's client certificate has to say, and what its tokens are bound to (RFC 8705 sections 2.1, 3.4).

Names are compared as they are registered, so each is taken in the one form that it has.
"""

import re
from ipaddress import ip_address
from typing import Final

from services.registry.domain.refusals import invalid
from services.registry.events import CERTIFICATE_NAMES, ApplicationSettings, AuthMethod

_DN: Final = re.compile(r"(?:[A-Za-z]+|\d+(?:\.\d+)+)=[^\x00-\x1f\x7f]+")
_HOST: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})*")
_URI: Final = re.compile(r"[a-z][a-z0-9+.-]*:[\x21-\x7e]+")
_EMAIL: Final = re.compile(r"[\x21-\x3f\x41-\x7e]{1,64}@[a-z0-9.-]{1,253}")
_LONGEST: Final = 512


def check_certificates(settings: ApplicationSettings) -> None:
    """Refuse names that are none, names that nobody asks for, and tokens that are bound in two ways."""
    if settings.dpop_bound_access_tokens and settings.tls_client_certificate_bound_access_tokens:
        raise invalid("tokens are bound to a key, by DPoP, or to a certificate, and not to both")
    named = settings.certificate_names
    if settings.auth_method is not AuthMethod.TLS_CLIENT_AUTH:
        if named:
            raise invalid("a certificate is named for applications whose authentication method is tls_client_auth")
        return
    if len(named) != 1:
        raise invalid(f"tls_client_auth needs exactly one of: {', '.join(CERTIFICATE_NAMES)}")
    ((name, value),) = named.items()
    if len(value) > _LONGEST or not _well_formed(name, value):
        raise invalid(f"{name}: it is not well-formed{_HINTS.get(name, '')}")


_HINTS: Final = {
    "tls_client_auth_subject_dn": ", like CN=app,O=Example Corp (RFC 4514)",
    "tls_client_auth_san_dns": "; a host in small letters, without a wildcard",
    "tls_client_auth_san_ip": "; an address as RFC 5952 writes it",
}


def _well_formed(name: str, value: str) -> bool:
    match name:
        case "tls_client_auth_subject_dn":
            return _DN.fullmatch(value) is not None
        case "tls_client_auth_san_dns":
            return _HOST.fullmatch(value) is not None
        case "tls_client_auth_san_uri":
            return _URI.fullmatch(value) is not None
        case "tls_client_auth_san_email":
            return _EMAIL.fullmatch(value) is not None
        case _:
            try:
                return str(ip_address(value)) == value
            except ValueError:
                return False
