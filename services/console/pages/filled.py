"""A form that was sent: shown once more with what was wrong with it, or on to what else went wrong."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from services.console.calls import is_signed_out, lacks_the_role
from services.console.pages.site import Site, sentence
from services.console.sessions import SignedIn
from shared.errors import Kind, Refusal, Unavailable
from shared.http.errors import STATUS


def refused_form(
    site: Site, request: Request, who: SignedIn, fields: Mapping[str, Any], refusal: Refusal | None
) -> Response:
    """A form, or the same once more with what was wrong with it."""
    alert = "" if refusal is None else f"{sentence(refusal.message)} ({refusal.code})"
    status = 200 if refusal is None else 422 if refusal.kind is Kind.INVALID else STATUS[refusal.kind]
    return site.render(request, who, "form.html", {**fields, "alert": alert}, status=status)


def changed_meanwhile() -> Refusal:
    """Somebody else changed the same thing since the page was opened."""
    return Refusal(Kind.CONFLICT, "changed_meanwhile", "it was changed since you opened this page; open it anew")


def raise_unless_about_the_form(refusal: Refusal) -> None:
    """What the person cannot put right by typing something else goes on as it is."""
    if isinstance(refusal, Unavailable) or lacks_the_role(refusal) or is_signed_out(refusal):
        raise refusal


def in_words(value: Any) -> list[str]:
    """A setting for people: a line for each value, none where there is none."""
    if isinstance(value, bool):
        return ["yes"] if value else []
    if isinstance(value, list):
        return value
    return [str(value)] if value else []
