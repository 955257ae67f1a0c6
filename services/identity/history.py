"""What identity tells of the past: users as they were, without what is personal: only identity has the keys to that."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from services.identity.domain.consent import CONSENT, Consent, consent_id
from services.identity.domain.session import SESSION
from services.identity.domain.user import PERSONAL as ATTRIBUTES
from services.identity.domain.user import USER, VERIFIED, User
from services.identity.events import UserErased
from shared.denials import DenialKind
from shared.history import ERASED, PERSONAL, History, State, Thing
from shared.log.event import Event


def _user(sub: str, state: User, _: datetime) -> State | None:
    if not state.sub:
        return None
    return {
        "sub": sub,
        "kind": state.kind.value,
        "enabled": state.enabled,
        "roles": [role.value for role in state.roles],
        "has_password": state.has_password,
        "second_factor": None if state.second_factor is None else state.second_factor.value,
        "passkeys": len(state.passkeys),
        "erased": state.erased,
        "profile": _profile(state),
    }


def _profile(state: User) -> Mapping[str, object]:
    """Which attributes there were; what they said is not for the log's readers."""
    stated = {name: PERSONAL for name in ATTRIBUTES if getattr(state.profile, name) is not None}
    return {**stated, **{name: getattr(state.profile, name) for name in VERIFIED.values()}}


def _hindsight(state: State, since: Sequence[Event]) -> State:
    """With the key of the user went what their attributes said, of the time before as well."""
    if not any(isinstance(event, UserErased) for event in since):
        return state
    profile = {name: ERASED if value == PERSONAL else value for name, value in state["profile"].items()}
    return {**state, "profile": profile}


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
