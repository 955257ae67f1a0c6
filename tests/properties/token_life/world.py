"""The real services, in this process, on one real log: what a life is played against.

Registry, identity and issuer are called as their clients call them: gRPC methods, the token endpoint over HTTP, and
the identity server's own parts where a browser would be. Nothing runs by itself: views of other services' facts go on
when something needs them, or when they are told to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from google.protobuf.field_mask_pb2 import FieldMask

from protos.stagedoor.registry.v1 import registry_pb2 as registry_pb
from protos.stagedoor.tokens.v1 import tokens_pb2 as tokens_pb
from services.identity import events as identity_events
from services.identity.accounts import NewUser
from services.identity.events import Profile, Role, UserKind
from services.identity.issuer import Issuer as IssuerOfIdentity
from services.identity.main import Parts, assemble
from services.identity.origin import Origin
from services.identity.personal_keys import PersonalKeyRing
from services.identity.sessions import Opened, Presented
from services.identity.settings import IdentitySettings
from services.identity.subscriptions import PROJECTION as IDENTITY_PROJECTION
from services.identity.subscriptions import SOURCES as IDENTITY_SOURCES
from services.identity.subscriptions import project_registry
from services.registry import events as registry_events
from services.registry.rpc import RegistryService
from services.registry.system import SystemRegistrations
from services.token_issuer import events as issuer_events
from services.token_issuer.audiences import AudienceCallers
from services.token_issuer.authorization.device_codes import UserCodes
from services.token_issuer.http import application
from services.token_issuer.issuer import Issuer
from services.token_issuer.keys import KeyRing
from services.token_issuer.read_model import LATELY_SECONDS, Questions
from services.token_issuer.references.checks import ReferenceChecks
from services.token_issuer.references.tables import ReferenceQuestions
from services.token_issuer.references.uses import Uses
from services.token_issuer.refreshing import RefreshTokens
from services.token_issuer.rpc import TokensService
from services.token_issuer.sealing import Sealing
from services.token_issuer.settings import Policy, TokenIssuerSettings
from services.token_issuer.subscriptions import PROJECTION, SOURCES, project
from services.token_issuer.validation import ValidationService
from shared.http.serve import Readiness, layers
from shared.ids import new_command_id, new_id
from shared.keys import MasterKey
from shared.log.append import Context
from shared.log.event import Catalogue
from shared.log.log import Log
from shared.log_feed import LogFeed
from shared.messaging.follower import Follower
from shared.rpc import caller
from shared.wake import Wake
from stagedoor import Guard
from stagedoor.clock import since_boot
from stagedoor.validation.v1 import validation_pb2
from tests.properties.token_life.clients import Credentials, Form, app_settings, scopes_of_api
from tests.properties.token_life.database import HeldDatabase
from tests.properties.token_life.in_process import ADMINISTRATOR, GuardOfTheMoment, InProcess, Unasked, called_by
from tests.properties.token_life.made_keys import MadeKeys
from tests.properties.token_life.reference_desk import ReferenceDesk
from tests.support.work import eventually

ORIGIN = "http://127.0.0.1:8400"
ISSUER = f"{ORIGIN}/id"
API = f"{ORIGIN}/api"
USERINFO = f"{ISSUER}/connect/userinfo"
WATCH = "com.example.watch/app"
"""A confidential application that may introspect the API's tokens."""
RESOURCE = "resource/stage"
"""The caller of `Validate` that the API names."""
APPS = 40
"""More applications, and people, than come into one life; the API names them, so they may exchange its tokens."""
MASTERS = {name: MasterKey(bytes([number]) * 32) for number, name in enumerate(("registry", "identity", "issuer"))}
_BEGINNING = -1
"""The back-up that lives begin from."""
ORIGIN_OF_BROWSER = Origin("192.0.2.7", "a browser", None)


@dataclass
class Replica:
    """One process of the issuer."""

    issuer: Issuer
    follower: Follower
    http: httpx.AsyncClient


