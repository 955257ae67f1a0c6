"""What an application may be that is installed by a link: its vendor describes it, an administrator approves that.

The administrator has a page to go by, and what stands on it is the vendor's. So an application is called after the host
that its description comes from; its name looks like what it is; it has no secret, which would pass through a browser to
somebody who is not the vendor; and it is given nothing that rests on knowing it. Whoever wants to give it more does so
afterwards, as for any other application.
"""

import unicodedata
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from services.registry.domain.dynamic import check_no_privileges
from services.registry.domain.refusals import invalid
from services.registry.domain.trust import check_client_id
from services.registry.domain.uris import LOOPBACK, called_fault, web_fault
from services.registry.events import ApplicationInstalled, ApplicationSettings, AuthMethod

_ALIKE = ("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU", "DESERET")
"""Scripts with letters that look like those of another one of them, by how the names of their letters begin."""
_DRESSED = ("FULLWIDTH", "MATHEMATICAL", "CIRCLED", "SQUARED", "NEGATIVE", "PARENTHESIZED")
"""How the names of characters begin that are letters in other clothes."""


@dataclass(frozen=True, slots=True)
class Installation:
    """The description that an administrator approved."""

    document: str
    """Its address."""
    document_digest: str
    """SHA-256, hexadecimal."""

    def check(self, client_id: str, settings: ApplicationSettings, *, demo: bool) -> None:
        """Refuse an application that may not be installed from there."""
        check_document(self.document, demo=demo)
        check_named_after(client_id, self.document, demo=demo)
        check_installable(settings)

    def event(self, client_id: str) -> ApplicationInstalled:
        """What stands in the log beside the registration."""
        return ApplicationInstalled(client_id=client_id, document=self.document, document_digest=self.document_digest)


def check_document(document: str, *, demo: bool) -> None:
    """Refuse an address that no description is fetched from."""
    fault = called_fault(document, demo=demo) or _host_fault(document, demo=demo)
    if fault:
        raise invalid(f"the document's address {fault}", "invalid_document_address")


def host_of(document: str) -> str:
    """The host of an address that was checked, as it is written there: in ASCII."""
    return urlsplit(document).hostname or ""


def check_named_after(client_id: str, document: str, *, demo: bool) -> None:
    """Refuse a name that is not that of the document's host, backwards: `https://tour.example/…` is `example.tour/…`.

    In demo mode documents on this machine choose any name.
    """
    check_client_id(client_id)
    host = host_of(document)
    if demo and _is_this_machine(document):
        return
    own = ".".join(reversed(host.split(".")))
    if client_id.partition("/")[0] != own:
        raise invalid(f"client_id: a document at {host} describes applications whose names begin with {own}/")


def check_installable(settings: ApplicationSettings) -> None:
    """Refuse settings that a link cannot bring along."""
    if settings.auth_method not in (AuthMethod.NONE, AuthMethod.PRIVATE_KEY_JWT):
        raise invalid(
            "token_endpoint_auth_method: an application that is installed by a link has no secret; it is "
            "private_key_jwt, with jwks or jwks_uri, or none"
        )
    check_no_privileges(settings, "installed by a link")
    check_looks_honest(settings.display_name)


def check_start(initiate_login_uri: str, document: str) -> None:
    """Refuse to lead people on to somewhere else than the document's own host."""
    if fault := web_fault(initiate_login_uri):
        raise invalid(f"initiate_login_uri: it {fault}")
    if urlsplit(initiate_login_uri).hostname != host_of(document):
        raise invalid("initiate_login_uri: it has to be at the host of the document")


def check_looks_honest(name: str) -> None:
    """Refuse a name with a word in more than one script, or in letters that stand for others.

    Whole words in another script that look alike remain; hence the page shows the host, which is ASCII.
    """
    for word in name.split():
        scripts = {script for letter in word if (script := _script(letter))}
        if len(scripts) > 1:
            raise invalid("client_name: a word of it mixes scripts, so that it could look like another one")
    if any(unicodedata.name(letter, "").startswith(_DRESSED) for letter in name):
        raise invalid("client_name: it has letters that only look like letters")


def _script(letter: str) -> str:
    """Of those that can be taken for another; empty for all others."""
    first = unicodedata.name(letter, "").partition(" ")[0]
    return first if first in _ALIKE else ""


def _host_fault(document: str, *, demo: bool) -> str | None:
    if demo and _is_this_machine(document):
        return None
    parts = urlsplit(document)
    host = parts.hostname or ""
    if parts.port not in (None, 443):
        return "has a port; whoever has another port of a host need not be its owner"
    if "." not in host or _is_number(host):
        return "has a host without a domain, after which an application could be named"
    return None


def _is_this_machine(document: str) -> bool:
    netloc = urlsplit(document).netloc
    return any(netloc == host or netloc.startswith(f"{host}:") for host in LOOPBACK)


def _is_number(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        # Resolvers take 127.1 and 0x7f.1 for addresses, too. No top-level domain begins with a digit.
        return host.rpartition(".")[2][:1].isdigit()
    return True
