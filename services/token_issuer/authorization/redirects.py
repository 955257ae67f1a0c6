"""Where a browser may be sent, and what it takes along (RFC 6749 sections 3.1.2 and 4.1.2, RFC 8252, RFC 9207)."""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode, urlsplit

from services.registry.events import ApplicationType
from services.token_issuer.views import Application

_LOOPBACK = re.compile(r"(http://(?:127\.0\.0\.1|\[::1\]))(?::([1-9][0-9]{0,4}))?((?:[/?].*)?)", re.DOTALL)
"""An address of the machine itself, as a literal: a name like `localhost` may lead elsewhere (RFC 8252 section 8.3)."""


def registered(application: Application, uri: str) -> bool:
    """Whether this is one of the application's redirect URIs: the same text, character for character.

    Only a native application's loopback address may differ, and in nothing but the port (RFC 8252 section 7.3).
    """
    return _among(application.settings.redirect_uris, application, uri)


def registered_for_logout(application: Application, uri: str) -> bool:
    """Whether this is one of its post-logout redirect URIs, by the same rules (RP-Initiated Logout 1.0 section 3)."""
    return _among(application.settings.post_logout_redirect_uris, application, uri)


def with_parameters(uri: str, parameters: Mapping[str, str | None]) -> str:
    """The URI with these parameters added to its query; those that are None are left out."""
    query = urlencode({name: value for name, value in parameters.items() if value is not None})
    return f"{uri}{'&' if '?' in uri else '?'}{query}" if query else uri


def origin(uri: str) -> str:
    """`scheme://host[:port]` of a redirect URI, for a page's `form-action`; the scheme alone where there is no host."""
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else f"{parts.scheme}:"


def _among(known: Sequence[str], application: Application, uri: str) -> bool:
    if uri in known:
        return True
    if application.settings.type is not ApplicationType.NATIVE:
        return False
    asked = _without_port(uri)
    return asked is not None and any(_without_port(one) == asked for one in known)


def _without_port(uri: str) -> tuple[str, str] | None:
    found = _LOOPBACK.fullmatch(uri)
    if found is None or int(found.group(2) or 0) > 65535:
        return None
    return found.group(1), found.group(3)
