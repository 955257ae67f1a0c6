"""What all pages share: who is looking at them, from where, and what they are made of."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request

from services.identity.accounts import Accounts
from services.identity.consents import Consents
from services.identity.installing import Installing
from services.identity.issuer import Issuer
from services.identity.origin import Origin
from services.identity.own_access import OwnAccess
from services.identity.own_passkeys import OwnPasskeys
from services.identity.own_second_factor import OwnSecondFactor
from services.identity.pages.cookies import Cookie
from services.identity.pages.pending import Seals
from services.identity.passkeys import Passkeys
from services.identity.read_model import SessionRow
from services.identity.sessions import Sessions
from services.identity.throttle import Throttle
from shared.clock import Clock
from shared.http.attempts import Attempts
from shared.http.client_address import ClientAddresses, Sent
from shared.http.forms import read_query, single
from shared.ids import new_command_id
from shared.log.append import Context
from shared.pages.cookies import Cookies
from shared.pages.forms import Forms
from shared.pages.rendering import Pages
from shared.telemetry import correlation, new_correlation

TEMPLATES = Path(__file__).parent
STATIC = ("passkey.js",)
"""Files beside the templates that browsers fetch."""

_USER_AGENT_LIMIT = 256


@dataclass(frozen=True, slots=True)
class Site:
    """The parts."""

    pages: Pages
    cookies: Cookies
    forms: Forms
    seals: Seals
    sessions: Sessions
    consents: Consents
    accounts: Accounts
    own_second_factor: OwnSecondFactor
    passkeys: Passkeys
    own_passkeys: OwnPasskeys
    issuer: Issuer
    throttle: Throttle
    own_access: OwnAccess
    installing: Installing
    head: Callable[[], Awaitable[int]]
    """The position of the log's last event."""
    clock: Clock
    addresses: ClientAddresses
    attempts: Attempts

    async def session(self, request: Request, client_id: str = "") -> SessionRow | None:
        """The session of this browser, with what its user allowed the application."""
        return await self.sessions.current(self.cookies.read(request, Cookie.SESSION), client_id)

    def secret(self, request: Request) -> str:
        """The session's secret, that forms are bound to."""
        return self.cookies.read(request, Cookie.SESSION) or ""

    def origin(self, request: Request) -> Origin:
        """Where the request comes from."""
        agent = request.headers.get("user-agent", "")
        shown = "".join(character for character in agent if character.isprintable())[:_USER_AGENT_LIMIT]
        return Origin(
            self.addresses.of(Sent.by(request.scope)), shown or None, self.cookies.read(request, Cookie.DEVICE)
        )

    def context(self, sub: str) -> Context:
        """For what a person does here."""
        return Context(f"user:{sub}", course(), new_command_id())


def course() -> str:
    """The id of the course of events that this request belongs to."""
    return correlation.get() or new_correlation()


def query(request: Request, name: str) -> str | None:
    """A parameter of one of our own pages; at most once."""
    return single(read_query(request), repeatable=()).get(name)
