"""Between the messages about reference tokens in `stagedoor.tokens.v1` and the issuer's own words. No rules."""

from collections.abc import Iterable
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from protos.stagedoor.tokens.v1 import tokens_pb2 as pb
from services.token_issuer.events import ReferenceKind
from services.token_issuer.references.issuing import Made, Wanted
from services.token_issuer.references.tables import ListedReference
from shared.errors import Kind, Refusal

_LONGEST_ID = 255


def check_ids(*ids: str) -> None:
    """Refuse what is no id at all, before it is looked for."""
    for one in ids:
        if not 1 <= len(one) <= _LONGEST_ID or not one.isprintable() or " " in one:
            raise invalid("an id is missing or malformed")


def wanted(asked: pb.IssueReferenceRequest) -> Wanted:
    """The token that is asked for."""
    check_ids(asked.client_id)
    try:
        kind = ReferenceKind(asked.kind)
    except ValueError:
        raise invalid(f"kind is one of: {', '.join(ReferenceKind)}") from None
    if not asked.HasField("expires_at"):
        raise Refusal(Kind.INVALID, "invalid_expiry", "a reference token has an end; name it")
    return Wanted(kind, asked.client_id, tuple(asked.scopes), asked.label, _moment(asked.expires_at))


def made(found: Made) -> pb.IssueReferenceResponse:
    """The one answer with the token in it."""
    return pb.IssueReferenceResponse(
        token=found.token,
        jti=found.event.jti,
        scopes=found.event.scopes,
        expires_at=_timestamp(found.event.expires_at),
        position=found.position,
    )


def listed(found: ListedReference) -> pb.Reference:
    """A token in a list."""
    known = found.reference
    return pb.Reference(
        jti=known.jti,
        kind=known.kind.value,
        client_id=known.client_id,
        sub=known.sub,
        scopes=known.scopes,
        label=found.label,
        issued_at=_timestamp(known.issued_at),
        expires_at=_timestamp(known.expires_at),
        last_used_at=None if found.last_used_at is None else _timestamp(found.last_used_at),
        state=found.state,
        position=known.position,
    )


def abilities(scopes: Iterable[tuple[str, str]]) -> list[pb.RequestedScope]:
    """Scopes with what they let an application do."""
    return [pb.RequestedScope(name=name, description=description) for name, description in scopes]


def invalid(message: str) -> Refusal:
    """The message cannot be understood."""
    return Refusal(Kind.INVALID, "invalid_request", message)


def _timestamp(moment: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def _moment(asked: Timestamp) -> datetime:
    try:
        return asked.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise Refusal(Kind.INVALID, "invalid_expiry", "a time has to be within the years 1 to 9999") from None
