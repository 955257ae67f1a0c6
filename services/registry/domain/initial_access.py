"""One initial access token (RFC 7591 section 1.2): who shows it may register applications, within its limits.

    unknown ── Issue ──▶ issued ── Revoke ──▶ revoked

What was registered with it stands in the streams of the applications, which claim its uses in their own append.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from services.registry.domain.application import SYSTEM
from services.registry.domain.refusals import invalid
from services.registry.domain.resource import MANAGEMENT_SCOPE
from services.registry.domain.text import check_distinct, check_scope, check_text
from services.registry.domain.trust import check_client_id, check_known
from services.registry.events import GrantType, InitialAccessTokenIssued, InitialAccessTokenRevoked
from shared.decider import Decider
from shared.errors import Kind, Refusal
from shared.log.event import Event

LONGEST = timedelta(days=366)
"""None is accepted for longer: whoever still needs one gets another."""
USES = range(1, 10_000 + 1)
USUAL_PREFIX = "dynamic.registration/"
"""What the names of applications begin with if nothing is said."""
RANDOM_LENGTH = 26
"""Characters of a name behind the prefix: 130 random bits in base32."""

_TOKEN_ID = re.compile(r"[A-Za-z0-9_-]{22}")


@dataclass(frozen=True, slots=True)
class Issue:
    """Let programs register applications."""

    token_id: str
    token_digest: str
    purpose: str
    expires_at: datetime
    uses: int | None
    """None: any number."""
    client_id_prefix: str
    scopes: tuple[str, ...]
    grants: tuple[GrantType, ...]
    known_scopes: frozenset[str]
    now: datetime


@dataclass(frozen=True, slots=True)
class Revoke:
    """Let nothing more be registered with it."""

    token_id: str


Command = Issue | Revoke


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody issued it."""


@dataclass(frozen=True, slots=True)
class Issued:
    """It is accepted, as long as it has not expired and has uses left."""

    as_issued: InitialAccessTokenIssued


@dataclass(frozen=True, slots=True)
class Revoked:
    """It is not accepted any more."""

    as_issued: InitialAccessTokenIssued


State = Unknown | Issued | Revoked


def decide(command: Command, state: State) -> Sequence[Event]:
    """What happens when `command` meets `state`, or the refusal."""
    match command:
        case Issue():
            return _issue(command, state)
        case Revoke():
            if isinstance(state, Unknown):
                raise not_found()
            return (InitialAccessTokenRevoked(token_id=command.token_id),) if isinstance(state, Issued) else ()
        case _:
            assert_never(command)


def not_found() -> Refusal:
    """Nobody issued it."""
    return Refusal(Kind.NOT_FOUND, "initial_access_token_not_found", "there is no such initial access token")


def check_token_id(token_id: str) -> None:
    """Refuse what is the id of none."""
    if not _TOKEN_ID.fullmatch(token_id):
        raise not_found()


def _issue(command: Issue, state: State) -> Sequence[Event]:
    if not isinstance(state, Unknown):
        raise Refusal(Kind.ALREADY_EXISTS, "initial_access_token_exists", "this token was issued before")
    check_text(command.purpose, "the purpose")
    if not command.now < command.expires_at <= command.now + LONGEST:
        raise invalid(f"an initial access token ends in the future, within {LONGEST.days} days", "invalid_time")
    if command.uses is not None and command.uses not in USES:
        raise invalid(f"an initial access token is used {USES.start} to {USES.stop - 1} times, or without a limit")
    _check_prefix(command.client_id_prefix)
    _check_limits(command)
    return (
        InitialAccessTokenIssued(
            token_id=command.token_id,
            token_digest=command.token_digest,
            purpose=command.purpose,
            expires_at=command.expires_at,
            uses=command.uses,
            client_id_prefix=command.client_id_prefix,
            scopes=command.scopes,
            grants=command.grants,
        ),
    )


def _check_prefix(prefix: str) -> None:
    if not prefix.endswith("/"):
        raise invalid("a prefix of client_ids ends with a slash, like com.example/")
    check_client_id(prefix + "a" * RANDOM_LENGTH)
    if prefix.startswith(SYSTEM):
        raise invalid(f"the names below {SYSTEM} are the system's own")


def _check_limits(command: Issue) -> None:
    check_distinct(command.scopes, "scopes", most=100)
    for scope in command.scopes:
        check_scope(scope)
    if MANAGEMENT_SCOPE in command.scopes:
        raise invalid(f"no application that registers itself is given the scope {MANAGEMENT_SCOPE}", "invalid_scope")
    check_known(command.scopes, command.known_scopes)
    check_distinct(command.grants, "grants", most=len(GrantType))
    if not command.grants:
        raise invalid("an initial access token allows one grant at least")


def evolve(state: State, event: Event) -> State:
    """The state after a fact."""
    match event:
        case InitialAccessTokenIssued():
            return Issued(event)
        case InitialAccessTokenRevoked() if isinstance(state, Issued):
            return Revoked(state.as_issued)
    return state


decider: Decider[Command, State] = Decider("initial_access", Unknown(), decide, evolve)
