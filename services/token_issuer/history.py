"""What the issuer tells of the past: grants as they were, and tokens as they were issued."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime, timedelta

from services.token_issuer.domain import access_token, exchange, grant, reference_token, revocation, signing_keys
from services.token_issuer.events import (
    AccessTokenExchanged,
    AccessTokenIssued,
    CodeRedeemed,
    GrantOpened,
    KeyUse,
    ReferenceTokenIssued,
    RefreshTokenRotated,
    RefreshTokenUsed,
)
from shared.denials import DenialKind
from shared.history import History, IssuedToken, State, Thing, Tokens
from shared.log.event import Event, Recorded, Stamp

_UNTOLD = frozenset({"code_digest", "code_challenge", "nonce", "refresh_digest", "previous_digest"})
"""What stands for secrets, or is only of use to whoever has one."""


def _grant(_: str, state: grant.State, at: datetime) -> State | None:
    if state is None:
        return None
    told = {field.name: getattr(state, field.name) for field in fields(state) if field.name not in _UNTOLD}
    return {
        **told,
        "ended": None if state.ended is None else state.ended.value,
        "redeemed": state.redeemed,
        "refreshable": state.refreshable(at),
    }


def _issued(events: Sequence[Recorded], jti: str) -> IssuedToken | None:
    opened: GrantOpened | None = None
    for recorded in events:
        match recorded.event:
            case GrantOpened() as event:
                opened = event
            case (CodeRedeemed() | RefreshTokenRotated() | RefreshTokenUsed()) as event if (
                event.jti == jti and opened is not None
            ):
                return _of_grant(recorded, event, opened)
            case AccessTokenIssued(jti=of) as event if of == jti:
                return _access_token(recorded, event, event.client_id, event.sub)
            case AccessTokenExchanged(jti=of) as event if of == jti:
                return _exchanged(recorded, event)
            case ReferenceTokenIssued(jti=of) as event if of == jti:
                return _reference(recorded, event)
            case _:
                pass
    return None


def _of_grant(
    recorded: Recorded, event: CodeRedeemed | RefreshTokenRotated | RefreshTokenUsed, opened: GrantOpened
) -> IssuedToken:
    return _access_token(recorded, event, opened.client_id, opened.sub, opened.sid, opened.gid)


def _access_token(  # noqa: PLR0913, PLR0917  (what a token has of its grant)
    recorded: Recorded,
    event: CodeRedeemed | RefreshTokenRotated | RefreshTokenUsed | AccessTokenIssued,
    client_id: str,
    sub: str,
    sid: str | None = None,
    gid: str | None = None,
) -> IssuedToken:
    position, epoch, at = _place(recorded)
    # `iat` is in whole seconds (`tokens.Issued`).
    issued_at = at.replace(microsecond=0)
    return IssuedToken(
        jti=event.jti,
        kind="access_token",
        client_id=client_id,
        sub=sub,
        sid=sid,
        gid=gid,
        scopes=event.scopes,
        audiences=event.audiences,
        issued_at=issued_at,
        expires_at=issued_at + timedelta(seconds=event.access_token_seconds),
        position=position,
        epoch=epoch,
    )


def _exchanged(recorded: Recorded, event: AccessTokenExchanged) -> IssuedToken:
    position, epoch, at = _place(recorded)
    issued_at = at.replace(microsecond=0)
    return IssuedToken(
        jti=event.jti,
        kind="access_token",
        client_id=event.client_id,
        sub=event.sub,
        sid=event.sid,
        gid=event.gid,
        scopes=event.scopes,
        audiences=event.audiences,
        issued_at=issued_at,
        expires_at=exchange.ends_at(event, issued_at),
        position=position,
        epoch=epoch,
        actors=event.actors,
        derived_from=event.derived_from,
    )


def _reference(recorded: Recorded, event: ReferenceTokenIssued) -> IssuedToken:
    position, epoch, at = _place(recorded)
    return IssuedToken(
        jti=event.jti,
        kind=event.kind.value,
        client_id=event.client_id,
        sub=event.sub,
        sid=None,
        gid=None,
        scopes=event.scopes,
        audiences=event.audiences,
        issued_at=at.replace(microsecond=0),
        expires_at=event.expires_at.replace(microsecond=0),
        position=position,
        epoch=epoch,
    )


def _place(recorded: Recorded) -> tuple[int, int, datetime]:
    position, epoch, at = recorded.position, recorded.epoch, recorded.recorded_at
    if isinstance(position, Stamp) or isinstance(epoch, Stamp) or isinstance(at, Stamp):
        raise TypeError("what is told of the past is in the log")
    return position, epoch, at


def _signer(events: Iterable[Event]) -> str | None:
    return signing_keys.decider.fold(events).active(KeyUse.ACCESS_TOKEN)


def _known_keys(events: Iterable[Event]) -> frozenset[str]:
    return frozenset(signing_keys.decider.fold(events).by_kid)


HISTORY = History(
    source="token_issuer",
    things=(Thing("grant", grant.decider, _grant),),
    denied_in={
        DenialKind.TOKEN: (revocation.decider.stream, reference_token.decider.stream),
        DenialKind.GRANT: (grant.decider.stream,),
        DenialKind.KEY: (lambda _: signing_keys.decider.stream(signing_keys.SIGNING),),
    },
    tokens=Tokens(
        streams=(access_token.decider.stream, reference_token.decider.stream),
        types=(CodeRedeemed.stored_as, RefreshTokenRotated.stored_as, RefreshTokenUsed.stored_as),
        issued=_issued,
        keys=signing_keys.decider.stream(signing_keys.SIGNING),
        signer=_signer,
        known_keys=_known_keys,
    ),
)
