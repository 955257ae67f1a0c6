"""Serves BackstageHub: `python -m backstagehub`."""

import uvicorn

from backstagehub.app import application
from backstagehub.settings import Settings


def main() -> None:
    """Serve until told to stop."""
    settings = Settings.from_environment()
    host, _, port = settings.bind.rpartition(":")
    # No access log: addresses of the callback carry codes. No Server header: nobody needs it.
    uvicorn.run(
        application(settings),
        host=host,
        port=int(port),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
    )


if __name__ == "__main__":
    main()
