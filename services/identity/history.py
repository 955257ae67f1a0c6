"""What identity tells of the past: users as they were, without what is personal: only identity has the keys to that."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from services.identity.domain.consent import CONSENT, Consent, consent_id
from services.identity.domain.session import SESSION
from services.identity.domain.user import PERSONAL as ATTRIBUTES
from services.identity.domain.user import USER, VERIFIED, User
from shared.denials import DenialKind
from shared.history import ERASED, PERSONAL, History, State, Thing
from shared.log.event import Event

_ERASING = "identity.UserErased"
"""The fact with which a user's key was destroyed."""


def _user(sub: str, state: User, _: datetime) -> State | None:
    if not state.sub:
        return None
    return {
        "sub": sub,
        "kind": state.kind.value,
        "enabled": state.enabled,
        "roles": [role.value for role in state.roles],
        "has_password": state.has_password,
        "profile": _profile(state),
    }


def _profile(state: User) -> Mapping[str, object]:
    """Which attributes there were; what they said is not for the log's readers."""
    stated = {name: PERSONAL for name in ATTRIBUTES if getattr(state.profile, name) is not None}
    return {**stated, **{name: getattr(state.profile, name) for name in VERIFIED.values()}}


def _hindsight(state: State, then: Sequence[Event], since: Sequence[Event]) -> State:
    erased = _erases(then)
    if not erased and not _erases(since):
        return {**state, "erased": False}
    profile = {name: ERASED if value == PERSONAL else value for name, value in state["profile"].items()}
    return {**state, "erased": erased, "profile": profile}


def _erases(events: Iterable[Event]) -> bool:
    return any(event.stored_as == _ERASING for event in events)


def _consent(_: str, state: Consent, __: datetime) -> State | None:
    return {"scopes": sorted(state.scopes)} if state.scopes else None


def _consented(sub_and_client: str) -> str:
    """A denial names the two with a space between them, the stream in its own way."""
    sub, _, client_id = sub_and_client.partition(" ")
    return CONSENT.stream(consent_id(sub, client_id))


HISTORY = History(
    source="identity",
    things=(Thing("user", USER, _user, hindsight=_hindsight), Thing("consent", CONSENT, _consent)),
    denied_in={
        DenialKind.SUBJECT: (USER.stream,),
        DenialKind.SUBJECT_SESSIONS: (USER.stream,),
        DenialKind.SUBJECT_CLIENT: (_consented,),
        DenialKind.SESSION: (SESSION.stream,),
    },
)
