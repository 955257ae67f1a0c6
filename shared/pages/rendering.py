"""Templates into answers, with the headers that a page needs."""

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from urllib.parse import SplitResult, quote, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response

from shared.settings import is_loopback

_HERE = Path(__file__).parent
_STATIC = ("style.css", "mark.svg")
"""What all pages are made with."""
_TYPES = {".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".js": "text/javascript; charset=utf-8"}
_HOST = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+")
_SCHEME = re.compile(r"[a-z][a-z0-9+\-]*(\.[a-z0-9+\-]+)+")
"""Private-use scheme of a native application (RFC 8252 section 7.1): it has a dot in it."""
_SUBMIT = "document.forms[0].submit()"
"""Sends the form of a page. Its digest stands in the page's policy, so nothing may be added to it."""
_OF_ALL = frozenset({"host", "path", "static"})
"""Names of what all pages have; the footer says by one of them where people are."""
_LOOPBACK = ("http://127.0.0.1:*", "http://localhost:*")
_YEAR = 365 * 24 * 3600
"""Seconds for which a browser comes by https alone once it has seen a page (RFC 6797 section 6.1.1)."""


class Pages:
    """Renders pages."""

    def __init__(self, base: str, templates: Path, *, demo: bool, static: Sequence[str] = ()) -> None:
        """`base`: the address below which all of them are; `static`: files beside the templates that browsers fetch."""
        self.address = base
        """The address below which all of them are."""
        parts = urlsplit(base)
        self.host = parts.netloc
        """Where people see that they are."""
        self._base = parts.path.rstrip("/")
        self._transport = {"Strict-Transport-Security": f"max-age={_YEAR}"} if _lasting(parts) else {}
        self._images = ("'self'", "https:", "data:", *(_LOOPBACK if demo else ()))
        places = [*((_HERE, name) for name in _STATIC), *((templates, name) for name in static)]
        self._static = {name: (folder / name).read_bytes() for folder, name in places}
        self._environment = Environment(
            loader=FileSystemLoader((templates, _HERE)), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )
        self._environment.globals.update(path=self.path, static=self._static_path, host=self.host)

    def path(self, path: str, **query: str) -> str:
        """The path of a page as forms and links have it."""
        return f"{self._base}{path}{_query(query)}"

    def render(  # noqa: PLR0913  (what a page is)
        self,
        template: str,
        fields: Mapping[str, object],
        *,
        status: int = 200,
        form_targets: tuple[str, ...] = (),
        headers: Mapping[str, str] | None = None,
        script: str = "",
        asks: bool = False,
    ) -> HTMLResponse:
        """A page. `form_targets`: origins that a form on it may lead to in the end, beside this site.

        `script`: the one static file that may run on it, if any; what stands in the page itself never runs. `asks`: it
        may ask this site for more.
        """
        if not _OF_ALL.isdisjoint(fields):
            raise ValueError("a page hides what all pages say of themselves")
        text = self._environment.get_template(template).render(fields)
        scripts = (f"script-src {self.address}/static/{script}",) if script else ()
        more = (*scripts, "connect-src 'self'") if asks else scripts
        given = {**_page_headers(self._images, form_targets, more), **self._transport, **(headers or {})}
        return HTMLResponse(text, status, given)

    def render_posting(self, template: str, fields: Mapping[str, object], target: str) -> HTMLResponse:
        """A page whose form a script sends to another site at once, by itself (OAuth 2.0 Form Post Response Mode).

        The form may lead to `target`, an origin, and nowhere else; no script but that one line runs.
        """
        text = self._environment.get_template(template).render({**fields, "script": _SUBMIT})
        return HTMLResponse(text, 200, _posting_headers(target))

    def see(self, path: str, **query: str) -> RedirectResponse:
        """On to another page of ours, by GET (RFC 9110 section 15.4.4); its address is never taken from the request."""
        return see_other(f"{self.address}{path}{_query(query)}")

    def static(self, name: str) -> Response | None:
        """A file that pages need; None if there is no such one."""
        content = self._static.get(name)
        if content is None:
            return None
        # The address has the content's digest in it, so the answer never changes.
        headers = {
            "Cache-Control": "public, max-age=31536000, immutable",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        return Response(content, media_type=_TYPES[Path(name).suffix], headers=headers)

    def _static_path(self, name: str) -> str:
        return f"{self._base}/static/{name}?v={sha256(self._static[name]).hexdigest()[:12]}"


def _query(fields: Mapping[str, str]) -> str:
    """The query that those of them make which are not empty; nothing, if all are."""
    pairs = "&".join(f"{name}={quote(value, safe='')}" for name, value in fields.items() if value)
    return f"?{pairs}" if pairs else ""


def see_other(address: str) -> RedirectResponse:
    """303, so that a form is never sent on to where it leads (RFC 9700 section 4.12)."""
    if not address or any(not "\x21" <= character <= "\x7e" for character in address):
        raise ValueError("an address to redirect to is made of visible ASCII")
    return RedirectResponse(address, 303)


def origin_of(address: str) -> str:
    """scheme://host[:port] of an address; of one without a host, its scheme."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else f"{parts.scheme}:"


def _lasting(issuer: SplitResult) -> bool:
    """Whether browsers may remember that this host speaks https.

    They would remember it of all ports of the host (RFC 6797 section 8.3), so never of this machine's own name.
    """
    return issuer.scheme == "https" and not is_loopback(issuer.hostname or "")


def _source(target: str) -> str:
    """What stands for it in a policy (CSP Level 3 section 2.3.1); empty if it is nothing that may stand there."""
    if _HOST.fullmatch(target):
        return target
    scheme = target.partition(":")[0]
    return f"{scheme}:" if _SCHEME.fullmatch(scheme) else ""


def _posting_headers(target: str) -> dict[str, str]:
    script = b64encode(sha256(_SUBMIT.encode()).digest()).decode()
    return {
        "Content-Security-Policy": _policy(("'self'",), _source(target) or "'none'", f"script-src 'sha256-{script}'"),
        # Applications that look at `Origin` see where the form comes from; the rest of the address stays here.
        "Referrer-Policy": "strict-origin",
        "Cache-Control": "no-store",
    }


def _page_headers(images: tuple[str, ...], form_targets: tuple[str, ...], more: tuple[str, ...]) -> dict[str, str]:
    targets = " ".join(["'self'", *filter(None, map(_source, form_targets))])
    return {
        "Content-Security-Policy": _policy(images, targets, *more),
        # So that our own forms say where they come from, and other sites learn nothing.
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


def _policy(images: tuple[str, ...], form_targets: str, *more: str) -> str:
    """The `Content-Security-Policy` of a page: nothing but what it is made of, and nobody else's frame around it."""
    return "; ".join(
        [
            "default-src 'none'",
            "style-src 'self'",
            f"img-src {' '.join(images)}",
            *more,
            f"form-action {form_targets}",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ]
    )
