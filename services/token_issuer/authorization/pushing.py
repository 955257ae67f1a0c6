"""Pushed authorization requests (RFC 9126): the application leaves its request here, the browser brings a reference.

What was pushed is checked when it is pushed and, as it then stands, once more when a sign-in begins with it; so nothing
that has changed in between is missed. It leads to one code at most: reloading the page at which a sign-in begins does
no harm, and a second code is refused by the log.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from msgspec.structs import replace

from services.token_issuer.authorization.checking import surroundings, targets
from services.token_issuer.authorization.parameters import Parameters
from services.token_issuer.authorization.pushed import PUSHED, PushedRequest, find
from services.token_issuer.authorization.request_object import effective, request_object, require_signed
from services.token_issuer.authorization.rules import check, destination, invalid_request
from services.token_issuer.clients import Presented, proof
from services.token_issuer.domain.pushed_request import Push, decider
from services.token_issuer.fapi import check_proof
from services.token_issuer.issuer import Issuer, append_of, on_behalf_of
from services.token_issuer.key_proof import KeyProof, invalid_proof
from shared.denials import DenialKind
from shared.errors import Kind, Refusal
from shared.http.forms import Params
from shared.ids import digest, new_ordered_id, new_secret
from shared.log.append import Append, Fence, OnceKey
from shared.log.event import Delete, Put, RowValue

URN: Final = "urn:ietf:params:oauth:request_uri:"
_PROOFS: Final = frozenset({"client_secret", "client_assertion", "client_assertion_type"})
"""They authenticate the push, and are no part of the request."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What the application is told (section 2.2)."""

    request_uri: str
    expires_in: int


async def push(issuer: Issuer, who: Presented, form: Params) -> Pushed:
    """Keep a request whose every rule has been applied."""
    pairs = pairs_of(who, form)
    parameters = Parameters.of(pairs)
    if parameters.oversized:
        raise invalid_request("the request is too large")
    signed = request_object(parameters)
    looked_up = targets(parameters if signed is None or signed.parameters is None else signed.parameters)
    reference = new_secret()
    stream, context = decider.stream(new_ordered_id()), on_behalf_of(who.client_id)

    async def decide() -> tuple[timedelta, Append]:
        known = await issuer.questions.known(who.client_id, identifiers=looked_up)
        application = await issuer.authenticate(known.application, who)
        require_signed(application, signed)
        now, lifetime = issuer.clock(), issuer.policy.pushed_request_life(application)
        if who.key is not None:
            check_proof(application, who.key, now)
        asked = bound(await effective(issuer, application, parameters, signed), who.key)
        check(destination(application, asked), asked, surroundings(issuer, known))
        expires_at = now + lifetime
        command = Push(application.client_id, digest(reference), expires_at)
        fence = Fence(known.as_of, ((DenialKind.CLIENT, application.client_id), *proof(who)))
        append = append_of(stream, None, decider.decide(command, None), context, fence)
        row: dict[str, RowValue] = {
            "digest": command.request_digest,
            "client_id": command.client_id,
            "sealed": issuer.sealing.seal_pairs(pairs if asked is parameters else asked.pairs),
            "expires_at": expires_at,
        }
        return lifetime, replace(append, rows=(*append.rows, Put(PUSHED, row)))

    lifetime, _ = await issuer.write(decide, who)
    return Pushed(URN + reference, int(lifetime.total_seconds()))


def pairs_of(who: Presented, form: Params) -> list[tuple[str, str]]:
    """The request in a form: everything but the proof of who pushes it."""
    if "request_uri" in form:
        raise invalid_request("what is pushed cannot be a reference itself")  # section 2.1
    named = [(name, value) for name in form if name not in _PROOFS for value in form.all(name)]
    return named if "client_id" in form else [("client_id", who.client_id), *named]


def bound(asked: Parameters, key: KeyProof | None) -> Parameters:
    """The request, its code bound to the key that was shown with it, if one was (RFC 9449 section 10.1)."""
    if key is None:
        return asked
    named = asked.get("dpop_jkt")
    if named is None:
        return dataclasses.replace(asked, values={**asked.values, "dpop_jkt": (key.jkt,)})
    if named != key.jkt:
        raise invalid_proof("dpop_jkt is the thumbprint of another key than that of the DPoP proof")
    return asked


async def pulled(issuer: Issuer, client_id: str, request_uri: str) -> tuple[PushedRequest, Sequence[tuple[str, str]]]:
    """The request that a reference stands for, and what was pushed.

    Refuses one that is unknown, over, used, or another application's: all in the same words.
    """
    found = await find(issuer.log.pool, digest(request_uri.removeprefix(URN)))
    if found is None or found.client_id != client_id or issuer.clock() >= found.expires_at:
        raise invalid_request_uri()
    return found, issuer.sealing.open_pairs(found.sealed)


def used_up(append: Append, pushed: str | None, until: datetime | None, lifetime: timedelta) -> Append:
    """The append that opens a grant, after which nothing else begins or ends with this pushed request.

    `lifetime`: of a sign-in that has begun. Whatever began with the request before `until` has ended by then.
    """
    if pushed is None or until is None:
        return append
    once = OnceKey(bytes.fromhex(pushed), until + lifetime)
    return replace(append, rows=(*append.rows, Delete(PUSHED, {"digest": pushed})), once=(*append.once, once))


def invalid_request_uri() -> Refusal:
    """RFC 9101 section 6.2 has the code."""
    return Refusal(Kind.INVALID, "invalid_request_uri", "the pushed request is unknown, too old, or was used before")
