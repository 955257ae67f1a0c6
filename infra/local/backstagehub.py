"""BackstageHub, the demo application, as another team would run it: on a site of its own, with only the SDK."""

import sys

from infra.local import demo, services
from infra.local.certificates import Authority
from infra.local.home import Home
from infra.local.ports import Ports
from infra.local.process import Process


def process(home: Home, ports: Ports) -> Process:
    """BackstageHub, not yet started. It needs the secret that it got when it was registered."""
    environment = {
        **services.python_environment(),
        "BACKSTAGEHUB_PORT": str(ports.backstagehub),
        "BACKSTAGEHUB_ISSUER": ports.issuer,
        "BACKSTAGEHUB_API": f"{ports.origin}/api",
        **({"BACKSTAGEHUB_CA_FILE": str(Authority(home.certificates).certificate)} if ports.tls else {}),
        "BACKSTAGEHUB_CLIENT_SECRET_FILE": str(demo.backstagehub_secret(home)),
    }
    command = [sys.executable, "-P", "-m", "backstagehub"]
    return Process("backstagehub", command, environment, home.log("backstagehub"))
