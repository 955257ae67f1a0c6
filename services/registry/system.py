"""What the system itself registers when it starts: the management API, the `stagedoor` command, the install pages.

Each is written once and then found; replicas that start together do not disturb each other.
"""

import asyncio
from itertools import chain, repeat

from services.identity.events import UserKind
from services.registry.carry_out import of_application, of_resources
from services.registry.client_secrets import ClientSecrets
from services.registry.domain import application, resource
from services.registry.events import (
    ApplicationSettings,
    ApplicationType,
    AuthMethod,
    GrantType,
    ResourceSettings,
    Scope,
)
from shared.errors import Kind, Refusal, Unavailable
from shared.ids import new_command_id, new_id
from shared.keys import MasterKey
from shared.log.append import Context
from shared.log.log import Log
from shared.telemetry import logger

ACTOR = "service:registry"
CLI = f"{application.SYSTEM}cli"
INSTALLER = f"{application.SYSTEM}install"

_CLI = ApplicationSettings(
    display_name="The stagedoor command",
    type=ApplicationType.NATIVE,
    redirect_uris=("http://127.0.0.1/callback",),
    user_kinds=(UserKind.INTERNAL,),
    scopes=(resource.MANAGEMENT_SCOPE,),
    grants=(GrantType.AUTHORIZATION_CODE, GrantType.REFRESH_TOKEN, GrantType.DEVICE_CODE),
    auth_method=AuthMethod.NONE,
    first_party=True,
)
_INSTALLER = ApplicationSettings(
    display_name="The install page",
    type=ApplicationType.PUBLIC,
    user_kinds=(UserKind.INTERNAL,),
    scopes=(resource.MANAGEMENT_SCOPE,),
    grants=(GrantType.AUTHORIZATION_CODE,),
    auth_method=AuthMethod.NONE,
    access_token_seconds=60,
    first_party=True,
)
"""The identity service's pages act by it, with the token of the administrator who is looking at them (decision 120)."""
_MANAGEMENT = ResourceSettings(
    display_name="Management",
    scopes=(Scope(name=resource.MANAGEMENT_SCOPE, description="manage this instance on your behalf"),),
    callers=("service/registry", "service/identity", "service/token_issuer", "service/ledger", "operator"),
)

_WAITS = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds between attempts while the log cannot be reached; the last one is repeated."""

_log = logger(__name__)


class SystemRegistrations:
    """The registrations that everything else stands on."""

    def __init__(self, log: Log, master: MasterKey, origin: str, issuer: str) -> None:
        self._target = log
        self._names = master.derive("names")
        self._secrets = ClientSecrets(master)
        self._origin = origin
        # Where only this site's own page is, which takes no code: nobody is ever sent there with one.
        installer = _INSTALLER.model_copy(update={"redirect_uris": (f"{issuer}/install",)})
        self._applications = {CLI: _CLI, INSTALLER: installer}
        self.done = False
        """Whether they are in the log: before that, the registry is not ready."""

    async def run(self) -> None:
        """Register, and try again for as long as the log cannot be reached."""
        for wait in chain(_WAITS, repeat(_WAITS[-1])):
            try:
                await self.register()
            except Unavailable as failure:
                _log.warning("the system is not registered yet", reason=failure.code)
                await asyncio.sleep(wait)
            else:
                return

    async def register(self) -> None:
        """Register what is not registered yet."""
        management = resource.RegisterManagement(f"{self._origin}/management", _MANAGEMENT)
        await of_resources(self._target, management, _context())
        for client_id, settings in self._applications.items():
            await self._register(client_id, settings)
        # It follows the issuer, as the management API follows the origin.
        where = {"redirect_uris": self._applications[INSTALLER].redirect_uris}
        await self._carry_out(INSTALLER, application.Change(INSTALLER, where, frozenset()), _context())
        self.done = True

    async def _register(self, client_id: str, settings: ApplicationSettings) -> None:
        context = _context()
        secret = self._secrets.of(context.command_id, client_id).new()
        known = frozenset({resource.MANAGEMENT_SCOPE})
        command = application.Register(client_id, settings, known, secret, by_system=True)
        try:
            await self._carry_out(client_id, command, context)
        except Refusal as refusal:
            if refusal.kind is not Kind.ALREADY_EXISTS:
                raise

    async def _carry_out(self, client_id: str, command: application.Command, context: Context) -> None:
        await of_application(self._target, self._names, client_id, command, context)


def _context() -> Context:
    return Context(actor=ACTOR, correlation_id=new_id(), command_id=new_command_id())
