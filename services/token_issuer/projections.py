"""What this service's tables are made of; what is not named here is not made of facts, and left alone by rebuilds."""

from services.token_issuer import read_model, subscriptions
from services.token_issuer.pruning import KEPT
from shared.rebuild.projection import Projection

_LONG_AGO = f"clock_timestamp() - interval '{KEPT.days} days'"

PROJECTIONS = (
    Projection(
        "own",
        ("token_issuer",),
        read_model.project,
        ("grants", "signing_keys", "reference_tokens"),
        let_go={
            "grants": "greatest(s.code_expires_at, s.tokens_end_at, CASE WHEN s.ended IS NULL"
            f" AND s.refresh_digest IS NOT NULL THEN s.refresh_expires_at END) < {_LONG_AGO}",
            "reference_tokens": f"s.expires_at < {_LONG_AGO}",
        },
    ),
    Projection(
        subscriptions.PROJECTION,
        subscriptions.SOURCES,
        subscriptions.project,
        ("applications", "secrets", "resources", "users", "sessions", "denials"),
        let_go={
            "sessions": f"s.expires_at < {_LONG_AGO}",
            # When depends on rows of other tables; what they stand against is gone by then.
            "denials": "s.kind IN ('session', 'subject_sessions')",
        },
    ),
)
"""Rows go as `pruning` says."""
