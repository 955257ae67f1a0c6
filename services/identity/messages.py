"""Between messages and what they mean here; whatever a message says wrongly is refused."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from protos.stagedoor.identity.v1 import identity_pb2 as pb
from services.identity.domain.names import NAME_LIMIT
from services.identity.domain.user import PERSONAL, VERIFIED
from services.identity.events import Profile, Role, SecondFactorKind, UserKind
from services.identity.read_model import SessionRow, UserRow
from shared.errors import Kind, Refusal
from shared.log.event import Personal

USUAL_PAGE = 100
LARGEST_PAGE = 1000
_ID = re.compile(r"[A-Za-z0-9_-]{22}")


def invalid(code: str, message: str) -> Refusal:
    """The message is wrong and stays wrong."""
    return Refusal(Kind.INVALID, code, message)


def kind(text: str) -> UserKind:
    """The kind of a user."""
    try:
        return UserKind(text or UserKind.INTERNAL)
    except ValueError:
        raise invalid("invalid_kind", f"a user is one of: {', '.join(UserKind)}") from None


def roles(texts: Iterable[str]) -> tuple[Role, ...]:
    """Roles of a user."""
    try:
        return tuple(Role(text) for text in texts)
    except ValueError:
        raise invalid("invalid_roles", f"a role is one of: {', '.join(Role)}") from None


def profile(message: pb.Profile) -> Profile:
    """Attributes of a user; an empty one is none."""
    given: dict[str, str] = {name: getattr(message, name) for name in PERSONAL}
    values: dict[str, Any] = {name: Personal[str](value) if value else None for name, value in given.items()}
    return Profile(**values, **{name: getattr(message, name) for name in VERIFIED.values()})


def changes(
    message: pb.ChangeUserRequest,
) -> tuple[Callable[[Profile], Profile] | None, tuple[Role, ...] | None]:
    """What the mask names: how to get the new attributes from the old ones, and the new roles; None leaves them.

    An e-mail address or a telephone number that changes is not verified any more, unless the same message says so.
    """
    paths = set(_paths(message.mask))
    if not paths:
        raise invalid("invalid_mask", "the mask names what is to be changed")
    attributes = {path.removeprefix("profile.") for path in paths if path.startswith("profile.")}
    unknown = paths - {"roles"} - {f"profile.{name}" for name in (*PERSONAL, *VERIFIED.values())}
    if unknown:
        raise invalid("invalid_mask", "the mask names something that a user does not have")
    wanted = profile(message.profile)

    def apply(old: Profile) -> Profile:
        values = {name: getattr(wanted if name in attributes else old, name) for name in PERSONAL}
        for name, verified in VERIFIED.items():
            moved = name in attributes and _plain(getattr(old, name)) != _plain(getattr(wanted, name))
            said = getattr(wanted if verified in attributes else old, verified)
            values[verified] = said if verified in attributes else said and not moved
        return Profile(**values)

    return (apply if attributes else None), (roles(message.roles) if "roles" in paths else None)


def _paths(mask: FieldMask) -> Iterable[str]:
    for path in mask.paths:
        if path == "profile":
            yield from (f"profile.{name}" for name in (*PERSONAL, *VERIFIED.values()))
        else:
            yield path


def _plain(value: Personal[str] | None) -> str | None:
    return None if value is None else value.reveal()


def is_id(text: str) -> bool:
    """Whether this has the form of a generated id (`shared.ids.new_id`)."""
    return _ID.fullmatch(text) is not None


def page_size(asked: int) -> int:
    """How many entries a page has."""
    if asked < 0:
        raise invalid("invalid_page", "a page has no negative size")
    return min(asked or USUAL_PAGE, LARGEST_PAGE)


def page_token(last: str) -> str:
    """Names the page after the one that ends with `last`."""
    return urlsafe_b64encode(last.encode()).rstrip(b"=").decode()


def page_start(token: str) -> str:
    """The last entry of the page before; empty for the first page."""
    try:
        text = urlsafe_b64decode(token[:1024] + "=" * (-len(token) % 4)).decode()
    except (Error, ValueError):
        text = ""
    if page_token(text) != token or len(text) > NAME_LIMIT:
        raise invalid("invalid_page", "there is no such page")
    return text


def timestamp(moment: datetime) -> Timestamp:
    """A moment, as messages have it."""
    made = Timestamp()
    made.FromDatetime(moment)
    return made


def user_message(row: UserRow) -> pb.User:
    """A user, as it is told."""
    return pb.User(
        sub=row.sub,
        user_name=row.user_name,
        kind=row.kind.value,
        profile=profile_message(row),
        roles=row.roles,
        enabled=row.enabled,
        position=row.position,
        registered_at=timestamp(row.registered_at),
        second_factors=_second_factors(row),
    )


def _second_factors(row: UserRow) -> list[str]:
    """What there is beside the password."""
    totp = [SecondFactorKind.TOTP.value] if row.totp_since is not None else []
    return [*totp, "passkey"] if row.has_passkeys else totp


def profile_message(row: UserRow) -> pb.Profile:
    """Their attributes; one that there is none of is empty."""
    values: dict[str, Any] = {name: getattr(row, name) or "" for name in PERSONAL}
    return pb.Profile(**values, **{name: getattr(row, name) for name in VERIFIED.values()})


def session_message(row: SessionRow) -> pb.Session:
    """A session, as it is told; never its secret."""
    return pb.Session(
        sid=row.sid,
        auth_time=timestamp(row.auth_time),
        expires_at=timestamp(row.expires_at),
        amr=row.amr,
        user_agent=row.user_agent or "",
    )
