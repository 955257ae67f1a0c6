"""The alerts. Each has its runbook in `docs/operations.md`, under a heading of its name.

`page` wakes somebody up: people are refused, something revoked may be accepted, or evidence is at stake. A `ticket` can
wait for the morning. What is told by several replicas of the same thing is taken from the one that knows best.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

RUNBOOK: Final = "docs/operations.md"


class Severity(StrEnum):
    """What an alert asks for."""

    PAGE = "page"
    TICKET = "ticket"


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule."""

    name: str
    expression: str
    lasting: str
    """For how long it has to hold, as Prometheus writes durations."""
    severity: Severity
    summary: str
    """May have `{{ $labels.… }}` in it."""

    @property
    def runbook(self) -> str:
        """Where it stands what to do."""
        return f"{RUNBOOK}#{self.name.lower()}"


def _quantile(histogram: str, by: str = "", window: str = "5m") -> str:
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile(0.99, sum by ({labels}) (rate({histogram}_bucket[{window}])))"


def _share(counter: str, bad: str, by: str) -> str:
    """Of all that is counted, what is bad; and there is more than next to nothing of it."""
    failing = f"sum by ({by}) (rate({counter}{{{bad}}}[5m]))"
    return f"{failing} / sum by ({by}) (rate({counter}[5m])) > 0.05 and {failing} > 0.1"


