"""What grants have in common."""

from collections.abc import Sequence

from prometheus_client import Counter

from services.token_issuer.clients import Presented, proof
from services.token_issuer.domain.binding import Key
from services.token_issuer.domain.refusals import invalid_grant
from services.token_issuer.events import GrantEnded
from services.token_issuer.fapi import check_proof
from services.token_issuer.keys import Signers
from services.token_issuer.scopes import Access, Places, narrowed, permitted
from services.token_issuer.views import Application, Known, KnownGrant, denied, parties
from shared.clock import Clock
from shared.errors import Refusal
from shared.http.errors import invalid_request
from shared.log.append import Fence
from shared.log.event import Event
from shared.telemetry import logger

_log = logger(__name__)
_reused = Counter(
    "stagedoor_grants_ended_by_reuse_total", "Grants ended because a code or refresh token was used twice"
)

NOTHING = Access((), ())


def allowed_now(application: Application, known: Known, grant: KnownGrant, places: Places) -> Access:
    """What is left of a grant as things are now: nothing, if one of its parties was denied since it was opened."""
    user = known.user
    if user is None or not user.enabled or denied(grant.grant, grant.born, known.denials):
        return NOTHING
    return permitted(Access(grant.grant.scopes, grant.grant.audiences), application, known.resources, user, places)


def part(access: Access, known: Known, scope: str | None, targets: Sequence[str], places: Places) -> Access:
    """The part that a request asks for; all of nothing is nothing."""
    return narrowed(access, known.resources, scope, targets, places) if access.audiences else NOTHING


def key_of(application: Application, who: Presented, clock: Clock) -> Key | None:
    """The key that the tokens of a request are bound to, if any; refused where the application has to show one."""
    proof, settings = who.key, application.settings
    if settings.tls_client_certificate_bound_access_tokens:
        return _certificate(application, who)
    if proof is None:
        if settings.dpop_bound_access_tokens:
            raise invalid_request("this application gets bound tokens only: a DPoP proof is missing")
        return None
    check_proof(application, proof, clock())
    return Key(proof.jkt, binds_refresh=not application.confidential)


def _certificate(application: Application, who: Presented) -> Key:
    """The certificate, in place of a proof (RFC 8705 sections 3 and 4)."""
    if who.key is not None:
        raise invalid_request("this application's tokens are bound to its certificate: ask without a DPoP proof")
    if who.certificate is None:
        raise invalid_request("this application gets bound tokens only: ask where a client certificate is asked for")
    if not who.certificate.current:
        raise invalid_request("the client certificate has expired, or is not valid yet")
    return Key(None, binds_refresh=not application.confidential, x5t_s256=who.certificate.x5t_s256)


def fence(known: Known, grant: KnownGrant, who: Presented, events: Sequence[Event], signers: Signers) -> Fence | None:
    """The fence around what a grant gives; its end gives nothing, and nothing may stop it.

    The keys that are to sign belong to it, and what the client showed: a compromised key signs nothing, and a revoked
    secret opens nothing, also where that is not known yet.
    """
    if any(isinstance(event, GrantEnded) for event in events):
        return None
    whose = parties(grant.grant.client_id, grant.grant.sub, grant.grant.sid)
    return Fence(known.as_of, (*whose, *proof(who), *signers.parties))


def ended(events: Sequence[Event]) -> Refusal | None:
    """What to tell whoever's request ended the grant; None if it did not."""
    for event in events:
        if isinstance(event, GrantEnded):
            _reused.inc()
            _log.warning("grant_ended", gid=event.gid, reason=event.reason.value)
            return invalid_grant("it was used before; the grant, and every token of it, has ended")
    return None
