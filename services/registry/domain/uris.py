"""Which addresses the registry believes in.

Everything here answers the fault of a URI in a few words, or None where there is none. What is compared exactly
later (RFC 6749 section 3.1.2.3, RFC 9700 section 2.1) has to be unambiguous now: one spelling, nothing that a
browser would rewrite, nothing that reads like one place and leads to another.
"""

import re
from collections.abc import Callable
from ipaddress import AddressValueError, IPv6Address
from urllib.parse import SplitResult, urlsplit

LONGEST = 2048
"""Characters; longer addresses do not survive every browser and proxy."""

LOOPBACK = frozenset({"127.0.0.1", "[::1]", "localhost"})
"""Hosts that never leave the machine, the only ones that plain http may reach (RFC 8252 section 8.3)."""

_CHARACTERS = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+")
"""RFC 3986 section 2: reserved, unreserved, and well-formed percent-encodings."""
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_LABELS = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")
_PORT = re.compile(r"[1-9][0-9]{0,4}")


def web_fault(uri: str) -> str | None:
    """The fault of an https address, or of an http one on this machine."""
    return _fault(uri, _web)


def called_fault(uri: str, *, demo: bool) -> str | None:
    """The fault of an address of an application that the issuer calls: https or, in demo mode, on this machine."""
    return _fault(uri, _web if demo else _https_elsewhere)


def redirect_fault(uri: str, *, native: bool) -> str | None:
    """The fault of a redirect URI: a web address or, for native applications, also a scheme of their own.

    RFC 8252 section 7.1 has such a scheme be a domain name in reverse, so it holds a dot, and that keeps
    `javascript:` and its like out. A native application's loopback port is its own affair while it runs (section
    7.3): the one registered stands for any.
    """
    return _fault(uri, _web_or_own_scheme if native else _web)


def identifier_fault(uri: str) -> str | None:
    """The fault of a resource's identifier: an absolute URI without a fragment (RFC 8707 section 2)."""
    return _fault(uri, _absolute)


def _fault(uri: str, kind: Callable[[SplitResult], str | None]) -> str | None:
    scheme, colon, _ = uri.partition(":")
    faults = (
        (not 1 <= len(uri) <= LONGEST, f"has to have 1 to {LONGEST} characters"),
        (not _CHARACTERS.fullmatch(uri), "has characters that no URI has"),
        ("#" in uri, "has a fragment"),
        ("*" in uri, "has a wildcard"),
        (not (colon and _SCHEME.fullmatch(scheme)), "does not begin with a scheme in lower case"),
    )
    for broken, words in faults:
        if broken:
            return words
    try:
        parts = urlsplit(uri)
    except ValueError:
        return "cannot be read"
    if "@" in parts.netloc:
        return "names a user"
    if not {".", ".."}.isdisjoint(_segments(parts.path)):
        return "has a dot segment, which a browser would remove"
    return kind(parts)


def _segments(path: str) -> list[str]:
    return re.sub("%2e", ".", path, flags=re.IGNORECASE).split("/")


def _web(parts: SplitResult) -> str | None:
    if parts.scheme not in {"https", "http"}:
        return "is neither https nor http"
    host, wrong = _host(parts.netloc)
    if wrong:
        return wrong
    if parts.scheme == "http" and host not in LOOPBACK:
        return "is plain http, which only loopback addresses may be"
    return None


def _https_elsewhere(parts: SplitResult) -> str | None:
    if parts.scheme != "https":
        return "is not https"
    host, wrong = _host(parts.netloc)
    return wrong or ("is on this machine, which only demo mode allows" if host in LOOPBACK else None)


def _web_or_own_scheme(parts: SplitResult) -> str | None:
    if parts.scheme in {"https", "http"}:
        return _web(parts)
    if "." not in parts.scheme:
        return "is neither a web address nor has a scheme named after a domain"
    if not (parts.netloc or parts.path.startswith("/")):
        return "leads nowhere"
    return None


def _absolute(parts: SplitResult) -> str | None:
    if parts.scheme in {"https", "http"}:
        return _host(parts.netloc)[1]
    return None if parts.netloc or parts.path else "names nothing"


def _host(netloc: str) -> tuple[str, str | None]:
    """The host, and its fault or the port's."""
    end = netloc.find("]") + 1 if netloc.startswith("[") else netloc.find(":")
    host, port = (netloc, "") if end == -1 else (netloc[:end], netloc[end:])
    if port and not (port[0] == ":" and _PORT.fullmatch(port[1:]) and int(port[1:]) < 1 << 16):
        return host, "has no proper port"
    if host.startswith("["):
        try:
            proper = f"[{IPv6Address(host[1:-1]).compressed}]" == host
        except AddressValueError:
            proper = False
    else:
        proper = _LABELS.fullmatch(host) is not None
    return host, None if proper else "has no proper host in lower case"
