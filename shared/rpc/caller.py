"""Who calls: the peer, by its certificate, and the person on whose behalf it calls, by the token."""

import re
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from shared.errors import Kind, Refusal
from shared.ids import CommandId, new_command_id
from shared.log.append import Context

TRUST_DOMAIN = "spiffe://stagedoor/"
_PATH = re.compile(r"operator|(?:service|resource)/[a-z0-9][a-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class Caller:
    """A peer with a certificate of the instance's authority."""

    name: str
    """What follows the trust domain in its certificate's URI: `service/identity`, `operator`, `resource/stagehands`."""

    @classmethod
    def from_uris(cls, uris: Iterable[bytes]) -> "Caller":
        """From the URIs of a verified certificate; it has to have exactly one (SPIFFE X.509-SVID section 2)."""
        return _named_by(tuple(uris))

    @property
    def inside(self) -> bool:
        """Whether it is a part of the instance, or who runs it; other teams' resources are neither."""
        return not self.name.startswith("resource/")

    @property
    def actor(self) -> str:
        """How events name it as the one who acted."""
        return self.name.replace("/", ":") if "/" in self.name else f"service:{self.name}"


@lru_cache(maxsize=256)
def _named_by(uris: tuple[bytes, ...]) -> Caller:
    text = uris[0].decode("ascii", "replace") if len(uris) == 1 else ""
    path = text.removeprefix(TRUST_DOMAIN)
    if path == text or not _PATH.fullmatch(path):
        raise Refusal(Kind.FORBIDDEN, "caller_not_allowed", "the certificate names nobody of this instance")
    return Caller(path)


@dataclass(frozen=True, slots=True)
class Person:
    """Whose access token came along, verified."""

    sub: str
    client_id: str
    roles: frozenset[str]
    scopes: frozenset[str]
    jti: str
    position: int
    """Where in the log the token was issued."""
    auth_time: int | None = None
    """When the person proved who they are, in seconds since 1970; None: the token does not say."""

    @property
    def actor(self) -> str:
        """How events name the one who acted: an application that acts for itself is a client."""
        return f"client:{self.client_id}" if self.sub == self.client_id else f"user:{self.sub}"


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may call a method."""

    callers: frozenset[str]
    """Names of callers; `service/*` admits every service, `*` every certificate of the instance."""
    role: frozenset[str] | None = None
    """The person needs one of these roles. None: no person is needed, and a token is not looked at."""

    def __post_init__(self) -> None:
        """Refuse rules that would admit nobody: they are mistakes."""
        if not self.callers or any("*" in pattern[:-1] for pattern in self.callers):
            raise ValueError("a rule names its callers; a star stands at the end")
        if self.role is not None and not self.role:
            raise ValueError("a rule that asks for a person names the roles that serve")

    def admits(self, caller: Caller) -> bool:
        """Whether this peer may call at all."""
        return _admitted(self.callers, caller.name)


@lru_cache(maxsize=1024)
def _admitted(patterns: frozenset[str], name: str) -> bool:
    return name in patterns or any(pattern[-1] == "*" and name.startswith(pattern[:-1]) for pattern in patterns)


class Call(NamedTuple):
    """The call that is being answered."""

    caller: Caller
    person: Person | None
    correlation_id: str
    idempotency_key: UUID | None


current: ContextVar[Call] = ContextVar("call")
"""Set while a servicer's method runs."""


def context() -> Context:
    """What an append of this call's command says about its origin.

    Raises `LookupError` outside of a call.
    """
    call = current.get()
    return Context(
        actor=call.caller.actor if call.person is None else call.person.actor,
        correlation_id=call.correlation_id,
        command_id=new_command_id() if call.idempotency_key is None else CommandId(call.idempotency_key),
    )
