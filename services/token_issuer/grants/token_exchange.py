"""`grant_type=urn:ietf:params:oauth:grant-type:token-exchange` (RFC 8693): an API calls another for the same person.

The application of a resource shows an access token that it received, and is given one that says for whom, as before,
and that it is this application which acts now (delegation, section 1.1). Who may do so, and what it gets, is decision
121: whoever may ask about tokens of an audience of the one that is shown; of its scopes those that the application may
have, too; for no longer. A token that is revoked takes along whatever was exchanged for it.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Struct

from services.identity.events import UserKind
from services.registry.events import GrantType
from services.token_issuer.clients import Presented, proof
from services.token_issuer.domain.exchange import Exchange, Subject, decider, ends_at, unusable
from services.token_issuer.domain.grant import Grant
from services.token_issuer.events import (
    AccessTokenExchanged,
    AccessTokenIssued,
    CodeRedeemed,
    RefreshTokenRotated,
    RefreshTokenUsed,
)
from services.token_issuer.grants.parts import key_of
from services.token_issuer.issuer import Issuer, append_of, on_behalf_of
from services.token_issuer.scopes import (
    OFFLINE_ACCESS,
    Access,
    Places,
    invalid_scope,
    invalid_target,
    narrowed,
    of_userinfo,
    parse,
    permitted,
)
from services.token_issuer.shown import read_shown
from services.token_issuer.signing import SigningKey
from services.token_issuer.tokens import Issued, exchanged_token
from services.token_issuer.views import Application, Known
from shared.clock import Clock
from shared.denials import DenialKind, subject_client_id
from shared.errors import Kind, Refusal, Unavailable
from shared.http.errors import invalid_request
from shared.http.forms import Params
from shared.ids import new_ordered_id
from shared.log.append import Append, Fence
from shared.log.row import EventFilter
from stagedoor import Denied, Guard
from stagedoor.token import AccessToken

ACCESS_TOKEN_TYPE: Final = "urn:ietf:params:oauth:token-type:access_token"
JWT_TYPE: Final = "urn:ietf:params:oauth:token-type:jwt"
"""RFC 8693 section 3: an access token of this issuer is a JWT."""


class Answer(Struct, frozen=True, tag_field="token_type", tag="Bearer"):
    """What an exchange answers (section 2.2.1); as JSON, it is the body."""

    access_token: str
    expires_in: int
    scope: str
    issued_token_type: str = ACCESS_TOKEN_TYPE

    def __repr__(self) -> str:
        return f"Answer(expires_in={self.expires_in}, scope={self.scope!r})"


async def exchange(issuer: Issuer, guard: Guard, who: Presented, form: Params) -> Answer:
    """Give an access token for another. `guard` has to be running."""
    token, targets = _asked(form)
    jti, context = new_ordered_id(), on_behalf_of(who.client_id)
    shown = await read_shown(issuer, token)
    said = None if shown is None else shown.said
    known_by = () if said is None else said.aud

    async def ask() -> Known:
        if said is None:
            return await issuer.questions.known(who.client_id)
        return await issuer.questions.known(who.client_id, gid=said.gid, sub=said.sub, identifiers=known_by)

    async def decide() -> tuple[tuple[AccessTokenExchanged, SigningKey, Grant | None], Append]:
        key = (await issuer.keys.active()).access_token
        known = await ask()
        application = await issuer.authenticate(known.application, who)
        _check_may(application, who, issuer.clock)
        if shown is None:
            raise unusable()
        if not _receives(application, known, shown) and issuer.allowance.take():
            # It may have been named a moment ago, elsewhere.
            await issuer.hear_everything()
            known = await ask()
            application = await issuer.authenticate(known.application, who)
        if not _receives(application, known, shown):
            raise unusable()
        # As of the head of the log, which is not before anything that is known here.
        await _check(guard, token, shown, known.head)
        subject = await _subject(issuer, shown, known.grant.grant if known.grant is not None else None)
        access = _access(application, known, subject, form.get("scope"), targets, issuer.policy.places)
        command = Exchange(
            jti=jti,
            client_id=application.client_id,
            subject=subject,
            scopes=access.scopes,
            audiences=access.audiences,
            access_token_seconds=issuer.policy.access_token_life(application),
            now=issuer.clock(),
        )
        (event,) = events = decider.decide(command, None)
        if not isinstance(event, AccessTokenExchanged):
            raise TypeError("an exchange is one event")
        kids = {key.kid, *(() if shown.key is None else (shown.key.kid,))}
        parties = (*_parties(event), *((DenialKind.KEY, kid) for kid in kids), *proof(who))
        # The id is fresh: there is no stream to look at.
        append = append_of(decider.stream(jti), None, events, context, Fence(known.as_of, parties))
        grant = None if known.grant is None or event.gid is None else known.grant.grant
        return (event, key, grant), append

    (event, key, grant), appended = await issuer.write(decide, who)
    if appended is None:
        raise TypeError("a token is never issued without its event")
    issued = Issued(appended.epoch, appended.position, appended.recorded_at)
    text, seconds = exchanged_token(key, issuer.policy.issuer, event, issued, grant)
    return Answer(text, seconds, " ".join(event.scopes))


def _asked(form: Params) -> tuple[str, tuple[str, ...]]:
    """The token that is shown, and what another is asked for (section 2.1); refuses what is not served here."""
    token = form.require("subject_token")
    if form.require("subject_token_type") not in (ACCESS_TOKEN_TYPE, JWT_TYPE):
        raise invalid_request("the subject_token_type is not supported; access tokens of this issuer are exchanged")
    if (form.get("requested_token_type") or ACCESS_TOKEN_TYPE) != ACCESS_TOKEN_TYPE:
        raise invalid_request("the requested_token_type is not supported; there are access tokens only")
    if "actor_token" in form or "actor_token_type" in form:
        raise invalid_request("an actor_token is not supported: it is the application that asks which acts")
    # Both name a resource by its identifier: the audience of its tokens is one (RFC 8707).
    return token, tuple(dict.fromkeys((*form.all("resource"), *form.all("audience"))))


def _check_may(application: Application, who: Presented, clock: Clock) -> None:
    """Refuse an application that may not exchange, or wants a token that is bound to something: none is here."""
    if not (application.confidential and application.uses(GrantType.TOKEN_EXCHANGE)):
        raise Refusal(Kind.INVALID, "unauthorized_client", "the application may not exchange tokens")
    if key_of(application, who, clock) is not None:
        raise invalid_request("what an exchange gives is bound to nothing: ask without a DPoP proof")


def _receives(application: Application, known: Known, shown: AccessToken) -> bool:
    """Whether the token is for a resource that names the application as one which may ask about its tokens."""
    caller = f"client:{application.client_id}"
    return any(
        resource.identifier in shown.audiences and caller in resource.settings.callers for resource in known.resources
    )


async def _check(guard: Guard, token: str, shown: AccessToken, head: int) -> None:
    """Refuse a token that is not accepted as of the head of the log."""
    audience = next(iter(shown.audiences), None)
    verdict = await guard.validate(token, audience=audience, min_position=head)
    if isinstance(verdict, Denied):
        if verdict.temporary:
            raise Unavailable(verdict.reason.value, verdict.description)
        raise unusable()


async def _subject(issuer: Issuer, shown: AccessToken, grant: Grant | None) -> Subject:
    """The token as the log knows it, if it is the one that was issued there, as it says.

    A signature alone is not enough: whoever had stolen a key could have what they made up exchanged for what another
    key signs, which would outlive the end of theirs.
    """
    said = shown.said
    wanted = EventFilter(jtis=(said.jti,))
    rows = await issuer.log.read_rows(said.pos - 1, limit=1, until=said.pos, matching=wanted)
    found = None
    if rows and (rows[0].position, rows[0].epoch) == (said.pos, said.epoch):
        event = issuer.log.catalogue[rows[0].type].from_json(rows[0].data)
        found = _issued(event, rows[0].recorded_at.replace(microsecond=0), grant)
    if found is None or _told(shown) != found:
        raise unusable()
    return found


def _issued(event: object, at: datetime, grant: Grant | None) -> Subject | None:
    """The token that an event issued; None if it issued none."""
    match event:
        case AccessTokenIssued():
            ends = at + timedelta(seconds=event.access_token_seconds)
            return Subject(
                event.jti, event.sub, None, None, event.scopes, event.audiences, (event.client_id,), (), ends
            )
        case CodeRedeemed() | RefreshTokenRotated() | RefreshTokenUsed() if (
            grant is not None and grant.gid == event.gid
        ):
            ends = at + timedelta(seconds=event.access_token_seconds)
            of_grant = (grant.sub, grant.sid, grant.gid)
            return Subject(event.jti, *of_grant, event.scopes, event.audiences, (grant.client_id,), (), ends)
        case AccessTokenExchanged() if event.gid is None or (grant is not None and grant.gid == event.gid):
            return Subject(
                jti=event.jti,
                sub=event.sub,
                sid=event.sid,
                gid=event.gid,
                scopes=event.scopes,
                audiences=event.audiences,
                actors=event.actors,
                derived_from=event.derived_from,
                ends_at=ends_at(event, at),
            )
        case _:
            return None


def _told(shown: AccessToken) -> Subject:
    """The same, as the token itself says it."""
    said = shown.said
    return Subject(
        jti=said.jti,
        sub=said.sub,
        sid=said.sid,
        gid=said.gid,
        scopes=tuple(said.scope.split()),
        audiences=said.aud,
        actors=shown.clients[1:] or shown.clients,
        derived_from=said.derived_from,
        ends_at=datetime.fromtimestamp(said.exp, UTC),
    )


def _access(  # noqa: PLR0913, PLR0917  (each is one independent part of the question)
    application: Application, known: Known, subject: Subject, scope: str | None, targets: Sequence[str], places: Places
) -> Access:
    """What the application gets of what the token allows: scopes of APIs, for which both it and the person are good.

    Neither userinfo nor management: the person has agreed to tell the first application who they are, and an
    administrator is nobody that an API may act for.
    """
    user = known.user
    by_itself = subject.sid is None and subject.sub == subject.actors[-1]
    if user is None and not by_itself:
        raise unusable()
    if user is not None and not user.enabled:
        raise unusable()
    if user is not None and user.kind is UserKind.INTERNAL and user.kind not in application.settings.user_kinds:
        raise unusable()
    own = (places.userinfo, places.management)
    offered = Access(
        tuple(name for name in subject.scopes if not of_userinfo(name) and name != OFFLINE_ACCESS),
        tuple(name for name in subject.audiences if name not in own),
    )
    allowed = permitted(offered, application, known.resources, user, places)
    if not set(targets) <= set(allowed.audiences):
        raise invalid_target("the subject_token is not for what was asked for, or the application may not go there")
    if not set(parse(scope)) <= set(allowed.scopes):
        raise invalid_scope("the subject_token does not have what was asked for, or the application may not have it")
    if not allowed.audiences:
        raise invalid_scope("the subject_token has no scope that the application may have")
    return narrowed(allowed, known.resources, scope, targets, places)


def _parties(event: AccessTokenExchanged) -> tuple[tuple[DenialKind, str], ...]:
    """Whose denial stops it: of every application of the chain, and of every token that it comes from."""
    whose: list[tuple[DenialKind, str]] = [(DenialKind.SUBJECT, event.sub)]
    for client_id in event.actors:
        whose += [
            (DenialKind.CLIENT, client_id),
            (DenialKind.SUBJECT_CLIENT, subject_client_id(event.sub, client_id)),
        ]
    whose += [(DenialKind.TOKEN, jti) for jti in event.derived_from]
    if event.sid is not None:
        whose += [(DenialKind.SESSION, event.sid), (DenialKind.SUBJECT_SESSIONS, event.sub)]
    if event.gid is not None:
        whose.append((DenialKind.GRANT, event.gid))
    return tuple(dict.fromkeys(whose))
