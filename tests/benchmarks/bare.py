"""The yardstick for the token endpoint: the same form, the same secret, the same signature, and nothing else.

    python -m tests.benchmarks.bare PORT

A raw ASGI handler on uvicorn, as a service runs it (uvloop, httptools). It stores nothing, logs nothing, knows one
client, and its tokens are worth nothing: nobody could take one back.
"""

import hashlib
import hmac
import sys
from base64 import b64decode
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import uvicorn
import uvloop

from services.token_issuer.events import KeyUse
from services.token_issuer.signing import generate
from services.token_issuer.tokens import Content, Issued, access_token
from shared.ids import new_id

CLIENT_ID = "com.backstagehub/app"
SECRET = "a-secret-for-the-yardstick-of-43-characters"
_DIGEST = hashlib.sha256(SECRET.encode()).hexdigest()
_KEY = generate(KeyUse.ACCESS_TOKEN)[0]
_HEADERS = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]


async def handler(scope: Any, receive: Any, send: Any) -> None:
    """Answer a token request."""
    if scope["type"] != "http":
        return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    form = dict(parse_qsl(body.decode()))
    authorization = next(value for name, value in scope["headers"] if name == b"authorization")
    client_id, _, secret = b64decode(authorization[6:]).decode().partition(":")
    shown = hashlib.sha256(secret.encode()).hexdigest()
    if not hmac.compare_digest(shown, _DIGEST) or form["grant_type"] != "client_credentials":
        raise ValueError("the load asks for something else")
    scopes = form["scope"].split()
    content = Content(new_id(), client_id, client_id, scopes, ("http://127.0.0.1:8400/api",), 3600)
    token = access_token(_KEY, "http://127.0.0.1:8400/id", content, Issued(1, 1, datetime.now(UTC)))
    answer = msgspec.json.encode(
        {"access_token": token, "token_type": "Bearer", "expires_in": 3600, "scope": form["scope"]}
    )
    length = (b"content-length", str(len(answer)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [*_HEADERS, length]})
    await send({"type": "http.response.body", "body": answer})


def main() -> None:
    """Serve until told to stop."""
    config = uvicorn.Config(
        handler,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        http="httptools",
        loop="none",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
    )
    uvloop.run(uvicorn.Server(config).serve())


if __name__ == "__main__":
    main()
