"""Denials: standing instructions not to accept tokens.

A denial is born in the append of the event that causes it, at the same position, because the event class says
so (`Event.denies`). Nothing reacts to the event, so nothing can be late. The log numbers denials densely;
relay, `WatchDenials` and the fence all read the one table `log.denials`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

LONGEST_ACCESS_TOKEN: Final = timedelta(days=1)
"""No access token lives longer: so a day after a denial all that was issued before it has expired."""


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
    """`sub` and `client_id` together; the id is `subject_client_id(sub, client_id)`. Of an `act` chain every client."""
    CLIENT = "client"
    """`client_id`, and every client of an `act` chain."""
    CLIENT_REFERENCES = "client_references"
    """`client_id`, only reference tokens."""
    KEY = "key"
    """`kid`; whatever position the token claims, since the thief of a key forges any."""


class DenialRule(StrEnum):
    """How long and for which tokens a denial holds."""

    STANDING = "standing"
    """All tokens, until a `LIFTED` entry for the same kind and id, or for ever."""
    CUT_OFF = "cut_off"
    """Tokens, and grants, that were born at or before the denial's own position."""
    LIFTED = "lifted"
    """Ends a standing denial; cut-offs stay."""


@dataclass(frozen=True, slots=True)
class Denial:
    """What an event denies. Its number and position are given by the log."""

    kind: DenialKind
    id: str
    rule: DenialRule
    except_id: str | None = None
    """Only for `SUBJECT_SESSIONS`: the one session that stays."""
    until: datetime | None = None
    """After this moment no token that it can match is alive; None: until lifted, or for ever."""


def secrets_id(client_id: str) -> str:
    """The id of a `CLIENT` denial that concerns only what is about to be given on the word of one of its secrets.

    No client's id has a space, so no token has this one: it is for the fence alone.
    """
    return f"{client_id} secrets"


def initial_access_id(token_id: str) -> str:
    """The id of a `CLIENT` denial that concerns only what is about to be registered on the word of one token.

    As with `secrets_id`, it is for the fence alone.
    """
    return f"{token_id} initial-access-token"


def subject_client_id(sub: str, client_id: str) -> str:
    """The id of a `SUBJECT_CLIENT` denial. Neither part can contain a space."""
    return f"{sub} {client_id}"
