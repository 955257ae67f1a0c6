"""Making reference tokens, and taking them back."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from msgspec.structs import replace

from services.identity.events import Role, UserKind
from services.registry.events import ReferenceTokens
from services.token_issuer.domain.reference_token import MOST_ALIVE, Issue, Revoke, decider
from services.token_issuer.events import ReferenceEndReason, ReferenceKind, ReferenceTokenIssued
from services.token_issuer.issuer import Issuer, append_of
from services.token_issuer.read_model import project
from services.token_issuer.references.tables import NOTES
from services.token_issuer.references.texts import kind_of, new_reference
from services.token_issuer.scopes import (
    OFFLINE_ACCESS,
    Access,
    Places,
    asked,
    invalid_scope,
    of_userinfo,
    permitted,
)
from services.token_issuer.views import Application, Known, Resource, User
from shared.denials import DenialKind, subject_client_id
from shared.errors import Kind, Refusal
from shared.handle import Guards, handle
from shared.ids import digest, id_of, new_command_id
from shared.log.append import Append, Context, Fence
from shared.log.event import Delete, Put
from shared.log.log import Stream


@dataclass(frozen=True, slots=True)
class Wanted:
    """The token that somebody asks for."""

    kind: ReferenceKind
    client_id: str
    scopes: tuple[str, ...]
    """Empty: all API scopes of the application."""
    label: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Maker:
    """Who asks."""

    sub: str
    sid: str | None = None
    """The session at the identity server that they ask in, which has to be open; None: they came with a token."""


@dataclass(frozen=True, slots=True)
class Made:
    """A new token, on its way to who asked for it."""

    token: str = field(repr=False)
    event: ReferenceTokenIssued
    position: int


async def issue(issuer: Issuer, wanted: Wanted, maker: Maker, context: Context) -> Made:
    """Make a reference token. Raises `Refusal` where the maker, the application or the rules do not allow it.

    A personal one acts as whoever makes it, never as anybody else.
    """
    # People make few of these, so the wait for the head costs nothing, and a policy changed a moment ago counts.
    await issuer.hear_everything()
    token, jti = new_reference(wanted.kind), _jti(maker, context)
    # The request's command id is in the jti. In the log it would make a second one pass for the first's repetition.
    own = replace(context, command_id=new_command_id())
    personal = wanted.kind is ReferenceKind.PERSONAL

    async def decide() -> tuple[ReferenceTokenIssued, Append]:
        known = await issuer.questions.known(wanted.client_id, sub=maker.sub if personal else None, sid=maker.sid)
        now = issuer.clock()
        application = _application(known)
        user = check_maker(application, known, maker, now) if personal else _service_account(application, known)
        access = access_of(application, known.resources, user, issuer.policy.places, wanted.scopes)
        sub = application.client_id if user is None else user.sub
        stream = await issuer.log.load(decider.stream(jti))
        command = Issue(
            jti=jti,
            digest=digest(token),
            kind=wanted.kind,
            client_id=application.client_id,
            sub=sub,
            scopes=access.scopes,
            audiences=access.audiences,
            label=wanted.label,
            expires_at=wanted.expires_at.replace(microsecond=0),
            alive=await issuer.questions.references.count_alive(sub, now, MOST_ALIVE),
            now=now,
        )
        (event,) = decider.decide(command, decider.fold(recorded.event for recorded in stream.events))
        if not isinstance(event, ReferenceTokenIssued):
            raise TypeError("a token is issued by its event")
        fence = Fence(known.as_of, tuple(_parties(application.client_id, sub, maker)))
        append = append_of(decider.stream(jti), stream.version, (event,), own, fence)
        note = Put(NOTES, {"jti": jti, "sub": sub, "label": wanted.label, "last_used_at": None})
        return event, replace(append, rows=(*append.rows, note))

    event, appended = await issuer.write(decide)
    if appended is None:
        raise TypeError("a token is never issued without its event")
    return Made(token, event, appended.position)


async def revoke(issuer: Issuer, jti: str, reason: ReferenceEndReason, by: str, context: Context) -> int:
    """Take a token back; answers the position, 0 where it has expired and there is nothing to take back.

    `by`: who does, for reasons that say whose it has to be. Raises `Refusal` if there is no such token of theirs.
    """

    async def forgetting(_: Stream) -> Guards:
        return Guards(rows=(Delete(NOTES, {"jti": jti}),))

    command = Revoke(reason, by, issuer.clock())
    handled = await handle(issuer.log, decider, jti, command, context=context, project=project, guarding=forgetting)
    return handled.position if handled.state is not None and handled.state.revoked else 0


async def revoke_presented(issuer: Issuer, token: str, reason: ReferenceEndReason, by: str, context: Context) -> int:
    """Take back the token whose text this is; 0 where nobody made it."""
    if kind_of(token) is None:
        return 0
    found = await issuer.questions.references.by_digest(digest(token))
    return 0 if found is None else await revoke(issuer, found.reference.jti, reason, by, context)


def check_maker(application: Application, known: Known, maker: Maker, now: datetime) -> User:
    """The user that asks, if they may have a token that acts as them for this application."""
    user = known.user
    if user is None or not user.enabled or user.kind is UserKind.SERVICE:
        raise _forbidden("user_not_allowed", "this user cannot have personal access tokens")
    check_session(known, maker, now)
    policy = application.settings.reference_tokens
    administrator = Role.ADMINISTRATOR in user.roles
    if policy is ReferenceTokens.NONE or (policy is ReferenceTokens.ADMINISTRATORS_ONLY and not administrator):
        raise _not_allowed()
    if user.kind not in application.settings.user_kinds:
        raise _forbidden("user_not_allowed", "the application does not admit this kind of user")
    return user


def check_session(known: Known, maker: Maker, now: datetime) -> None:
    """Refuse a session that the maker names and that is not open, or is not theirs."""
    if maker.sid is None:
        return
    user, session = known.user, known.session
    if user is None or session is None or not session.open(user, now):
        raise Refusal(Kind.UNAUTHENTICATED, "session_over", "the session has ended")


def access_of(
    application: Application, resources: Sequence[Resource], user: User | None, places: Places, scopes: Iterable[str]
) -> Access:
    """What the token allows: scopes of APIs. Neither the protocol's own nor management, which asks for a person now."""
    names = tuple(dict.fromkeys(scopes))
    if any(of_userinfo(name) or name == OFFLINE_ACCESS for name in names):
        raise invalid_scope("reference tokens are for APIs; the scopes of the protocol itself are not among theirs")
    apis = [resource for resource in resources if resource.identifier != places.management]
    wanted = asked(application, apis, " ".join(names) or None, (), places, with_user=False)
    access = permitted(wanted, application, apis, user, places)
    if not access.audiences or (names and access.scopes != wanted.scopes):
        raise invalid_scope("the one it would act as may not have what was asked for")
    return access


