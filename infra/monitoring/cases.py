"""When each alert has to sound and when not, for `promtool test rules infra/prometheus/rules_test.yaml`.

promtool, which comes with Prometheus, is no wheel, so `make test` does not run it: run it where an expression changes.
Its clock begins at 0, and a series has a value for each half minute: `0x9 1` is ten times 0, then 1; `0+30x9` grows.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from infra.monitoring.alerts import ALERTS

_INTERVAL: Final = "30s"


@dataclass(frozen=True, slots=True)
class Case:
    """Something that an alert has to be told of."""

    alert: str
    series: Mapping[str, str]
    """From a metric with its labels to its values."""
    quiet: str
    """A moment at which it does not sound yet."""
    sounds: str
    """A moment at which it does."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Those that it has then, but for its severity."""
    summary: str = ""
    """What it says then, where that has labels or a value in it."""


def _slow(histogram: str, bound: str, above: str, labels: str = "") -> dict[str, str]:
    """Everything takes longer than `bound`, and no longer than `above`, both in seconds."""
    return {
        f'{histogram}_bucket{{{labels}le="{le}"}}': "0x40" if le == bound else "0+30x40"
        for le in (bound, above, "+Inf")
    }


def _scraped(metric: str, service: str, more: str = "") -> str:
    return f'{metric}{{{more}instance="10.0.0.1:8400",job="stagedoor",service="{service}"}}'


def _replica(service: str) -> dict[str, str]:
    return {"instance": "10.0.0.1:8400", "job": "stagedoor", "service": service}


_VIEW: Final = 'projection="known",source="registry",service="identity"'
_OF_VIEW: Final = {"projection": "known", "source": "registry", "service": "identity"}
_GUARD: Final = 'audience="tours",'

