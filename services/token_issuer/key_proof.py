"""The DPoP proof in a request to the issuer (RFC 9449 sections 5 and 10): that whoever asks holds a key.

A proof is checked as at any resource (`stagedoor.dpop`), for the issuer's own address of the endpoint. It is used up in
the append that it comes with (`Issuer.write`), so it is good for one request, whichever replica that comes to.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from shared.errors import Kind, Refusal
from shared.log.append import OnceKey
from stagedoor import dpop


@dataclass(slots=True, eq=False)
class KeyProof:
    """A proof that was checked, and how far it has come on its way through one request."""

    jkt: str
    """Thumbprint of its key."""
    algorithm: str
    """What it is signed with."""
    not_before: datetime
    """From when it says to be good."""
    once: OnceKey
    """What the log remembers, so that nobody uses it again."""
    replayed: bool = False
    """The log had it as used before: whatever is tried again for this request, it proves nothing."""


def shown(headers: Sequence[str], uri: str, now: datetime, window: timedelta) -> KeyProof:
    """The proof in the `DPoP` headers of a POST to this address."""
    if len(headers) > 1:
        raise invalid_proof("the request has more than one DPoP header")
    found = dpop.read(dpop.Proof("POST", uri, headers[0]), now.timestamp(), window=window.total_seconds())
    if found is None:
        raise invalid_proof("the DPoP proof is not valid for this request")
    return KeyProof(
        jkt=found.jkt,
        algorithm=found.algorithm,
        not_before=datetime.fromtimestamp(found.not_before, UTC),
        once=OnceKey(found.digest, datetime.fromtimestamp(found.until, UTC)),
    )


def invalid_proof(message: str) -> Refusal:
    """RFC 9449 section 5."""
    return Refusal(Kind.INVALID, "invalid_dpop_proof", message)


def used_proof() -> Refusal:
    """The same for one that was used before (RFC 9449 section 11.1)."""
    return invalid_proof("the DPoP proof was used before")
