"""How the answer to an authorization request travels back through the browser.

`query` and `fragment` (OAuth 2.0 Multiple Response Type Encoding Practices section 2.1) are addresses; `form_post`
(OAuth 2.0 Form Post Response Mode) is a form that the browser posts, so that the answer stands in no address.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlencode

from services.token_issuer.authorization.redirects import with_parameters


class ResponseMode(StrEnum):
    """`response_mode`."""

    QUERY = "query"
    FRAGMENT = "fragment"
    FORM_POST = "form_post"


@dataclass(frozen=True, slots=True)
class Redirect:
    """Where to send the browser."""

    uri: str
    form: tuple[tuple[str, str], ...] = ()
    """What it posts there; empty: it goes there by GET, and `uri` holds everything."""


def answer(uri: str, mode: ResponseMode, parameters: Mapping[str, str | None]) -> Redirect:
    """These parameters on their way to a redirect URI; those that are None are left out."""
    match mode:
        case ResponseMode.QUERY:
            return Redirect(with_parameters(uri, parameters))
        case ResponseMode.FRAGMENT:
            # A redirect URI has no fragment of its own: the registry refuses such ones (RFC 6749 section 3.1.2).
            return Redirect(f"{uri}#{urlencode(_given(parameters))}")
        case ResponseMode.FORM_POST:
            return Redirect(uri, tuple(_given(parameters).items()))


def suits(mode: ResponseMode, uri: str) -> bool:
    """Whether a browser can answer so: nothing can be posted to a native application's own scheme."""
    return mode is not ResponseMode.FORM_POST or uri.startswith(("https://", "http://"))


def _given(parameters: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in parameters.items() if value is not None}
