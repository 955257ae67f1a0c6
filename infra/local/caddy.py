"""The front door of the local system: Caddy with `infra/caddy/Caddyfile`, or with `mtls.Caddyfile` over https."""

import os
import sysconfig
from pathlib import Path

from infra.local.certificates import Authority
from infra.local.home import Home
from infra.local.ports import LOOPBACK, Ports
from infra.local.process import Process

_CONFIGURATIONS = Path(__file__).resolve().parent.parent / "caddy"


def program(name: str) -> str:
    """A program that came as a wheel into this environment."""
    return str(Path(sysconfig.get_path("scripts")) / name)


def process(home: Home, ports: Ports) -> Process:
    """Caddy, not yet started. It keeps nothing but its log."""
    folder = home.path / "caddy"
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "XDG_DATA_HOME": str(folder),
        "STAGEDOOR_DOOR": str(ports.door),
        "STAGEDOOR_READINESS": f"{LOOPBACK}:{ports.readiness}",
        "STAGEDOOR_CONSOLE": f"{LOOPBACK}:{ports.console}",
        **{
            f"STAGEDOOR_{service.upper()}": f"{LOOPBACK}:{ports.http(service)}"
            for service in ("registry", "identity", "token_issuer", "resource")
        },
    }
    if ports.tls:
        shown = Authority(home.certificates).door()
        environment |= {
            "STAGEDOOR_CERTIFICATE": str(shown.certificate),
            "STAGEDOOR_KEY": str(shown.key),
            "STAGEDOOR_PLAIN": str(ports.base),
            "STAGEDOOR_MTLS_DOOR": str(ports.mtls),
        }
    configuration = _CONFIGURATIONS / ("mtls.Caddyfile" if ports.tls else "Caddyfile")
    command = [program("caddy"), "run", "--config", str(configuration), "--adapter", "caddyfile"]
    return Process("caddy", command, environment, home.log("caddy"))
