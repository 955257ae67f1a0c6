"""What all pages share: who is looking at them, from where, and what they are made of."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address

from starlette.requests import Request

from services.identity.accounts import Accounts
from services.identity.consents import Consents
from services.identity.issuer import Issuer
from services.identity.pages.cookies import Cookie, Cookies
from services.identity.pages.forms import Forms
from services.identity.pages.pending import Seals
from services.identity.pages.rendering import Pages
from services.identity.read_model import SessionRow
from services.identity.sessions import Origin, Sessions
from shared.clock import Clock
from shared.http.forms import read_query, single
from shared.ids import new_command_id
from shared.log.append import Context
from shared.telemetry import correlation, new_correlation

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
    issuer: Issuer
    head: Callable[[], Awaitable[int]]
    """The position of the log's last event."""
    clock: Clock
    proxies: tuple[IPv4Network | IPv6Network, ...]
    """Whose word about a client's address is taken."""

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
        return Origin(self._address(request), shown or None, self.cookies.read(request, Cookie.DEVICE))

    def context(self, sub: str) -> Context:
        """For what a person does here."""
        return Context(f"user:{sub}", course(), new_command_id())

    def _address(self, request: Request) -> str:
        """The client's address: what the proxy nearest to us saw, and nothing that a client says about itself."""
        peer = request.client.host if request.client else ""
        forwarded = [part.strip() for part in ",".join(request.headers.getlist("x-forwarded-for")).split(",")]
        return forwarded[-1] if forwarded[-1] and self._trusted(peer) and _is_address(forwarded[-1]) else peer

    def _trusted(self, peer: str) -> bool:
        return _is_address(peer) and any(ip_address(peer) in network for network in self.proxies)


def course() -> str:
    """The id of the course of events that this request belongs to."""
    return correlation.get() or new_correlation()


def query(request: Request, name: str) -> str | None:
    """A parameter of one of our own pages; at most once."""
    return single(read_query(request), repeatable=()).get(name)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
