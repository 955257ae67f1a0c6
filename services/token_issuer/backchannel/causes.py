"""Which facts end sessions. What they deny tells it, so a fact that nobody has written yet is among them."""

from collections.abc import Iterable

from services.identity import events as identity
from shared.denials import Denial, DenialKind, DenialRule
from shared.log.event import Put, Recorded, RowChange, RowValue

PROJECTION = "logout"
SOURCES = ("identity",)
LOGOUTS = "token_issuer.logouts"


def project(recorded: Recorded) -> Iterable[RowChange]:
    """The row that says which sessions ended with a fact; nothing if it ends none."""
    for denial in recorded.event.denies():
        if (ended := _ended(denial)) is not None and not isinstance(recorded.event, identity.RolesChanged):
            yield Put(LOGOUTS, {"position": recorded.position, "sub": _sub(recorded), **ended})


def _ended(denial: Denial) -> dict[str, RowValue] | None:
    """One session; or all of the user's, but perhaps for one."""
    if denial.rule is DenialRule.LIFTED:
        return None
    match denial.kind:
        case DenialKind.SESSION:
            return {"sid": denial.id, "kept_sid": None}
        case DenialKind.SUBJECT_SESSIONS:
            return {"sid": None, "kept_sid": denial.except_id}
        case DenialKind.SUBJECT:
            return {"sid": None, "kept_sid": None}
        case _:
            return None


def _sub(recorded: Recorded) -> str:
    subject = recorded.event.data_subject()
    if subject is None:
        raise TypeError(f"{recorded.event.stored_as} ends sessions of nobody")
    return subject
