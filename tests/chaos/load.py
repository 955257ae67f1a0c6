"""The load: real operations from outside, by services, persons and an operator, noted in the journal."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import httpx

from infra.local.demo_data import BACKSTAGEHUB
from infra.local.failure import SystemFailure
from infra.local.sign_in import CodeFlow, Visitor
from protos.stagedoor.identity.v1 import identity_pb2
from protos.stagedoor.registry.v1 import registry_pb2
from shared.ids import new_command_id
from tests.chaos.clients import Clients, basic, claims
from tests.chaos.journal import Journal, Operation

MERCHSYNC = "com.merchsync/service"
SCOPE = "openid offline_access read update"
ISSUED = "token_issuer.AccessTokenIssued"
REDEEMED = "token_issuer.CodeRedeemed"
ROTATED = "token_issuer.RefreshTokenRotated"
_SUCCESS, _CREATED, _UNAUTHORIZED, _FORBIDDEN = 200, 201, 401, 403


class Load:
    """Everybody at work. Each worker has dice of its own, made of the seed, so that they do the same every time."""

    def __init__(self, clients: Clients, seed: int) -> None:
        self._clients = clients
        self._journal: Journal = clients.journal
        self._seed = seed
        self._ending = False
        self.rounds: dict[str, int] = {}
        """How many rounds each worker has finished with everything answered."""
        demo = clients.system.demo
        self._applications = {one["client_id"]: one for one in demo["applications"]}
        self.revoked: list[str] = []
        """Access tokens that were acknowledged to be revoked."""
        self.good: list[str] = []
        """Access tokens that nobody has revoked."""
        self.tours: dict[str, bool] = {}
        """Tours whose last change was acknowledged: whether they are still there."""

    async def run(self) -> None:
        """Work until told to end; a round that has begun is finished."""
        async with asyncio.TaskGroup() as tasks:
            for name, work in self._workers().items():
                self.rounds[name] = 0
                tasks.create_task(self._repeat(name, work))

    def end(self) -> None:
        """Begin no more rounds."""
        self._ending = True

    def _workers(self) -> dict[str, Callable[[random.Random, str], Coroutine[Any, Any, bool]]]:
        return {
            "service 1": self._service,
            "service 2": self._service,
            "person 1": self._person,
            "person 2": self._person,
            "operator": self._operator,
        }

    async def _repeat(self, name: str, work: Callable[[random.Random, str], Coroutine[Any, Any, bool]]) -> None:
        dice = random.Random(f"{self._seed} {name}")
        while not self._ending:
            self.rounds[name] += await work(dice, name)
            await asyncio.sleep(dice.uniform(0.0, 0.1))

    # A service with a secret

    async def _service(self, dice: random.Random, _: str) -> bool:
        """Get a token, use it, give it back sometimes."""
        secret = self._applications[MERCHSYNC]["client_secret"]
        token = await self._issue(MERCHSYNC, secret)
        if token is None:
            return False
        read = self._journal.begin("read tours", "resource.DataRead")
        answer = await self._clients.once(read, lambda course: self._clients.call("GET", "/tours", token, course))
        self._answered(read, answer, _SUCCESS)
        write = self._journal.begin("add a tour without the scope")
        answer = await self._clients.once(
            write, lambda course: self._clients.call("POST", "/tours", token, course, None, _tour(dice))
        )
        self._answered(write, answer, None)
        if dice.random() < 0.5:
            return await self._revoke(dice, MERCHSYNC, secret, token)
        self.good.append(token)
        return True

    async def _issue(self, client_id: str, secret: str, *, disabled: bool = False) -> str | None:
        """A token by client credentials. Asked once only: asked again, it would be another token."""
        operation = self._journal.begin("client credentials", *(() if disabled else (ISSUED,)))
        answer = await self._clients.once(
            operation,
            lambda course: self._clients.token(
                client_id, secret, course, grant_type="client_credentials", scope="read"
            ),
        )
        return None if answer is None else self._issued(operation, answer, allowed=not disabled)

    def _issued(self, operation: Operation, answer: httpx.Response, *, allowed: bool = True) -> str | None:
        if answer.status_code != _SUCCESS:
            operation.refused(answer.text[:100])
            if allowed:
                self._journal.wrong.append(f"{operation.what} was refused: {answer.status_code} {answer.text[:200]}")
            return None
        token = str(answer.json()["access_token"])
        said = claims(token)
        operation.acknowledged(said["pos"], jti=said["jti"])
        return token

    async def _revoke(self, dice: random.Random, client_id: str, secret: str, token: str) -> bool:
        operation = self._journal.begin("revoke", "token_issuer.AccessTokenRevoked")
        answer = await self._clients.until_answered(
            dice,
            operation,
            lambda course: self._clients.http.post(
                f"{self._clients.issuer}/connect/revocation",
                data={"token": token},
                auth=basic(client_id, secret),
                headers={"Correlation-Id": course},
            ),
        )
        if self._answered(operation, answer, _SUCCESS, jti=claims(token)["jti"]):
            self.revoked.append(token)
            return True
        return False

    def _answered(
        self, operation: Operation, answer: httpx.Response | None, expected: int | None, **says: object
    ) -> bool:
        """Note an answer; whether it is the expected one. None: a refusal is expected."""
        if answer is None:
            return False
        if answer.is_success:
            position = answer.headers.get("stagedoor-position")
            operation.acknowledged(None if position is None else int(position), **says)
        else:
            operation.refused(f"{answer.status_code} {answer.text[:100]}")
        if answer.status_code != expected and (expected is not None or answer.status_code != _FORBIDDEN):
            self._journal.wrong.append(f"{operation.what}: {answer.status_code} {answer.text[:200]}")
        return answer.is_success

    # A person and their application

    async def _person(self, dice: random.Random, name: str) -> bool:
        """Sign in as somebody new, use the application, stay a while."""
        user, password = f"{name.replace(' ', '-')}-{dice.getrandbits(40):x}", f"a-long-password-{dice.getrandbits(64)}"
        operation = self._journal.begin("register a user", "identity.UserRegistered", "identity.PasswordSet")
        request = identity_pb2.RegisterUserRequest(user_name=user, kind="internal", password=password)
        made = await self._clients.manage(dice, operation, self._clients.identity().RegisterUser, request)
        if made is None:
            return False
        operation.acknowledged(made.position)
        async with Visitor(user, password) as visitor:
            answered = [await self._visit(dice, visitor) for _ in range(dice.randrange(1, 3))]
        return all(answered)

    async def _visit(self, dice: random.Random, visitor: Visitor) -> bool:
        hub = self._applications[BACKSTAGEHUB]
        flow = CodeFlow(self._clients.issuer, BACKSTAGEHUB, hub["redirect_uris"][0], SCOPE)
        code = await self._sign_in(visitor, flow)
        if code is None:
            return False
        tokens = await self._redeem(flow, code, hub["client_secret"])
        for _ in range(dice.randrange(1, 4)):
            if tokens is not None:
                tokens = await self._refresh(dice, tokens, hub["client_secret"])
        if tokens is None or not await self._at_work(dice, tokens["access_token"]):
            return False
        if dice.random() < 0.3:
            return await self._revoke(dice, BACKSTAGEHUB, hub["client_secret"], tokens["access_token"])
        self.good.append(tokens["access_token"])
        return True

    async def _sign_in(self, visitor: Visitor, flow: CodeFlow) -> str | None:
        operation = self._journal.begin(
            "sign in", "token_issuer.GrantOpened", beside=("identity.SessionStarted", "identity.ConsentGiven")
        )
        visitor.browser.headers["Correlation-Id"] = operation.attempt()
        try:
            code = flow.code(await visitor.go(flow.address))
        except (SystemFailure, httpx.HTTPError) as failure:
            operation.why = str(failure)
            return None
        operation.acknowledged()
        return code

    async def _redeem(self, flow: CodeFlow, code: str, secret: str) -> dict[str, str] | None:
        """Once: a second time would end the grant."""
        operation = self._journal.begin("redeem a code", REDEEMED)
        form = {"code": code, "redirect_uri": flow.redirect_uri, "code_verifier": flow.verifier}
        answer = await self._clients.once(
            operation,
            lambda course: self._clients.token(BACKSTAGEHUB, secret, course, grant_type="authorization_code", **form),
        )
        return None if answer is None or self._issued(operation, answer) is None else dict(answer.json())

    async def _refresh(self, dice: random.Random, tokens: dict[str, str], secret: str) -> dict[str, str] | None:
        """Again until it is answered: within the grace it is one refresh."""
        operation = self._journal.begin("refresh", ROTATED)
        answer = await self._clients.until_answered(
            dice,
            operation,
            lambda course: self._clients.token(
                BACKSTAGEHUB, secret, course, grant_type="refresh_token", refresh_token=tokens["refresh_token"]
            ),
        )
        return None if answer is None or self._issued(operation, answer) is None else dict(answer.json())

    async def _at_work(self, dice: random.Random, token: str) -> bool:
        """Add a tour, move it, and call it off sometimes."""
        added = await self._write(dice, "add a tour", "resource.TourAdded", "POST", "/tours", token)
        if added is None:
            return False
        tour = str(added.json()["id"])
        self.tours[tour] = True
        if await self._write(dice, "move a tour", "resource.TourChanged", "PUT", f"/tours/{tour}", token) is None:
            return False
        if dice.random() < 0.5:
            gone = await self._write(dice, "call a tour off", "resource.TourRemoved", "DELETE", f"/tours/{tour}", token)
            if gone is None:
                del self.tours[tour]
                return False
            self.tours[tour] = False
        return True

    async def _write(
        self, dice: random.Random, what: str, event: str, method: str, path: str, token: str
    ) -> httpx.Response | None:
        operation = self._journal.begin(what, event)
        key, body = str(new_command_id()), None if method == "DELETE" else _tour(dice)
        answer = await self._clients.until_answered(
            dice, operation, lambda course: self._clients.call(method, path, token, course, key, body)
        )
        expected = {"POST": _CREATED, "PUT": _SUCCESS, "DELETE": 204}[method]
        return answer if self._answered(operation, answer, expected) else None

    # Brian

    async def _operator(self, dice: random.Random, _: str) -> bool:
        """Register an application, disable it, see that it gets nothing, enable it, and uninstall it sometimes."""
        client_id = f"com.chaos.s{self._seed}/{dice.getrandbits(64):x}"
        registry = self._clients.registry()
        settings = registry_pb2.ApplicationSettings(
            display_name="Chaos",
            type="confidential",
            scopes=["read"],
            grants=["client_credentials"],
            auth_method="client_secret_basic",
        )
        register = registry_pb2.RegisterApplicationRequest(client_id=client_id, settings=settings)
        operation = self._journal.begin("register", "registry.ApplicationRegistered", "registry.SecretAdded")
        made = await self._clients.manage(dice, operation, registry.RegisterApplication, register)
        if made is None:
            return False
        operation.acknowledged(made.position)
        secret = made.client_secret
        again = self._journal.begin("register once more")
        if await self._clients.manage(dice, again, registry.RegisterApplication, register) is not None:
            self._journal.wrong.append(f"{client_id} was registered twice")
        token = await self._issue(client_id, secret)
        disable = registry_pb2.DisableApplicationRequest(client_id=client_id, reason="chaos")
        if not await self._switch(dice, "disable", "Disabled", registry.DisableApplication, disable):
            return False
        if await self._issue(client_id, secret, disabled=True) is not None:
            self._journal.wrong.append(f"{client_id} got a token after it was disabled")
        enable = registry_pb2.EnableApplicationRequest(client_id=client_id)
        if not await self._switch(dice, "enable", "Enabled", registry.EnableApplication, enable):
            return False
        if dice.random() < 0.3:
            uninstall = registry_pb2.UninstallApplicationRequest(client_id=client_id)
            done = await self._switch(dice, "uninstall", "Uninstalled", registry.UninstallApplication, uninstall)
            self.revoked += [token] if done and token is not None else []
            return done
        self.good += [] if token is None else [token]
        return True

    async def _switch(
        self, dice: random.Random, what: str, event: str, method: Callable[..., Any], request: object
    ) -> bool:
        operation = self._journal.begin(what, f"registry.Application{event}")
        done = await self._clients.manage(dice, operation, method, request)
        if done is None:
            return False
        operation.acknowledged(done.position)
        return True


def _tour(dice: random.Random) -> dict[str, str]:
    """A tour like no other: a change that changes nothing is none."""
    day = dice.randrange(1, 29)
    return {"title": f"Tour {dice.getrandbits(64)}", "venue": "Here", "city": "London", "date": f"1986-07-{day:02d}"}