CASES: Final = (
    Case(
        "StagedoorDown",
        {_scraped("up", "registry"): "1x3 0x10", _scraped("up", "ledger"): "1x20"},
        "2m30s",
        "3m30s",
        _replica("registry"),
        "registry at 10.0.0.1:8400 does not answer",
    ),
    Case(
        "StagedoorHttpFailing",
        {
            'stagedoor_http_requests_total{service="identity",route="/id/signin",status="200"}': "0+300x40",
            'stagedoor_http_requests_total{service="identity",route="/id/signin",status="500"}': "0+30x40",
            'stagedoor_http_requests_total{service="identity",route="/id/consent",status="200"}': "0+300x40",
            'stagedoor_http_requests_total{service="identity",route="/id/consent",status="503"}': "0+1x40",
        },
        "5m",
        "7m",
        {"service": "identity", "route": "/id/signin"},
        "identity answers more than one request of twenty at /id/signin with a 5xx",
    ),
    Case(
        "StagedoorRpcFailing",
        {
            'stagedoor_rpc_requests_total{service="token-issuer",method="Validate",code="OK"}': "0+300x40",
            'stagedoor_rpc_requests_total{service="token-issuer",method="Validate",code="UNAVAILABLE"}': "0+30x40",
            'stagedoor_rpc_requests_total{service="registry",method="Get",code="NOT_FOUND"}': "0+300x40",
        },
        "5m",
        "7m",
        {"service": "token-issuer", "method": "Validate"},
        "token-issuer fails at more than one call of twenty of Validate",
    ),
    Case(
        "StagedoorLogUnavailable",
        {
            'stagedoor_append_outcomes_total{service="registry",outcome="unavailable"}': "0x9 1x20",
            'stagedoor_append_outcomes_total{service="identity",outcome="conflict"}': "0x9 1x20",
        },
        "5m30s",
        "6m30s",
        {"service": "registry"},
        "registry could not append: the log cannot be reached, or did not answer in time",
    ),
    Case(
        "StagedoorAppendFailed",
        {'stagedoor_append_outcomes_total{service="registry",outcome="failed"}': "0x9 1x20"},
        "4m30s",
        "5m30s",
        {"service": "registry"},
        "the log took no command of registry that never should have been sent",
    ),
    Case(
        "StagedoorAppendSlow",
        _slow("stagedoor_append_seconds", "1", "2.5", 'service="identity",'),
        "5m",
        "7m",
        {"service": "identity"},
        "one append of a hundred of identity takes more than a second",
    ),
    Case(
        "StagedoorGateHeld",
        _slow("stagedoor_append_gate_wait_seconds", "0.5", "1", 'service="identity",'),
        "5m",
        "7m",
        {"service": "identity"},
        "identity stands at the gate of the log for more than half a second",
    ),
    Case(
        "StagedoorQuestionsWait",
        _slow("stagedoor_pool_wait_seconds", "0.5", "1", 'service="identity",'),
        "5m",
        "7m",
        {"service": "identity"},
        "questions of identity to the database wait for a connection",
    ),
    Case("StagedoorNotReplicated", {"stagedoor_log_synchronous_replication": "0x40"}, "9m", "11m"),
    Case("StagedoorCareOverdue", {"stagedoor_care_last_success_seconds": "0x160"}, "1h4m", "1h6m"),
    Case(
        "StagedoorPartitionsRunOut",
        {"stagedoor_log_positions_ahead": "999999x60", "stagedoor_log_once_days_ahead": "15x60"},
        "14m",
        "16m",
    ),
    Case(
        "StagedoorPartitionsRunOut",
        {"stagedoor_log_positions_ahead": "16777216x60", "stagedoor_log_once_days_ahead": "2x60"},
        "14m",
        "16m",
    ),
    Case(
        "StagedoorRelayBehind",
        {
            'stagedoor_relay_lag_seconds{instance="a"}': "20x10",
            # The first replica to see that all is there says so for all.
            'stagedoor_relay_lag_seconds{instance="b"}': "0 30x10",
        },
        "1m",
        "2m",
        {},
        "events have not reached NATS for 20s",
    ),
    Case(
        "StagedoorViewBehind",
        {f"stagedoor_follower_lag_seconds{{{_VIEW}}}": "20x10"},
        "30s",
        "1m30s",
        _OF_VIEW,
        "the view known of identity has missed registry for 20s",
    ),
    Case(
        "StagedoorViewStopped",
        {f"stagedoor_follower_stopped{{{_VIEW}}}": "1x10"},
        "30s",
        "1m30s",
        _OF_VIEW,
        "the view known of identity has stopped at an event of registry",
    ),
    Case(
        "StagedoorReadModelOutdated",
        {'stagedoor_read_model_outdated{projection="known",service="identity"}': "1x160"},
        "59m",
        "1h1m",
        {"projection": "known", "service": "identity"},
        "rows of known of identity were made by an earlier version of the code",
    ),
    Case(
        "StagedoorGuardStale",
        {
            _scraped("stagedoor_guard_view_age_seconds", "resource", _GUARD): "1 16x10",
            _scraped("stagedoor_guard_max_staleness_seconds", "resource", _GUARD): "30x10",
            _scraped("stagedoor_guard_view_age_seconds", "registry", _GUARD): "14x10",
            _scraped("stagedoor_guard_max_staleness_seconds", "registry", _GUARD): "30x10",
        },
        "30s",
        "1m",
        {"audience": "tours", **_replica("resource")},
        "the guard of tours in resource has heard of no denials for too long",
    ),
    Case(
        "StagedoorRevocationSlow",
        _slow("stagedoor_guard_denial_delay_seconds", "5", "10", f'{_GUARD}service="resource",'),
        "5m",
        "7m",
        {"audience": "tours", "service": "resource"},
        "denials take more than five seconds to the guard of tours in resource",
    ),
    Case(
        "StagedoorKeyRotationOverdue",
        {
            'stagedoor_signing_key_rotation_due_timestamp_seconds{use="access_token",instance="a"}': "0x180",
            'stagedoor_signing_key_rotation_due_timestamp_seconds{use="id_token",instance="a"}': "9000x180",
        },
        "1h14m",
        "1h16m",
        {"use": "access_token"},
        "the signing key for the access_token should have had a successor by now",
    ),
    Case(
        "StagedoorKeysStale",
        {_scraped("stagedoor_signing_keys_looked_up_timestamp_seconds", "token-issuer"): "0x10"},
        "1m",
        "1m30s",
        _replica("token-issuer"),
        "the token issuer at 10.0.0.1:8400 cannot look its signing keys up, and will sign nothing",
    ),
    Case("StagedoorEvidenceBroken", {"stagedoor_evidence_broken": "0 0 1x5"}, "30s", "1m"),
    Case(
        "StagedoorCheckpointOld",
        {'stagedoor_evidence_current_timestamp_seconds{instance="a"}': "1x20"},
        "3m",
        "3m30s",
        {},
        "no checkpoint has covered all of the log for 3m 29s",
    ),
    Case(
        "StagedoorArchiveBehind",
        {"stagedoor_archive_overdue_seconds": "691200x160"},
        "59m",
        "1h1m",
        {},
        "old events could have left the log 8d 0h 0m 0s ago, and have not",
    ),
    Case("StagedoorLogoutsGivenUp", {"stagedoor_logouts_given_up_total": "0 0 1x5"}, "30s", "1m"),
    Case(
        "StagedoorLogoutsWait",
        {
            'stagedoor_logouts_undelivered{state="waiting"}': "1500x80",
            'stagedoor_logouts_undelivered{state="given_up"}': "5000x80",
        },
        "29m",
        "31m",
        {},
        "1500 logouts wait to be told to applications",
    ),
    Case("StagedoorTokensReused", {"stagedoor_grants_ended_by_reuse_total": "0 0 10 40x5"}, "30s", "2m"),
    Case("StagedoorThrottling", {"stagedoor_http_too_many_total": "0+60x40"}, "12m", "14m"),
    Case("StagedoorThrottling", {"stagedoor_identity_sign_in_throttled_total": "0+60x40"}, "12m", "14m"),
    Case("StagedoorPasswordsQueue", {"stagedoor_identity_password_queue_full_total": "0+1x30"}, "5m", "7m"),
    Case(
        "StagedoorValidationOverloaded",
        {'stagedoor_validation_refused_total{service="token-issuer"}': "0+1x30"},
        "5m",
        "7m",
        {"service": "token-issuer"},
    ),
)

