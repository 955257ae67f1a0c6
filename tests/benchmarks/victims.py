"""Tokens that are about to be taken back, in every way there is: the rows of "What ends what" in `docs/security.md`."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from secrets import token_urlsafe
from typing import Final, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from grpc.aio import AioRpcError
from httpx import HTTPError

from infra.local.failure import SystemFailure
from infra.local.process import until
from protos.stagedoor.identity.v1 import identity_pb2
from protos.stagedoor.registry.v1 import registry_pb2
from protos.stagedoor.tokens.v1 import tokens_pb2
from shared.ids import new_id
from tests.support.doors import parts
from tests.support.outside import App, Outside, Person

KINDS: Final[Mapping[str, int]] = {
    "access token revoked": 24,
    "refresh token revoked": 12,
    "reference token revoked": 10,
    "application disabled": 8,
    "signed out": 6,
    "session ended by an administrator": 5,
    "consent withdrawn": 5,
    "user disabled": 5,
    "scope narrowed": 5,
    "secret reported compromised": 5,
    "refresh token reused": 4,
    "code used twice": 4,
    "application uninstalled": 3,
    "role removed": 3,
    "password changed": 2,
    "password reset": 2,
}
"""How many of each in one turn."""
KEY_COMPROMISED: Final = "signing key compromised"
_AT_ONCE = 4
_SETTLED_SECONDS = 20.0

TakeBack = Callable[[], Awaitable[object]]
T = TypeVar("T")

FAILURES: Final = (RuntimeError, SystemFailure, AioRpcError, HTTPError)
"""Of a client that was not answered as it expected."""
_TRIES = 3
_REST_SECONDS = 0.5


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """The answer; asked again some times, since a machine that is too busy may have said 503. Raises `FAILURES`."""
    for _ in range(_TRIES - 1):
        try:
            return await ask()
        except FAILURES:
            await asyncio.sleep(_REST_SECONDS)
    return await ask()


@dataclass(frozen=True, slots=True)
class Victim:
    """One token, and how it is taken back."""

    kind: str
    token: str = field(repr=False)
    take_back: TakeBack
    name: str = field(default_factory=new_id)


class Victims:
    """Makes them. What would take back another one's token too has a person or an application of its own."""

    def __init__(self, outside: Outside, seed: int = 1) -> None:
        self._outside = outside
        self._dice = random.Random(seed)
        self._persons: dict[tuple[str, int], Person] = {}
        self._apps: dict[tuple[str, int], App] = {}
        self._one_by_one: dict[int, asyncio.Lock] = {}
        self._hub = outside.demo_app()
        self._make: Mapping[str, Callable[[str, int], Awaitable[tuple[str, TakeBack]]]] = {
            "access token revoked": self._access_token,
            "refresh token revoked": self._refresh_token,
            "reference token revoked": self._reference_token,
            "application disabled": self._application_disabled,
            "signed out": self._signed_out,
            "session ended by an administrator": self._session_ended,
            "consent withdrawn": self._consent_withdrawn,
            "user disabled": self._user_disabled,
            "scope narrowed": self._scope_narrowed,
            "secret reported compromised": self._secret_compromised,
            "refresh token reused": self._refresh_token_reused,
            "code used twice": self._code_used_twice,
            "application uninstalled": self._application_uninstalled,
            "role removed": self._role_removed,
            "password changed": self._password_changed,
            "password reset": self._password_reset,
        }

    async def turn(self) -> list[Victim]:
        """One turn of all kinds, in a random order."""
        few = asyncio.Semaphore(_AT_ONCE)

        async def make(kind: str, number: int) -> Victim:
            async with few:
                return Victim(kind, *await patiently(lambda: self._make[kind](kind, number)))

        made = await asyncio.gather(*(make(kind, number) for kind, count in KINDS.items() for number in range(count)))
        self._dice.shuffle(made)
        return list(made)

    async def simple(self, count: int) -> list[Victim]:
        """Access tokens to be revoked, as many as are wanted."""
        kind = "access token revoked"
        return [Victim(kind, *await patiently(lambda: self._access_token(kind, 0))) for _ in range(count)]

    async def key(self) -> Victim:
        """A token whose signing key is to be reported compromised."""
        token, _ = await self._access_token(KEY_COMPROMISED, 0)
        kid = parts(token)[0]["kid"]
        request = tokens_pb2.CompromiseKeyRequest(kid=kid)
        return Victim(KEY_COMPROMISED, token, lambda: self._outside.manage(self._outside.tokens.CompromiseKey, request))

    async def good(self) -> str:
        """A token that nobody takes back."""
        return await self._outside.client_token(self._outside.demo_app("com.merchsync/service"))

    # Who is there for all turns

    async def _person(self, kind: str, number: int, *roles: str) -> Person:
        """The same in every turn."""
        async with self._alone(kind, number):
            if (kind, number) not in self._persons:
                self._persons[kind, number] = await self._outside.register_person(*roles)
            return self._persons[kind, number]

    async def _app(self, kind: str, number: int) -> App:
        """The same in every turn."""
        if (kind, number) not in self._apps:
            self._apps[kind, number] = await self._outside.register_app()
        return self._apps[kind, number]

    def _alone(self, kind: str, number: int) -> asyncio.Lock:
        return self._one_by_one.setdefault(hash((kind, number)), asyncio.Lock())

    # One token each

    async def _access_token(self, _: str, __: int) -> tuple[str, TakeBack]:
        app = self._outside.demo_app("com.merchsync/service")
        token = await self._outside.client_token(app)
        return token, lambda: self._outside.revoke(app, token)

    async def _refresh_token(self, kind: str, _: int) -> tuple[str, TakeBack]:
        person = await self._person(kind, 0)
        async with self._alone(kind, 0):
            given = await person.use(self._hub)
        return given.access_token, lambda: self._outside.revoke(self._hub, given.refresh_token)

    async def _refresh_token_reused(self, kind: str, _: int) -> tuple[str, TakeBack]:
        person = await self._person(kind, 0)
        async with self._alone(kind, 0):
            given = await person.use(self._hub)
        access_token, refresh_token = given.access_token, given.refresh_token
        for _ in range(2):  # twice, as the last one but one is still within its grace
            said = await self._outside.token(self._hub, grant_type="refresh_token", refresh_token=refresh_token)
            access_token, refresh_token = said["access_token"], said["refresh_token"]
        return access_token, lambda: self._outside.used_up(
            self._hub, grant_type="refresh_token", refresh_token=given.refresh_token
        )

    async def _code_used_twice(self, kind: str, _: int) -> tuple[str, TakeBack]:
        person = await self._person(kind, 0)
        async with self._alone(kind, 0):
            given = await person.use(self._hub)
        form = {"code": given.code, "redirect_uri": given.flow.redirect_uri, "code_verifier": given.flow.verifier}
        return given.access_token, lambda: self._outside.used_up(self._hub, grant_type="authorization_code", **form)

    async def _reference_token(self, _: str, __: int) -> tuple[str, TakeBack]:
        token, jti = await self._outside.reference(self._hub)
        request = tokens_pb2.RevokeReferenceRequest(jti=jti)
        return token, lambda: self._outside.manage(self._outside.tokens.RevokeReference, request)

    async def _signed_out(self, kind: str, number: int) -> tuple[str, TakeBack]:
        person = await self._person(kind, number)
        visitor = person.elsewhere()
        given = await person.use(self._hub, visitor)

        async def sign_out() -> None:
            await person.sign_out(visitor, given)
            await visitor.browser.aclose()

        return given.access_token, sign_out

    async def _session_ended(self, kind: str, number: int) -> tuple[str, TakeBack]:
        person = await self._person(kind, number)
        async with person.elsewhere() as visitor:
            given = await person.use(self._hub, visitor)
        request = identity_pb2.EndSessionRequest(sid=parts(given.access_token)[1]["sid"])
        return given.access_token, lambda: self._outside.manage(self._outside.identity.EndSession, request)

    async def _consent_withdrawn(self, kind: str, number: int) -> tuple[str, TakeBack]:
        person = await self._person(kind, number)
        given = await person.use(self._hub)
        user = identity_pb2.UserKey(sub=person.sub)
        request = identity_pb2.WithdrawConsentRequest(user=user, client_id=self._hub.client_id)
        return given.access_token, lambda: self._outside.manage(self._outside.identity.WithdrawConsent, request)

    async def _password_changed(self, kind: str, number: int) -> tuple[str, TakeBack]:
        """The token comes from another browser than the one in which the password is changed."""
        person = await self._person(kind, number)
        await person.use(self._hub)
        async with person.elsewhere() as visitor:
            given = await person.use(self._hub, visitor)
        return given.access_token, lambda: person.change_password(token_urlsafe(16))

    async def _password_reset(self, kind: str, number: int) -> tuple[str, TakeBack]:
        person = await self._person(kind, number)
        given = await person.use(self._hub)
        user, password = identity_pb2.UserKey(sub=person.sub), token_urlsafe(16)
        request = identity_pb2.ResetPasswordRequest(user=user, password=password)

        async def reset() -> None:
            await self._outside.manage(self._outside.identity.ResetPassword, request)
            await person.forget_browser(password)

        return given.access_token, reset

    async def _role_removed(self, kind: str, number: int) -> tuple[str, TakeBack]:
        person = await self._person(kind, number, "auditor")
        user, mask = identity_pb2.UserKey(sub=person.sub), FieldMask(paths=["roles"])
        change = self._outside.identity.ChangeUser
        back = identity_pb2.ChangeUserRequest(user=user, roles=["auditor"], mask=mask)
        await self._outside.manage(change, back)
        given = await person.use(self._hub)
        request = identity_pb2.ChangeUserRequest(user=user, mask=mask)
        return given.access_token, lambda: self._outside.manage(change, request)

    async def _user_disabled(self, _: str, __: int) -> tuple[str, TakeBack]:
        """A service's user, whose tokens its application gets: it needs no password."""
        sub = await self._outside.register_service_user()
        app = await self._outside.register_app(service_account=sub)
        token = await self._outside.client_token(app)
        request = identity_pb2.DisableUserRequest(user=identity_pb2.UserKey(sub=sub), reason="bench")
        return token, lambda: self._outside.manage(self._outside.identity.DisableUser, request)

    async def _application_disabled(self, _: str, __: int) -> tuple[str, TakeBack]:
        app = await self._outside.register_app()
        token = await self._outside.client_token(app)
        request = registry_pb2.DisableApplicationRequest(client_id=app.client_id, reason="bench")
        return token, lambda: self._outside.manage(self._outside.registry.DisableApplication, request)

    async def _application_uninstalled(self, _: str, __: int) -> tuple[str, TakeBack]:
        app = await self._outside.register_app()
        token = await self._outside.client_token(app)
        request = registry_pb2.UninstallApplicationRequest(client_id=app.client_id)
        return token, lambda: self._outside.manage(self._outside.registry.UninstallApplication, request)

    async def _scope_narrowed(self, kind: str, number: int) -> tuple[str, TakeBack]:
        app = await self._app(kind, number)

        def change(*scopes: str) -> Awaitable[object]:
            settings, mask = registry_pb2.ApplicationSettings(scopes=scopes), FieldMask(paths=["scopes"])
            request = registry_pb2.ChangeApplicationRequest(client_id=app.client_id, settings=settings, mask=mask)
            return self._outside.manage(self._outside.registry.ChangeApplication, request)

        await change("read", "update")
        token = await self._soon(lambda: self._outside.client_token(app, "read update"))
        return token, lambda: change("read")

    async def _secret_compromised(self, kind: str, number: int) -> tuple[str, TakeBack]:
        """The token was got with the secret, but any that the application has would be refused."""
        app = await self._app(kind, number)
        add = registry_pb2.AddSecretRequest(client_id=app.client_id)
        added = await self._outside.manage(self._outside.registry.AddSecret, add)
        token = await self._soon(lambda: self._outside.client_token(App(app.client_id, added.client_secret)))
        request = registry_pb2.ReportSecretCompromisedRequest(client_id=app.client_id, secret_id=added.secret_id)
        return token, lambda: self._outside.manage(self._outside.registry.ReportSecretCompromised, request)

    async def _soon(self, ask: Callable[[], Awaitable[str]]) -> str:
        """A token, as soon as the issuer has heard of what the registry just wrote."""
        found = ""

        async def got() -> bool:
            nonlocal found
            try:
                found = await ask()
            except (RuntimeError, AioRpcError):
                return False
            return True

        if not await until(got, _SETTLED_SECONDS):
            raise RuntimeError("the issuer does not hear of what the registry wrote")
        return found