ALERTS: Final = (
    # The services
    Alert(
        "StagedoorDown",
        'up{job="stagedoor"} == 0',
        "1m",
        Severity.PAGE,
        "{{ $labels.service }} at {{ $labels.instance }} does not answer",
    ),
    Alert(
        "StagedoorHttpFailing",
        _share("stagedoor_http_requests_total", 'status=~"5.."', "service, route"),
        "5m",
        Severity.PAGE,
        "{{ $labels.service }} answers more than one request of twenty at {{ $labels.route }} with a 5xx",
    ),
    Alert(
        "StagedoorRpcFailing",
        _share("stagedoor_rpc_requests_total", 'code=~"INTERNAL|UNAVAILABLE|DEADLINE_EXCEEDED"', "service, method"),
        "5m",
        Severity.PAGE,
        "{{ $labels.service }} fails at more than one call of twenty of {{ $labels.method }}",
    ),
    # The log
    Alert(
        "StagedoorLogUnavailable",
        'sum by (service) (increase(stagedoor_append_outcomes_total{outcome="unavailable"}[5m])) > 0',
        "1m",
        Severity.PAGE,
        "{{ $labels.service }} could not append: the log cannot be reached, or did not answer in time",
    ),
    Alert(
        "StagedoorAppendFailed",
        'sum by (service) (increase(stagedoor_append_outcomes_total{outcome="failed"}[15m])) > 0',
        "0m",
        Severity.TICKET,
        "the log took no command of {{ $labels.service }} that never should have been sent",
    ),
    Alert(
        "StagedoorAppendSlow",
        f"{_quantile('stagedoor_append_seconds', 'service')} > 1",
        "5m",
        Severity.TICKET,
        "one append of a hundred of {{ $labels.service }} takes more than a second",
    ),
    Alert(
        "StagedoorGateHeld",
        f"{_quantile('stagedoor_append_gate_wait_seconds', 'service')} > 0.5",
        "5m",
        Severity.TICKET,
        "{{ $labels.service }} stands at the gate of the log for more than half a second",
    ),
    Alert(
        "StagedoorQuestionsWait",
        f"{_quantile('stagedoor_pool_wait_seconds', 'service')} > 0.5",
        "5m",
        Severity.TICKET,
        "questions of {{ $labels.service }} to the database wait for a connection",
    ),
    Alert(
        "StagedoorNotReplicated",
        "min(stagedoor_log_synchronous_replication) == 0",
        "10m",
        Severity.TICKET,
        "what is acknowledged would be lost together with the server of the database",
    ),
    Alert(
        "StagedoorCareOverdue",
        "time() - max(stagedoor_care_last_success_seconds) > 3600",
        "5m",
        Severity.TICKET,
        "nobody has looked after the log for an hour",
    ),
    Alert(
        "StagedoorPartitionsRunOut",
        "min(stagedoor_log_positions_ahead) < 1000000 or min(stagedoor_log_once_days_ahead) < 3",
        "15m",
        Severity.TICKET,
        "the partitions of the log end soon",
    ),
    # What follows the log
    Alert(
        "StagedoorRelayBehind",
        "min(stagedoor_relay_lag_seconds) > 15",
        "1m",
        Severity.PAGE,
        "events have not reached NATS for {{ $value | humanizeDuration }}",
    ),
    Alert(
        "StagedoorViewBehind",
        "max by (service, projection, source) (stagedoor_follower_lag_seconds) > 15",
        "1m",
        Severity.PAGE,
        "the view {{ $labels.projection }} of {{ $labels.service }} has missed {{ $labels.source }} for"
        " {{ $value | humanizeDuration }}",
    ),
    Alert(
        "StagedoorViewStopped",
        "max by (service, projection, source) (stagedoor_follower_stopped) == 1",
        "1m",
        Severity.PAGE,
        "the view {{ $labels.projection }} of {{ $labels.service }} has stopped at an event of {{ $labels.source }}",
    ),
    Alert(
        "StagedoorReadModelOutdated",
        "max by (service, projection) (stagedoor_read_model_outdated) == 1",
        "1h",
        Severity.TICKET,
        "rows of {{ $labels.projection }} of {{ $labels.service }} were made by an earlier version of the code",
    ),
    # Denials and keys
    Alert(
        "StagedoorGuardStale",
        "stagedoor_guard_view_age_seconds > stagedoor_guard_max_staleness_seconds / 2",
        "30s",
        Severity.PAGE,
        "the guard of {{ $labels.audience }} in {{ $labels.service }} has heard of no denials for too long",
    ),
    Alert(
        "StagedoorRevocationSlow",
        f"{_quantile('stagedoor_guard_denial_delay_seconds', 'service, audience', '10m')} > 5",
        "5m",
        Severity.PAGE,
        "denials take more than five seconds to the guard of {{ $labels.audience }} in {{ $labels.service }}",
    ),
    Alert(
        "StagedoorKeyRotationOverdue",
        "time() - max by (use) (stagedoor_signing_key_rotation_due_timestamp_seconds) > 3600",
        "15m",
        Severity.TICKET,
        "the signing key for the {{ $labels.use }} should have had a successor by now",
    ),
    Alert(
        "StagedoorKeysStale",
        "time() - stagedoor_signing_keys_looked_up_timestamp_seconds > 15",
        "1m",
        Severity.PAGE,
        "the token issuer at {{ $labels.instance }} cannot look its signing keys up, and will sign nothing",
    ),
    # Evidence
    Alert(
        "StagedoorEvidenceBroken",
        "max(stagedoor_evidence_broken) == 1",
        "0m",
        Severity.PAGE,
        "the log is not what the ledger has signed",
    ),
    Alert(
        "StagedoorCheckpointOld",
        "time() - max(stagedoor_evidence_current_timestamp_seconds) > 120"
        " and max(stagedoor_evidence_current_timestamp_seconds) > 0",
        "1m",
        Severity.TICKET,
        "no checkpoint has covered all of the log for {{ $value | humanizeDuration }}",
    ),
    Alert(
        "StagedoorArchiveBehind",
        "max(stagedoor_archive_overdue_seconds) > 7 * 86400",
        "1h",
        Severity.TICKET,
        "old events could have left the log {{ $value | humanizeDuration }} ago, and have not",
    ),
    # People and applications
    Alert(
        "StagedoorLogoutsGivenUp",
        "sum(increase(stagedoor_logouts_given_up_total[1h])) > 0",
        "0m",
        Severity.TICKET,
        "applications could not be told of logouts",
    ),
    Alert(
        "StagedoorLogoutsWait",
        'max(stagedoor_logouts_undelivered{state="waiting"}) > 1000',
        "30m",
        Severity.TICKET,
        "{{ $value }} logouts wait to be told to applications",
    ),
    Alert(
        "StagedoorTokensReused",
        "sum(increase(stagedoor_grants_ended_by_reuse_total[15m])) > 10",
        "0m",
        Severity.TICKET,
        "codes or refresh tokens are used twice: somebody may have stolen them",
    ),
    Alert(
        "StagedoorThrottling",
        "sum(rate(stagedoor_http_too_many_total[5m])) > 1"
        " or sum(rate(stagedoor_identity_sign_in_throttled_total[5m])) > 1",
        "10m",
        Severity.TICKET,
        "somebody tries too often, and is refused",
    ),
    Alert(
        "StagedoorPasswordsQueue",
        "sum(increase(stagedoor_identity_password_queue_full_total[5m])) > 0",
        "5m",
        Severity.PAGE,
        "sign-ins are refused because too many passwords wait to be looked at",
    ),
    Alert(
        "StagedoorValidationOverloaded",
        "sum by (service) (increase(stagedoor_validation_refused_total[5m])) > 0",
        "5m",
        Severity.PAGE,
        "questions about tokens are refused because too much is asked at once",
    ),
)


def rules() -> str:
    """The file of rules, as Prometheus reads it. A text in JSON is one in YAML, too."""
    lines = [
        "# Written by `python -m infra.monitoring` from infra/monitoring/alerts.py.",
        "groups:",
        "  - name: stagedoor",
        "    rules:",
    ]
    for alert in ALERTS:
        lines += [
            f"      - alert: {alert.name}",
            f"        expr: {json.dumps(alert.expression)}",
            f"        for: {alert.lasting}",
            "        labels:",
            f"          severity: {alert.severity.value}",
            "        annotations:",
            f"          summary: {json.dumps(alert.summary)}",
            f"          runbook_url: {json.dumps(alert.runbook)}",
        ]
    return "\n".join(lines) + "\n"
