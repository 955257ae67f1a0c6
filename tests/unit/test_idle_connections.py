"""The door and the services agree on who lets go of an idle connection first."""

import re
from pathlib import Path

import uvicorn

_CADDYFILE = Path(__file__).resolve().parents[2] / "infra" / "caddy" / "door.Caddyfile"
_LATE_SECONDS = 1
"""By so much either may be late."""


def test_the_door_lets_go_before_a_service_does() -> None:
    (seconds,) = re.findall(r"^\s*keepalive (\d+)s$", _CADDYFILE.read_text(), re.MULTILINE)
    config = uvicorn.Config("shared.http.serve:serve", log_config=None)
    assert int(seconds) + _LATE_SECONDS < config.timeout_keep_alive