HEALTHY: Final = {
    _scraped("up", "registry"): "1x200",
    'stagedoor_http_requests_total{service="identity",route="/id/signin",status="200"}': "0+300x200",
    'stagedoor_http_requests_total{service="identity",route="/id/signin",status="503"}': "0x50 1x150",
    'stagedoor_rpc_requests_total{service="token-issuer",method="Validate",code="OK"}': "0+300x200",
    'stagedoor_append_outcomes_total{service="registry",outcome="appended"}': "0+30x200",
    'stagedoor_append_outcomes_total{service="registry",outcome="unavailable"}': "0x200",
    'stagedoor_append_seconds_bucket{service="identity",le="0.01"}': "0+30x200",
    'stagedoor_append_seconds_bucket{service="identity",le="+Inf"}': "0+30x200",
    "stagedoor_log_synchronous_replication": "1x200",
    "stagedoor_care_last_success_seconds": "0+30x200",
    "stagedoor_log_positions_ahead": "16777216x200",
    "stagedoor_log_once_days_ahead": "15x200",
    # One replica that is behind is no alert while another knows better.
    'stagedoor_relay_lag_seconds{instance="a"}': "0x200",
    'stagedoor_relay_lag_seconds{instance="b"}': "600x200",
    f"stagedoor_follower_lag_seconds{{{_VIEW}}}": "1x200",
    f"stagedoor_follower_stopped{{{_VIEW}}}": "0x200",
    _scraped("stagedoor_guard_view_age_seconds", "resource", _GUARD): "1x200",
    _scraped("stagedoor_guard_max_staleness_seconds", "resource", _GUARD): "30x200",
    'stagedoor_signing_key_rotation_due_timestamp_seconds{use="access_token"}': "9000x200",
    _scraped("stagedoor_signing_keys_looked_up_timestamp_seconds", "token-issuer"): "0+30x200",
    "stagedoor_evidence_broken": "0x200",
    'stagedoor_evidence_current_timestamp_seconds{instance="a"}': "1+30x200",
    "stagedoor_archive_overdue_seconds": "0x200",
    "stagedoor_logouts_given_up_total": "3x200",
    'stagedoor_logouts_undelivered{state="waiting"}': "10x200",
}
"""An hour and a half in which nothing sounds."""


def rules_test() -> str:
    """The file for promtool."""
    lines = [
        "# Written by `python -m infra.monitoring` from infra/monitoring/cases.py. To run it:",
        "#     promtool test rules infra/prometheus/rules_test.yaml",
        "rule_files:",
        "  - rules.yaml",
        f"evaluation_interval: {_INTERVAL}",
        "tests:",
    ]
    known = {alert.name: alert for alert in ALERTS}
    for case in CASES:
        alert = known[case.alert]
        lines += _series(case.alert, case.series)
        lines += _asked(case.alert, case.quiet)
        lines += _asked(
            case.alert,
            case.sounds,
            {"severity": alert.severity.value, **case.labels},
            {"summary": case.summary or alert.summary, "runbook_url": alert.runbook},
        )
    lines += _series("nothing", HEALTHY)
    for name in known:
        lines += _asked(name, "1h30m")
    return "\n".join(lines) + "\n"


def _series(name: str, series: Mapping[str, str]) -> Iterable[str]:
    yield f"  - name: {name}"
    yield f"    interval: {_INTERVAL}"
    yield "    input_series:"
    for which, values in series.items():
        yield f"      - series: {json.dumps(which)}"
        yield f"        values: {json.dumps(values)}"
    yield "    alert_rule_test:"


def _asked(
    alert: str, when: str, labels: Mapping[str, str] | None = None, told: Mapping[str, str] | None = None
) -> Iterable[str]:
    yield f"      - eval_time: {when}"
    yield f"        alertname: {alert}"
    if labels is None or told is None:
        yield "        exp_alerts: []"
        return
    yield "        exp_alerts:"
    yield f"          - exp_labels: {json.dumps(labels)}"
    yield f"            exp_annotations: {json.dumps(told)}"
