"""The facts of the ledger: what was asked of the log, and what was archived of it.

Stored names are permanent; a changed meaning is a new name.
"""

from enum import StrEnum

from shared.log.event import Event


class Question(StrEnum):
    """What was asked for."""

    EVENTS = "events"
    EVENTS_AS_THEY_COME = "events_as_they_come"
    EVIDENCE = "evidence"
    """Events with what is needed to verify them."""
    PROOF_OF_INCLUSION = "proof_of_inclusion"
    PROOF_OF_CONSISTENCY = "proof_of_consistency"
    AS_OF = "as_of"
    """What something was at a moment."""
    EXPLANATION = "explanation"
    """Whether a token was accepted at a moment, and why."""
    REPORT = "report"


class LogQueried(Event, stored_as="ledger.LogQueried"):
    """Somebody, who is the actor, asked what is in the log; one for each question, however much the answer is."""

    question: Question
    after: int
    """Positions after this one; for a proof of consistency, the size of the earlier tree."""
    until: int | None
    """Up to this one; None: up to the head, or to the last checkpoint. For a proof of consistency, the later tree."""
    matching: tuple[str, ...]
    """What the events have to have, like `subs=<sub>`; of a question about the past, what it is about."""


class PartitionArchived(Event, stored_as="ledger.PartitionArchived"):
    """The expiring events of a stretch of positions were written to an archive, and may leave the log."""

    first: int
    last: int
    """The positions of the stretch; lasting events among them stay where they are."""
    events: int
    content_digest: str
    """SHA-256 of what is in the archive, hexadecimal."""
    note: str
    """The same, signed with the key of the log's checkpoints, with what proves afterwards that just these are missing
    (`shared.evidence.stagedoor_verify.Archive`)."""
