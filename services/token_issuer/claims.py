"""The claims about a person that userinfo tells (OpenID Connect Core section 5.1), and the `claims` parameter (5.5).

A claim that is asked for by itself is a scope like any other, `claim:` and its name: the person is asked for it, it is
remembered, narrowed and taken back as scopes are, and the access token says to userinfo that it may be told.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.encoding import strict_json
from shared.errors import Kind, Refusal

SCOPES: Mapping[str, Mapping[str, str]] = {
    "profile": {
        "name": "see your name",
        "given_name": "see your given name",
        "family_name": "see your family name",
        "preferred_username": "see the name that you sign in with",
        "locale": "see your language",
        "zoneinfo": "see your time zone",
        "updated_at": "see when your profile was last changed",
    },
    "email": {
        "email": "see your e-mail address",
        "email_verified": "see whether your e-mail address has been confirmed",
    },
    "address": {"address": "see your postal address"},
    "phone": {
        "phone_number": "see your telephone number",
        "phone_number_verified": "see whether your telephone number has been confirmed",
    },
}
"""The claims of each scope (section 5.4), each with what it lets the application do."""

CLAIMS: Mapping[str, str] = {claim: words for claims in SCOPES.values() for claim, words in claims.items()}
_PREFIX = "claim:"
CLAIM_SCOPES: Mapping[str, str] = {_PREFIX + claim: words for claim, words in CLAIMS.items()}
"""The scopes of single claims."""

MOST_CLAIMS = 50
DEEPEST = 6
"""Levels of the parameter: itself, a member, a claim, its values, and what one may be made of."""
_SUB = re.compile(r"[\x21-\x7e]{1,255}")
"""OpenID Connect Core section 2."""


@dataclass(frozen=True, slots=True)
class AskedClaims:
    """What a `claims` parameter asks for, as far as it is understood here.

    Claims about the person that are asked for in the ID token are left out: an ID token carries none.
    """

    userinfo: tuple[str, ...] = ()
    """Names of claims that userinfo can tell."""
    sub: str | None = None
    """Nobody but this user may be the answer (section 3.1.2.2)."""
    acr: tuple[str, ...] = ()
    """The sign-in has to be worth one of these (section 5.5.1.1); empty: it may be worth anything."""


def parse(text: str | None) -> AskedClaims:
    """Read a `claims` parameter. Raises `Refusal` (invalid_request) for what is not in order."""
    if text is None:
        return AskedClaims()
    asked = _json(text)
    userinfo, id_token = _member(asked, "userinfo"), _member(asked, "id_token")
    wanted_subs = {_sub(claims["sub"]) for claims in (userinfo, id_token) if "sub" in claims} - {None}
    if len(wanted_subs) > 1:
        raise _malformed("claims names two users")
    return AskedClaims(
        userinfo=tuple(name for name in userinfo if name in CLAIMS),
        sub=next(iter(wanted_subs), None),
        acr=_essential_acr(id_token.get("acr", {})),
    )


def scopes_for(asked: AskedClaims, scopes: Sequence[str]) -> tuple[str, ...]:
    """The scopes of single claims that these scopes do not hold already."""
    held = {claim for scope in scopes for claim in SCOPES.get(scope, ())}
    return tuple(_PREFIX + claim for claim in asked.userinfo if claim not in held)


def _json(text: str) -> dict[str, Any]:
    """A JSON object, in which nothing is said twice."""
    try:
        found = strict_json(text)
    except ValueError:
        raise _malformed("claims is not JSON, or says something twice") from None
    if not isinstance(found, dict) or _too_deep(found):
        raise _malformed("claims is not an object, or is nested too deeply")
    return found


def _too_deep(value: object) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return any(isinstance(inner, dict | list) for inner in level)


def _member(asked: dict[str, Any], name: str) -> dict[str, dict[str, Any]]:
    """The claims of a member, each with what is said about it; null says nothing (section 5.5.1)."""
    claims = asked.get(name, {})
    if not isinstance(claims, dict) or len(claims) > MOST_CLAIMS:
        raise _malformed(f"{name} in claims is not an object of at most {MOST_CLAIMS} claims")
    return {claim: _requirement(said) for claim, said in claims.items()}


def _requirement(said: object) -> dict[str, Any]:
    if said is None:
        return {}
    if not isinstance(said, dict):
        raise _malformed("a claim in claims is neither null nor an object")
    if not isinstance(said.get("essential", False), bool) or not isinstance(said.get("values", []), list):
        raise _malformed("essential in claims is true or false, and values a list")
    if "value" in said and "values" in said:
        raise _malformed("a claim in claims has both value and values")
    return said


def _wanted(said: dict[str, Any]) -> list[Any]:
    return [said["value"]] if "value" in said else said.get("values", [])


def _sub(said: dict[str, Any]) -> str | None:
    wanted = _wanted(said)
    if not wanted:
        return None
    if len(wanted) > 1 or not isinstance(wanted[0], str) or not _SUB.fullmatch(wanted[0]):
        raise _malformed("sub in claims names one user")
    return wanted[0]


def _essential_acr(said: dict[str, Any]) -> tuple[str, ...]:
    wanted = _wanted(said)
    if not all(isinstance(value, str) for value in wanted):
        raise _malformed("acr in claims is text")
    return tuple(wanted) if said.get("essential", False) else ()


def _malformed(message: str) -> Refusal:
    return Refusal(Kind.INVALID, "invalid_request", message)
