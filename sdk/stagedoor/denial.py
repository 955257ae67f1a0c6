"""Denials: standing instructions not to accept tokens. The log numbers them densely, so who misses one knows it."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

import msgspec


class DenialKind(StrEnum):
    """Which identifier of a token a denial is matched against."""

    TOKEN = "token"
    """`jti`, and that of every token that it is derived from."""
    GRANT = "grant"
    """`gid`."""
    SESSION = "session"
    """`sid`."""
    SUBJECT = "subject"
    """`sub`."""
    SUBJECT_SESSIONS = "subject_sessions"
    """`sub`, only tokens that come from a session, except those of the session named by `except_id`."""
    SUBJECT_CLIENT = "subject_client"
    """`sub` and `client_id`, with a space between them; and every client of an `act` chain."""
    CLIENT = "client"
    """`client_id`, and every client of an `act` chain."""
    CLIENT_REFERENCES = "client_references"
    """`client_id`, only reference tokens."""
    KEY = "key"
    """`kid`; whatever position the token claims, since the thief of a key forges any."""


class DenialRule(StrEnum):
    """How long and for which tokens a denial holds."""

    STANDING = "standing"
    """All tokens, until a `LIFTED` for the same kind and id, or for ever."""
    CUT_OFF = "cut_off"
    """Tokens issued at or before the denial's own position."""
    LIFTED = "lifted"
    """Ends a standing denial; cut-offs stay, and so do keys."""


class Denial(msgspec.Struct, frozen=True, kw_only=True):
    """One denial, as the feed carries it."""

    number: int
    """Dense: the one before has the number before."""
    position: int
    """Log position of the event that caused it."""
    epoch: int
    kind: DenialKind
    id: str
    rule: DenialRule
    except_id: str | None = None
    """Only for `SUBJECT_SESSIONS`: the one session that stays."""
    until: datetime | None = None
    """After this moment no token that it can match is alive; None: unknown, or for ever."""
    recorded_at: datetime | None = None
    """When the log recorded it; None: nobody said. It decides nothing, and shows how long a denial takes to arrive."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All denials that still matter, complete up to a position."""

    position: int
    number: int
    """Of the last denial up to there."""
    epoch: int
    denials: tuple[Denial, ...]
    epochs: tuple[tuple[int, int], ...] = ()
    """(epoch, its first position) of every epoch that is known, in order: so that tokens of an earlier epoch, issued
    before the next one began, stay acceptable. Where it is missing they are refused."""


def snapshot_of(pages: Iterable[Snapshot]) -> Snapshot | None:
    """The snapshot that came in several pages; None where they are of different moments."""
    first, *others = pages
    if any((page.position, page.number, page.epoch) != (first.position, first.number, first.epoch) for page in others):
        return None
    denials = tuple(denial for page in (first, *others) for denial in page.denials)
    return msgspec.structs.replace(first, denials=denials)
