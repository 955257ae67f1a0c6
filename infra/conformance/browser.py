"""What the suite's browser does on our pages: sign in, consent, sign out.

The suite's own words (`browser` in a plan's configuration): an entry begins at an address that it opens; a task is done
where the page that is shown matches, and may be left out where it is optional; a command fills in, clicks, or waits
for a text, of which it keeps a picture for whoever reviews the run.
"""

from typing import Any

USER_NAME, PASSWORD = "freddie", "a-kind-of-magic-1986"
NOT_TRUSTED = "This request cannot be trusted"
SIGNED_OUT = "You are signed out"
_SHOWN_SECONDS = 10
_PICTURE, _PICTURE_IF_ASKED = "update-image-placeholder", "update-image-placeholder-optional"

Entry = dict[str, Any]


def usual(issuer: str, suite: str) -> list[Entry]:
    """For all modules but those below."""
    return [_authorize(issuer, suite), _sign_out(issuer, suite)]


def of_modules(issuer: str, suite: str) -> dict[str, list[Entry]]:
    """For modules that end on a page of ours, or where the page itself is the proof."""
    asked_anew = [_authorize(issuer, suite, picture=_PICTURE_IF_ASKED)]
    refused = [_page(f"{issuer}/connect/authorize*", NOT_TRUSTED)]
    refused_sign_out = [_authorize(issuer, suite), _page(f"{issuer}/connect/endsession*", NOT_TRUSTED)]
    signed_out = [_authorize(issuer, suite), _sign_out(issuer, suite, stays=True)]
    logout = "oidcc-rp-initiated-logout"
    return {
        "oidcc-prompt-login": asked_anew,
        "oidcc-max-age-1": asked_anew,
        "oidcc-ensure-registered-redirect-uri": refused,
        f"{logout}-bad-post-logout-redirect-uri": refused_sign_out,
        f"{logout}-query-added-to-post-logout-redirect-uri": refused_sign_out,
        f"{logout}-bad-id-token-hint": refused_sign_out,
        f"{logout}-modified-id-token-hint": refused_sign_out,
        f"{logout}-no-id-token-hint": refused_sign_out,
        f"{logout}-no-params": signed_out,
        f"{logout}-no-post-logout-redirect-uri": signed_out,
        f"{logout}-only-state": signed_out,
    }


def _authorize(issuer: str, suite: str, picture: str | None = None) -> Entry:
    shown = [["wait", "css", "h1", _SHOWN_SECONDS, "Sign in", picture]] if picture else []
    return {
        "match": f"{issuer}/connect/authorize*",
        "tasks": [
            {
                "task": "Sign in",
                "optional": True,
                "match": f"{issuer}/signin*",
                "commands": [
                    *shown,
                    ["text", "id", "user_name", USER_NAME],
                    ["text", "id", "password", PASSWORD],
                    ["click", "css", "button[value='sign_in']"],
                ],
            },
            {
                "task": "Consent",
                "optional": True,
                "match": f"{issuer}/consent*",
                "commands": [["click", "css", "button[value='allow']"]],
            },
            {
                "task": "Back at the application",
                "match": f"{suite}/test/*/callback*",
                "commands": [["wait", "id", "submission_complete", _SHOWN_SECONDS]],
            },
        ],
    }


def _sign_out(issuer: str, suite: str, *, stays: bool = False) -> Entry:
    asked = {
        "task": "Confirm",
        "optional": True,
        "match": f"{issuer}/connect/endsession*",
        "commands": [["click", "css", "button[value='sign_out']"]],
    }
    end = (
        {
            "task": "Signed out here",
            "match": f"{issuer}/signedout*",
            "commands": [["wait", "css", "h1", _SHOWN_SECONDS, SIGNED_OUT, _PICTURE]],
        }
        if stays
        else {"task": "Back at the application", "match": f"{suite}/test/*/post*"}
    )
    return {"match": f"{issuer}/connect/endsession*", "tasks": [asked, end]}


def _page(match: str, text: str) -> Entry:
    shown = {
        "task": "Refused here",
        "match": match,
        "commands": [["wait", "css", "h1", _SHOWN_SECONDS, text, _PICTURE]],
    }
    return {"match": match, "tasks": [shown]}
