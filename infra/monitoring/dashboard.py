"""The dashboard: from what people feel to what explains it, a row for each question."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

_WIDTH: Final = 24
_HEIGHT: Final = 8
_SOURCE: Final = {"type": "prometheus", "uid": "${source}"}


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph. Each line is an expression and its legend."""

    title: str
    unit: str
    """Grafana's name for it."""
    lines: tuple[tuple[str, str], ...]
    about: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels that answer one question."""

    title: str
    panels: tuple[Panel, ...]


def _rate(counter: str, by: str, which: str = "") -> str:
    return f"sum by ({by}) (rate({counter}{{{which}}}[$__rate_interval]))"


def _quantiles(histogram: str, by: str = "") -> tuple[tuple[str, str], ...]:
    labels, legend = (f"{by}, le", f"{{{{{by.split(', ', maxsplit=1)[0]}}}}} ") if by else ("le", "")
    return tuple(
        (
            f"histogram_quantile({share}, sum by ({labels}) (rate({histogram}_bucket[$__rate_interval])))",
            f"{legend}p{share * 100:g}",
        )
        for share in (0.5, 0.99)
    )


ROWS: Final = (
    Row(
        "What people feel",
        (
            Panel(
                "Requests by answer",
                "reqps",
                ((_rate("stagedoor_http_requests_total", "service, status"), "{{service}} {{status}}"),),
            ),
            Panel("Time to answer, HTTP", "s", _quantiles("stagedoor_http_request_seconds", "service")),
            Panel("Time to answer, gRPC", "s", _quantiles("stagedoor_rpc_request_seconds", "service")),
            Panel(
                "Tokens issued",
                "ops",
                ((_rate("stagedoor_tokens_issued_total", "grant_type"), "{{grant_type}}"),),
            ),
            Panel(
                "RPCs that fail",
                "reqps",
                ((_rate("stagedoor_rpc_requests_total", "method, code", 'code!="OK"'), "{{method}} {{code}}"),),
            ),
            Panel(
                "Refused for trying too often",
                "reqps",
                (
                    ("sum(rate(stagedoor_http_too_many_total[$__rate_interval]))", "at endpoints"),
                    ("sum(rate(stagedoor_identity_sign_in_throttled_total[$__rate_interval]))", "sign-in"),
                    ("sum(rate(stagedoor_identity_password_queue_full_total[$__rate_interval]))", "passwords"),
                    ("sum(rate(stagedoor_validation_refused_total[$__rate_interval]))", "validation"),
                ),
            ),
        ),
    ),
    Row(
        "Are denials everywhere?",
        (
            Panel(
                "Age of guards' views",
                "s",
                (
                    ("max by (service, audience) (stagedoor_guard_view_age_seconds)", "{{service}} {{audience}}"),
                    ("min(stagedoor_guard_max_staleness_seconds)", "bound"),
                ),
                "Past the bound a guard asks the issuer, or refuses.",
            ),
            Panel("From a denial to the wire", "s", _quantiles("stagedoor_feed_denial_delay_seconds")),
            Panel("From a denial to the guards", "s", _quantiles("stagedoor_guard_denial_delay_seconds", "service")),
            Panel(
                "Verdicts of guards",
                "ops",
                ((_rate("stagedoor_guard_verdicts_total", "service, reason"), "{{service}} {{reason}}"),),
            ),
            Panel(
                "Verdicts told to others",
                "ops",
                ((_rate("stagedoor_validation_verdicts_total", "reason"), "{{reason}}"),),
            ),
            Panel(
                "Denials held",
                "short",
                (("max by (service, audience) (stagedoor_guard_denials)", "{{service}} {{audience}}"),),
            ),
        ),
    ),
    Row(
        "Is the log fast?",
        (
            Panel("Time to append", "s", _quantiles("stagedoor_append_seconds", "service")),
            Panel("Time at the gate", "s", _quantiles("stagedoor_append_gate_wait_seconds", "service")),
            Panel("Commands of a group", "short", _quantiles("stagedoor_append_group_commands", "service")),
            Panel(
                "What became of commands",
                "ops",
                ((_rate("stagedoor_append_outcomes_total", "service, outcome"), "{{service}} {{outcome}}"),),
            ),
            Panel(
                "Commands that wait",
                "short",
                (("sum by (service) (stagedoor_append_waiting)", "{{service}}"),),
            ),
            Panel("Wait for a connection", "s", _quantiles("stagedoor_pool_wait_seconds", "service")),
        ),
    ),
    Row(
        "Does everybody follow?",
        (
            Panel(
                "Behind the log, in time",
                "s",
                (
                    ("min(stagedoor_relay_lag_seconds)", "the stream on NATS"),
                    (
                        "max by (service, projection, source) (stagedoor_follower_lag_seconds)",
                        "{{service}} {{projection}} {{source}}",
                    ),
                ),
                "Grows while nothing moves. About a second when all is well.",
            ),
            Panel(
                "Behind the log, in events",
                "short",
                (
                    ("min(stagedoor_relay_lag_positions)", "the stream on NATS"),
                    (
                        "max by (service, projection, source) (stagedoor_follower_lag_positions)",
                        "{{service}} {{projection}} {{source}}",
                    ),
                ),
            ),
            Panel(
                "Events relayed and applied",
                "ops",
                (
                    ("sum(rate(stagedoor_relay_events_total[$__rate_interval]))", "relayed"),
                    (_rate("stagedoor_follower_events_total", "service, projection"), "{{service}} {{projection}}"),
                ),
            ),
        ),
    ),
    Row(
        "What is looked after",
        (
            Panel(
                "Since the log was looked after",
                "s",
                (
                    ("time() - max(stagedoor_care_last_success_seconds)", "care"),
                    ("time() - max(stagedoor_evidence_current_timestamp_seconds) ", "checkpoint"),
                    ("time() - max(stagedoor_issuer_pruning_last_success_seconds)", "pruning"),
                ),
            ),
            Panel(
                "Until a signing key is succeeded",
                "s",
                (("max by (use) (stagedoor_signing_key_rotation_due_timestamp_seconds) - time()", "{{use}}"),),
            ),
            Panel(
                "Logouts not delivered",
                "short",
                (("max by (state) (stagedoor_logouts_undelivered)", "{{state}}"),),
            ),
            Panel(
                "Alarms",
                "short",
                (
                    ("max(stagedoor_evidence_broken)", "evidence broken"),
                    (
                        "max by (service, projection) (stagedoor_follower_stopped)",
                        "stopped: {{service}} {{projection}}",
                    ),
                    ("max by (service, projection) (stagedoor_read_model_outdated)", "outdated: {{projection}}"),
                ),
            ),
            Panel(
                "Positions that have partitions",
                "short",
                (("min(stagedoor_log_positions_ahead)", "positions"),),
            ),
            Panel(
                "Memory",
                "bytes",
                (('process_resident_memory_bytes{job="stagedoor"}', "{{service}} {{instance}}"),),
            ),
        ),
    ),
)


def dashboard() -> str:
    """The dashboard, as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    down = 0
    for row in ROWS:
        panels.append(_place(len(panels), 0, down, _WIDTH, 1) | {"type": "row", "title": row.title, "collapsed": False})
        down += 1
        each = _WIDTH // 3
        for number, panel in enumerate(row.panels):
            across = number % 3
            panels.append(
                _place(len(panels), across * each, down + number // 3 * _HEIGHT, each, _HEIGHT) | _graph(panel)
            )
        down += -(-len(row.panels) // 3) * _HEIGHT
    document = {
        "title": "Stagedoor",
        "uid": "stagedoor",
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}]
        },
        "panels": panels,
    }
    return json.dumps(document, indent=1) + "\n"


def expressions() -> Sequence[str]:
    """All that the dashboard asks."""
    return [expression for row in ROWS for panel in row.panels for expression, _ in panel.lines]


def _place(number: int, x: int, y: int, width: int, height: int) -> dict[str, Any]:
    return {"id": number + 1, "gridPos": {"x": x, "y": y, "w": width, "h": height}}


def _graph(panel: Panel) -> dict[str, Any]:
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + number), "datasource": _SOURCE, "expr": expression, "legendFormat": legend}
            for number, (expression, legend) in enumerate(panel.lines)
        ],
    }
