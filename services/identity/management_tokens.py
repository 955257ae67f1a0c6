"""The administrator's own token, for what a page of this service does about applications in their name (decision 120).

This service has no rights in the registry. Its page is an application like any other, `com.stagedoor/install`: it asks
for a code in the session of whoever looks at the page, and redeems it. So it is the issuer that judges whether the
session is open, how long ago it was proved and what roles the person has now; and the log says who it was. A token
lives for a minute; it is held for one call, and kept nowhere.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import httpcore

from protos.stagedoor.tokens.v1.tokens_pb2 import Proceed
from services.identity.domain.session import FRESH
from services.identity.issuer import Issuer, NotTrusted, Redirect
from services.identity.read_model import SessionRow
from shared.encoding import base64url, strict_json
from shared.errors import Kind, Refusal, Unavailable
from shared.ids import new_secret

CLIENT: Final = "com.stagedoor/install"
SCOPE: Final = "sec"
_SECONDS: Final = 4.0
_LONGEST: Final = 64 * 1024
"""Bytes of the token endpoint's answer."""

Redeem = Callable[[Mapping[str, str]], Awaitable[str]]
"""Exchanges a code at the token endpoint; answers the access token. Raises `Unavailable`."""


class SignInAgain(Refusal):
    """The session is not one in which this can be done: the person has to prove who they are once more."""

    def __init__(self) -> None:
        super().__init__(Kind.FORBIDDEN, "login_required", "the sign-in is too long ago")


class ManagementTokens:
    """Gets such tokens."""

    def __init__(self, issuer: Issuer, address: str, redeem: Redeem, head: Callable[[], Awaitable[int]]) -> None:
        """`address`: the issuer's. `head`: the position of the log's last event."""
        self._issuer = issuer
        self._redirect_uri = f"{address}/install"
        self._redeem = redeem
        self._head = head

    async def of(self, session: SessionRow) -> str:
        """A token of the person in this session.

        Raises `SignInAgain`, `Unavailable`, and `Refusal` (`access_denied`) for who has no role.
        """
        verifier = new_secret()
        asked = (
            ("response_type", "code"),
            ("client_id", CLIENT),
            ("redirect_uri", self._redirect_uri),
            ("scope", SCOPE),
            ("max_age", str(int(FRESH.total_seconds()))),
            ("code_challenge", base64url(sha256(verifier.encode()).digest()).decode()),
            ("code_challenge_method", "S256"),
        )
        try:
            proceed = await self._issuer.begin(asked)
        except NotTrusted:
            # It is registered when the registry starts, and may not be known here yet.
            raise _unavailable() from None
        if not isinstance(proceed, Proceed):
            raise _unavailable()
        answer = await self._issuer.issue_code(proceed, session, await self._head())
        if not isinstance(answer, Redirect):
            raise _unavailable()
        said = parse_qs(urlsplit(answer.to).query)
        error = said.get("error", [""])[0]
        if error == "login_required":
            raise SignInAgain
        if error == "access_denied":
            raise Refusal(Kind.FORBIDDEN, "access_denied", "only administrators do this")
        if "code" not in said:
            raise _unavailable()
        return await self._redeem(
            {
                "grant_type": "authorization_code",
                "client_id": CLIENT,
                "redirect_uri": self._redirect_uri,
                "code": said["code"][0],
                "code_verifier": verifier,
            }
        )


class TokenEndpoint:
    """The token endpoint, where the issuer has it for everybody; `close` it."""

    def __init__(self, issuer: str, ca_file: Path | None) -> None:
        self._uri = f"{issuer}/connect/token"
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl.create_default_context(cafile=ca_file), max_connections=8, max_keepalive_connections=0
        )

    async def redeem(self, form: Mapping[str, str]) -> str:
        """Exchange a code; answers the access token. Raises `Unavailable`."""
        headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Connection", "close")]
        body = b""
        try:
            async with (
                asyncio.timeout(_SECONDS),
                self._pool.stream("POST", self._uri, headers=headers, content=urlencode(form).encode()) as answer,
            ):
                async for part in answer.aiter_stream():
                    body += part
                    if answer.status != 200 or len(body) > _LONGEST:
                        raise _unavailable()
            said: Any = strict_json(body.decode())
        except (TimeoutError, OSError, ValueError, httpcore.TimeoutException, httpcore.NetworkError):
            raise _unavailable() from None
        except httpcore.ProtocolError:
            raise _unavailable() from None
        token = said.get("access_token") if isinstance(said, dict) else None
        if not isinstance(token, str):
            raise _unavailable()
        return token

    async def close(self) -> None:
        """Let go of connections."""
        await self._pool.aclose()


def _unavailable() -> Unavailable:
    return Unavailable("no_management_token", "the issuer gives no token at this moment")
