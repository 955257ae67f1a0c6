"""What a `Guard` needs of the outside: somebody who tells of denials, and somebody to ask when that is not enough."""

from collections.abc import Collection
from typing import Protocol

import msgspec

from stagedoor.denials import DenialView
from stagedoor.presented import Possession


class Feed(Protocol):
    """Fills a view of denials."""

    async def run(self, view: DenialView) -> None:
        """Fill the view until cancelled: a snapshot, then every denial, and a voucher at least every second or so.

        Lost connections are its own to mend. It raises only what no waiting can mend (a wrong password, say).
        """

    async def ping(self) -> None:
        """Ask for the head now, so that a token that was just issued comes within the view.

        Answers when the view has been told, or after a short time without an answer; raises nothing.
        """


class Answer(msgspec.Struct, frozen=True):
    """What the issuer says of a token."""

    allowed: bool
    reason: str
    """Empty where it is allowed."""
    position: int
    """The log position that the answer takes into account."""
    claims: str = ""
    """JSON object of what the token says, if that was asked for and the token is allowed."""


class OnlineError(Exception):
    """The issuer could not be asked, or did not answer in time."""


class Online(Protocol):
    """Somebody who knows, for when the view does not."""

    async def validate(  # noqa: PLR0913  (the parts of a question)
        self,
        token: str,
        *,
        audience: str,
        scopes: Collection[str],
        min_position: int,
        with_claims: bool = False,
        proof: Possession | None = None,
    ) -> Answer:
        """Ask about one token; `proof`: what it was presented with, given where there is one. Raises `OnlineError`."""