def _application(known: Known) -> Application:
    if known.application is None:
        raise Refusal(Kind.NOT_FOUND, "application_not_found", "there is no such application")
    if not known.application.enabled:
        raise Refusal(Kind.PRECONDITION, "application_disabled", "the application is disabled")
    return known.application


def _service_account(application: Application, known: Known) -> User | None:
    """Whom a service token acts as; None: the application itself. As with client credentials."""
    if application.settings.reference_tokens is ReferenceTokens.NONE:
        raise _not_allowed()
    if application.settings.service_account is None:
        return None
    if known.user is None or known.user.kind is not UserKind.SERVICE or not known.user.enabled:
        raise Refusal(Kind.PRECONDITION, "user_not_allowed", "the application's service account cannot be used")
    return known.user


def _parties(client_id: str, sub: str, maker: Maker) -> Iterable[tuple[DenialKind, str]]:
    """Whose denial stops the making."""
    yield DenialKind.CLIENT, client_id
    yield DenialKind.CLIENT_REFERENCES, client_id
    yield DenialKind.SUBJECT, sub
    yield DenialKind.SUBJECT_CLIENT, subject_client_id(sub, client_id)
    if maker.sub != sub:
        yield DenialKind.SUBJECT, maker.sub
    if maker.sid is not None:
        yield DenialKind.SESSION, maker.sid
        yield DenialKind.SUBJECT_SESSIONS, maker.sub


def _jti(maker: Maker, context: Context) -> str:
    """The id of the token of one request: one that is repeated finds the token made, and makes no second one."""
    named = hashlib.sha256(f"reference\0{maker.sub}\0{context.command_id}".encode()).digest()
    return id_of(named[:16])


def _not_allowed() -> Refusal:
    return _forbidden("reference_tokens_not_allowed", "the application's settings do not allow this token")


def _forbidden(code: str, message: str) -> Refusal:
    return Refusal(Kind.FORBIDDEN, code, message)
