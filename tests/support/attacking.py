"""What attacks on tokens share."""

from stagedoor.verdict import Denied, Reason, Verdict


def reason(verdict: Verdict) -> Reason | None:
    """Why a token was refused; None if it was not."""
    return verdict.reason if isinstance(verdict, Denied) else None