class World:
    """The services and what they run on; `begin` starts a new life on an empty log."""

    def __init__(self, held: HeldDatabase, logs: Mapping[str, Log], ring: PersonalKeyRing, made: MadeKeys) -> None:
        self._made = made
        self.held = held
        self.clock = held.clock
        self.registry_log, self.identity_log, self.issuer_log = (
            logs[name] for name in ("registry", "identity", "token_issuer")
        )
        self._ring = ring
        self._policy = _policy()
        self._wake = Wake(self.issuer_log)
        self._keys: KeyRing | None = None
        self._replicas: list[Replica] = []
        self._turn = count()
        self.guard: Guard
        self.identity: Parts
        self.registry: RegistryService
        self.issuer_of_identity: IssuerOfIdentity
        self.references: ReferenceDesk

    @classmethod
    async def open(cls, held: HeldDatabase, made: MadeKeys) -> "World":
        ring = PersonalKeyRing(MASTERS["identity"])
        logs = {
            "registry": await held.database.log("registry", Catalogue.of(registry_events)),
            "identity": await held.database.log(
                "identity", Catalogue.of(identity_events, registry_events), personal_keys=ring
            ),
            "token_issuer": await held.database.log(
                "token_issuer", Catalogue.of(issuer_events, registry_events, identity_events)
            ),
        }
        return cls(held, logs, ring, made)

    async def begin(self) -> None:
        """Everything is new and empty, but for the system's own registrations, the API, and its watch.

        That is made once; later lives begin from a back-up of it.
        """
        first = not hasattr(self, "watch")
        if first:
            await self.held.forget_everything()
            await SystemRegistrations(self.registry_log, MASTERS["registry"], ORIGIN, ISSUER).run()
        else:
            await self.held.begin_again(_BEGINNING)
        self._made.go_back()
        self.restart_registry()
        if first:
            self.restart_identity()
        # Unwrapping keys takes longer than most lives; a ring that has seen them does not do it again.
        self._keys = self._keys or self._new_keys()
        await self._keys.prepare()
        uses = Uses(self.issuer_log, ReferenceQuestions(self.issuer_log.pool), self.clock)
        self.references = ReferenceDesk(self, InProcess(self), uses)
        self._replicas = [self._new_replica(self._keys) for _ in range(2)]
        await self._begin_validation()
        if first:
            registrar = NewUser("registrar", UserKind.INTERNAL, Profile(), (Role.ADMINISTRATOR,))
            self._registrar, _ = await self.identity.accounts.register(registrar, self.context())
            await self._register_api()
            self._made.stay_here()
            await self.held.take_back_up(_BEGINNING)

    async def end(self) -> None:
        await self.guard.__aexit__(None, None, None)

    # Processes come and go

    @property
    def keys(self) -> KeyRing:
        """Of whoever checks tokens; a replica that was restarted with keys of its own may know less, or more."""
        if self._keys is None:
            raise TypeError("the world has not begun")
        return self._keys

    @property
    def replica(self) -> Replica:
        """Whichever replica of the issuer the next request comes to: they take turns."""
        return self._replicas[next(self._turn) % len(self._replicas)]

    async def restart_issuer(self, which: int, *, with_keys: bool) -> None:
        """A new process: nothing that one remembered is known to it."""
        keys = self._keys
        if with_keys or keys is None:
            keys = self._new_keys()
            await keys.prepare()
        self._replicas[which % len(self._replicas)] = self._new_replica(keys)

    async def restart_validation(self) -> None:
        await self.guard.__aexit__(None, None, None)
        await self._begin_validation()

    async def _begin_validation(self) -> None:
        self.guard = self._new_guard()
        await self.guard.__aenter__()
        # Before it has a first snapshot it is not ready, and refuses.
        assert await self.guard.view.reach(await self.head(), 10.0)
        self._validation = self._new_validation()

    def restart_registry(self) -> None:
        self.registry = RegistryService(self.registry_log, MASTERS["registry"], ISSUER, self.clock)

    def restart_identity(self) -> None:
        nothing = Path("/dev/null")
        settings = IdentitySettings(
            issuer=ISSUER,
            tls_ca_file=nothing,
            tls_certificate_file=nothing,
            tls_key_file=nothing,
            argon2_time_cost=1,
            argon2_memory_kib=8,
            sign_in_failures=1000,
            address_failures=1000,
        )
        if hasattr(self, "identity"):
            self.identity.passwords.close()
        channel: Any = InProcess(self)
        unasked: Any = Unasked()
        self.identity = assemble(
            settings,
            master=MASTERS["identity"],
            keys=self._ring,
            log=self.identity_log,
            issuer=channel,
            registry=unasked,
            redeem=_redeems_nothing,
            guard=self._new_guard() if not hasattr(self, "guard") else self.guard,
            clock=self.clock,
        )
        self.issuer_of_identity = IssuerOfIdentity(channel)

    def _new_keys(self) -> KeyRing:
        return KeyRing(self.issuer_log, Questions(self.issuer_log.pool), MASTERS["issuer"], self._policy.keys)

    def _new_replica(self, keys: KeyRing) -> Replica:
        follower = Follower(self.issuer_log, PROJECTION, SOURCES, project, None)
        issuer = Issuer(
            log=self.issuer_log,
            questions=Questions(self.issuer_log.pool),
            following=follower,
            keys=keys,
            sealing=Sealing(MASTERS["issuer"], self._policy.authorization),
            refresh_tokens=RefreshTokens(MASTERS["issuer"]),
            user_codes=UserCodes(MASTERS["issuer"]),
            policy=self._policy,
            clock=self.clock,
        )

        async def ready() -> Readiness:
            return Readiness({})

        guard: Guard = GuardOfTheMoment(self)  # type: ignore[assignment]  # it does what the guard of the moment does
        app = layers(application(issuer, guard, self._references(guard)), ready, 1000)
        http = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=ORIGIN, trust_env=False)
        return Replica(issuer, follower, http)

    def _new_guard(self) -> Guard:
        self._feed = LogFeed(self.issuer_log, self._wake)
        keys = self._keys
        if keys is None:
            keys = self._keys = self._new_keys()
        return Guard(
            issuer=ISSUER,
            audience=API,
            feed=self._feed,
            keys=keys,
            now=self.clock.seconds,
            wait=2.0,
        )

    def _new_validation(self) -> ValidationService:
        callers = AudienceCallers(self.issuer_log.pool, self._policy.places)
        return ValidationService(
            self.guard,
            callers,
            self.issuer_log,
            self._wake,
            now=self.clock.seconds,
            references=self._references(self.guard),
        )

    def _references(self, guard: Guard) -> ReferenceChecks:
        questions = ReferenceQuestions(self.issuer_log.pool)
        return ReferenceChecks(questions, guard, self._feed, self.references.uses, self.clock)

    # Time and the log

    async def forward(self, by: timedelta) -> None:
        """Let time pass; the issuer's replicas do with their keys what the time has come for, as each second."""
        await self.held.forward(by)
        await self._tend_keys()
        # What it remembers for a second is over.
        self._validation = self._new_validation()

    async def epoch_begins(self) -> None:
        """The first event of another epoch, which changes nothing. What looks at the log each second has looked."""
        changed = registry_pb.ApplicationSettings(display_name=f"A watch, {next(self._turn)}")
        mask = FieldMask(paths=["display_name"])
        await self.at_registry(
            "ChangeApplication", registry_pb.ChangeApplicationRequest(client_id=WATCH, settings=changed, mask=mask)
        )
        await self._tend_keys()
        await self._feed.ping()

    async def put_back_up_back(self, slot: int) -> None:
        """That takes longer than what was known a moment ago is acted on. Replicas look at the keys each second."""
        began = since_boot()
        await self.held.put_back_up_back(slot)
        for ring in self._rings():
            await ring.look()
        await eventually(lambda: since_boot() > began + LATELY_SECONDS)

    async def _tend_keys(self) -> None:
        for ring in self._rings():
            await ring.prepare()

    def _rings(self) -> list[KeyRing]:
        rings = {
            id(ring): ring for ring in (self._keys, *(one.issuer.keys for one in self._replicas)) if ring is not None
        }
        return list(rings.values())

    async def head(self) -> int:
        return (await self.issuer_log.head()).position

    async def follow(self) -> None:
        """Let all services hear of everything."""
        head = await self.issuer_log.head()
        for replica in self._replicas:
            await replica.follower.reach(head.position, head.epoch)
        identity = Follower(self.identity_log, IDENTITY_PROJECTION, IDENTITY_SOURCES, project_registry, None)
        await identity.reach(head.position, head.epoch)

    def follower(self, which: int) -> Follower:
        return self._replicas[which % len(self._replicas)].follower

    # Registry

    async def _register_api(self) -> None:
        scopes = scopes_of_api(("read", "update"))
        callers = [RESOURCE, *(f"client:{client_id}" for client_id in (WATCH, *map(name_of_app, range(APPS))))]
        settings = registry_pb.ResourceSettings(display_name="API", scopes=scopes, callers=callers)
        await self.at_registry(
            "RegisterResource", registry_pb.RegisterResourceRequest(identifier=API, settings=settings)
        )
        watch = app_settings(confidential=True, scopes=("read",), grants=("client_credentials",))
        answer = await self.at_registry(
            "RegisterApplication", registry_pb.RegisterApplicationRequest(client_id=WATCH, settings=watch)
        )
        await self.follow()
        self.watch = Credentials(WATCH, answer.client_secret)

    async def at_registry(self, method: str, request: Any) -> Any:
        """Call the registry as an administrator. Raises its refusals."""
        caller.current.set(called_by("operator", ADMINISTRATOR))
        return await getattr(self.registry, method)(request, None)

    # Identity

    def context(self) -> Context:
        return Context(f"user:{ADMINISTRATOR}", new_id(), new_command_id())

    async def add_user(self, name: str, secret: str | None) -> str:
        kind = UserKind.INTERNAL if secret is not None else UserKind.SERVICE
        sub, _ = await self.identity.accounts.register(NewUser(name, kind, Profile(), (), secret), self.context())
        return sub

    async def change_roles(self, sub: str, roles: Sequence[Role]) -> None:
        await self.identity.accounts.change(sub, self.context(), profile=None, roles=tuple(roles), by=ADMINISTRATOR)

    async def erase(self, sub: str) -> None:
        """As somebody who is an administrator, which nobody else in this world has to be."""
        await self.identity.erasure.erase(sub, self.context(), by=self._registrar)

    async def sign_in(self, name: str, secret: str, session_secret: str | None = None) -> str:
        """Answers the session's cookie."""
        presented = Presented(name, secret, session_secret)
        opened = await self.identity.sessions.sign_in(presented, ORIGIN_OF_BROWSER, new_id())
        if not isinstance(opened, Opened):
            raise TypeError("nobody in this world has a second factor")
        return opened.secret

    # Issuer

    async def token(self, who: Credentials, **form: Form) -> httpx.Response:
        return await self._post("token", who, form)

    async def device(self, who: Credentials, **form: Form) -> httpx.Response:
        return await self._post("device", who, form)

    async def introspect(self, who: Credentials, token: str) -> httpx.Response:
        return await self._post("introspect", who, {"token": token})

    async def revoke(self, who: Credentials, token: str) -> httpx.Response:
        return await self._post("revocation", who, {"token": token})

    async def _post(self, endpoint: str, who: Credentials, form: Mapping[str, Form]) -> httpx.Response:
        return await self.replica.http.post(f"/id/connect/{endpoint}", data=who.form(form), headers=who.headers())

    async def at_issuer(self, method: str, request: Any) -> Any:
        """Call the issuer as an administrator. Raises its refusals."""
        caller.current.set(called_by("operator", ADMINISTRATOR))
        return await getattr(TokensService(self.replica.issuer), method)(request, None)

    async def revoke_by_administrator(self, **what: str) -> None:
        await self.at_issuer("RevokeToken", tokens_pb.RevokeTokenRequest(**what))

    async def compromise_key(self, kid: str) -> None:
        """One replica is told; of the others those that check tokens hear of it at once, as they follow the log."""
        await self.at_issuer("CompromiseKey", tokens_pb.CompromiseKeyRequest(kid=kid))
        await self.keys.prepare()

    async def scopes_of_grant(self, gid: str) -> frozenset[str]:
        """As administrators see them."""
        listed = await self.at_issuer("ListGrants", tokens_pb.ListGrantsRequest(page_size=100))
        return next(frozenset(grant.scopes) for grant in listed.grants if grant.gid == gid)

    async def end_grant(self, gid: str) -> None:
        await self.at_issuer("EndGrant", tokens_pb.EndGrantRequest(gid=gid))

    async def validate(
        self, token: str, minimum_position: int, *, with_claims: bool = False
    ) -> validation_pb2.ValidateResponse:
        """What the API is told about a token."""
        request = validation_pb2.ValidateRequest(
            token=token, audience=API, minimum_position=minimum_position, with_claims=with_claims
        )
        caller.current.set(called_by(RESOURCE))
        raw = await self._validation.Validate(request.SerializeToString(), None)  # type: ignore[arg-type]
        return validation_pb2.ValidateResponse.FromString(raw)


def name_of_app(number: int) -> str:
    """Of the applications of a life."""
    return f"com.example.app{number}/app"


async def _redeems_nothing(_: Mapping[str, str]) -> str:
    raise AssertionError("nobody installs anything in these lives")


def _policy() -> Policy:
    nothing = Path("/dev/null")
    settings = TokenIssuerSettings(
        issuer=ISSUER, tls_ca_file=nothing, tls_certificate_file=nothing, tls_key_file=nothing
    )
    return Policy.of(settings)
