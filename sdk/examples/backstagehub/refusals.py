"""What BackstageHub may be told instead of getting what it asked for."""

from typing import Any

import httpx


class AccessRefused(Exception):  # noqa: N818  (it is an answer, not a malfunction)
    """Stagedoor, or its API, does not let BackstageHub act for the user."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(code)
        self.code = code
        """Stable word: RFC 6749 section 5.2, RFC 6750 section 3.1."""
        self.description = description


class NotBegunHere(AccessRefused):
    """The answer belongs to no sign-in that is under way in this browser: it is over, or was never begun here.

    A browser that goes back brings an answer a second time; so does somebody who sends Freddie a link with an answer
    of their own. Either way nothing in it may be believed.
    """

    def __init__(self) -> None:
        super().__init__("unknown_sign_in", "")


class NotPossibleNow(Exception):  # noqa: N818  (as above)
    """Nobody refuses anything, but it does not work at the moment."""


class WrongInput(Exception):  # noqa: N818  (as above)
    """What was typed in is not accepted; the message says what is wrong with it."""


def check(answer: httpx.Response) -> Any:
    """The JSON of an answer of the API; raises one of the above for anything but success."""
    if answer.is_success:
        return answer.json()
    error, description = _error(answer)
    if answer.status_code in (401, 403):
        raise AccessRefused(error, description)
    if answer.status_code in (400, 422):
        raise WrongInput(description)
    raise NotPossibleNow(f"the API answered {answer.status_code}")


def _error(answer: httpx.Response) -> tuple[str, str]:
    try:
        body = answer.json()
        return str(body["error"]), str(body.get("error_description", ""))
    except (ValueError, KeyError, TypeError):
        return "refused", ""
