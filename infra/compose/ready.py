"""The health check of a container: asks the service in it whether it is ready, and ends with 0 if it is.

python -m infra.compose.ready <port>
"""

import sys
from http.client import HTTPConnection, HTTPException

_SECONDS = 4.0


def main() -> None:
    """Ask, and print why not, for `docker inspect`."""
    connection = HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=_SECONDS)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        text = answer.read(64 * 1024).decode(errors="replace")
    except (OSError, HTTPException) as failure:
        sys.exit(f"stagedoor: the service does not answer: {failure}")
    if answer.status != 200:
        sys.exit(f"stagedoor: not ready: {text}")


if __name__ == "__main__":
    main()
