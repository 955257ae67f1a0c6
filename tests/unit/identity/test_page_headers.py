"""Headers of pages that depend on where the issuer is."""

import pytest

from services.identity.pages.site import TEMPLATES
from shared.pages.rendering import Pages

SIGNED_OUT = {"heading": "", "text": "", "detail": "", "code": "", "way": None, "reference": ""}


@pytest.mark.parametrize(
    ("issuer", "lasting"),
    [
        ("https://login.example.com/id", True),
        # A browser would then come by https to all other ports of the host as well.
        ("https://localhost:8443/id", False),
        ("https://127.0.0.1:8443/id", False),
        ("https://[::1]:8443/id", False),
        # Over http the header means nothing (RFC 6797 section 7.2).
        ("http://login.example.com/id", False),
    ],
)
def test_browsers_remember_https_where_the_host_is_the_issuers_own(issuer: str, lasting: bool) -> None:
    headers = Pages(issuer, TEMPLATES, demo=False).render("error.html", SIGNED_OUT).headers
    assert headers.get("strict-transport-security") == ("max-age=31536000" if lasting else None)
