"""The same decision over HTTP, for Caddy's `forward_auth` and nginx's `auth_request`.

    GET /internal/forward-auth?audience=…&scope=…        200 with identity headers, or the answer to the client

The proxy's configuration writes the query (`resource_metadata` and `origin` as for Envoy). The client's headers come
along, and what it asked for in `X-Forwarded-Uri` or `X-Original-URI` and, for DPoP proofs, in `X-Forwarded-Method` or
`X-Original-Method`. The path is on the internal port and behind no front door. That port authenticates nobody, so a
resource has to admit proxies by naming `service/proxy` among its callers.
"""

import json
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from services.token_issuer.gateway import Asked, Gateway, Passed, Stopped
from shared.http.endpoint import Call, Endpoint, Reply

PATH: Final = "/internal/forward-auth"
CALLER: Final = "service/proxy"
_PARAMETERS: Final = frozenset({"audience", "scope", "resource_metadata", "origin"})
_ADDRESS: Final = ("x-forwarded-uri", "x-original-uri")
_METHOD: Final = ("x-forwarded-method", "x-original-method")


def endpoints(gateway: Gateway) -> Mapping[str, Mapping[str, Endpoint]]:
    """By path and method."""

    async def decide(call: Call) -> Reply:
        asked = _asked(call)
        outcome = asked if isinstance(asked, Stopped) else await gateway.decide(asked)
        return _passed(outcome) if isinstance(outcome, Passed) else _stopped(outcome)

    return {PATH: {"GET": decide}}


def _asked(call: Call) -> Asked | Stopped:
    pairs = parse_qsl(call.query.decode("latin-1"), keep_blank_values=True)
    said = dict(pairs)
    if len(said) != len(pairs) or not said.keys() <= _PARAMETERS:
        return Stopped(500, "server_error", "the proxy asks with parameters that are repeated or not known")
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in call.headers)
    # Of two who say what was asked for, one is the client: then there is nothing that a proof could be for.
    addresses = [value for name, value in headers if name in _ADDRESS]
    methods = [value for name, value in headers if name in _METHOD]
    return Asked(
        caller=CALLER,
        audience=said.get("audience", ""),
        scopes=tuple(said.get("scope", "").split()),
        headers=headers,
        target=next(iter(addresses), ""),
        method=methods[0] if len(addresses) == len(methods) == 1 else "",
        origin=said.get("origin", ""),
        metadata=said.get("resource_metadata", ""),
    )


def _passed(passed: Passed) -> Reply:
    told = tuple((name.encode(), value.encode("latin-1")) for name, value in passed.headers.items())
    return Reply(200, ((b"cache-control", b"no-store"), *told), b"")


def _stopped(stopped: Stopped) -> Reply:
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    if stopped.challenge:
        headers.append((b"www-authenticate", stopped.challenge.encode("latin-1")))
    if stopped.retry_after:
        headers.append((b"retry-after", stopped.retry_after.encode()))
    body = json.dumps({"error": stopped.error, "error_description": stopped.description}).encode()
    return Reply(stopped.status, tuple(headers), body)
