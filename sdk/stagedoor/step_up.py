"""Endpoints for which a token is not enough: the person must have signed in by more, or more recently (RFC 9470).

@require_sign_in(acr=["urn:stagedoor:acr:mfa"], max_age=300)
@require("update")
async def sell(request): ...        # who signed in otherwise is asked to do it once more

The answer tells the application what to ask for at the authorization endpoint; with the new token it comes again.
"""

import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import wraps
from typing import Any

from stagedoor.asgi import _METADATA, SCHEME, VERDICT, Refusal, Request, Scope
from stagedoor.verdict import Allowed


class InsufficientSignIn(Refusal):
    """401 `insufficient_user_authentication`, with what would be sufficient (section 3)."""

    def __init__(self, *, metadata: str, acr: Collection[str], max_age: int | None, scheme: str = "Bearer") -> None:
        described = "a different sign-in is needed" if acr else "a more recent sign-in is needed"
        super().__init__(401, "insufficient_user_authentication", described, metadata=metadata, scheme=scheme)
        self._acr = tuple(acr)
        self._max_age = max_age

    def _further(self) -> Sequence[tuple[str, str]]:
        wanted = [("acr_values", " ".join(self._acr))] if self._acr else []
        return wanted if self._max_age is None else [*wanted, ("max_age", str(self._max_age))]


def require_sign_in(
    *, acr: Collection[str] = (), max_age: int | None = None
) -> Callable[[Callable[[Request], Awaitable[Any]]], Callable[[Request], Awaitable[Any]]]:
    """An endpoint that needs a sign-in worth one of these `acr`, at most `max_age` seconds ago.

    A token without a sign-in behind it (of a service, or a reference token) never suffices.
    """
    if not acr and max_age is None:
        raise ValueError("say what the sign-in has to be worth, or how recent it has to be")
    if isinstance(acr, str):  # it would be one for each of its characters
        raise TypeError("acr is a list of values")
    if any(not value or set(value) & {'"', "\\", " "} or not value.isascii() for value in acr):
        raise ValueError("an acr is an address or a name without spaces")

    accepted = tuple(acr)

    def decorate(endpoint: Callable[[Request], Awaitable[Any]]) -> Callable[[Request], Awaitable[Any]]:
        @wraps(endpoint)
        async def guarded(request: Request) -> Any:
            scope: Scope = request.scope  # type: ignore[attr-defined]  # every framework's request has one
            verdict = scope[VERDICT]
            if not isinstance(verdict, Allowed):
                raise TypeError("the endpoint stands outside the GuardMiddleware")
            if not _suffices(verdict, accepted, max_age):
                return InsufficientSignIn(
                    metadata=scope[_METADATA], acr=accepted, max_age=max_age, scheme=scope[SCHEME]
                )
            return await endpoint(request)

        return guarded

    return decorate


def _suffices(verdict: Allowed, acr: tuple[str, ...], max_age: int | None) -> bool:
    said = verdict.claims
    if acr and said.get("acr") not in acr:
        return False
    if max_age is None:
        return True
    signed_in = said.get("auth_time")
    return type(signed_in) is int and time.time() - signed_in <= max_age
