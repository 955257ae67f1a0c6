"""What administrators do: to applications, their secrets, and people."""

from collections.abc import Sequence
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from protos.stagedoor.registry.v1 import registry_pb2 as pb
from services.identity.events import Role
from shared.errors import Refusal
from tests.properties.token_life import model as life
from tests.properties.token_life.model import App, Secret, User
from tests.properties.token_life.playing import GRANTS, PASSWORD, PICK, SCOPES, SECONDS, SELDOM, Playing
from tests.properties.token_life.world import app_settings


class Administering(Playing):
    """The registry, and the identity server's management."""

    def add_user(self, password: str | None) -> None:
        self.names += 1
        name = f"user{self.names}"
        sub = self.do(self.world.add_user(name, password))
        self.changed()
        self.model.users[sub] = User(sub, name, password)

    def register(
        self,
        scopes: Sequence[str],
        grants: Sequence[str],
        *,
        confidential: bool = True,
        account: bool = False,
        seconds: int = 0,
    ) -> None:
        self.names += 1
        client_id = f"com.example.app{self.names}/app"
        redirect_uri = f"http://localhost:84{self.names:02}/callback"
        if not confidential:
            grants = [grant for grant in grants if grant != "client_credentials"]
        service = next(user.sub for user in self.model.users.values() if user.password is None)
        acting = service if account and "client_credentials" in grants else None
        message = app_settings(
            confidential=confidential,
            scopes=scopes,
            grants=("authorization_code", *grants),
            redirect_uri=redirect_uri,
            account=acting,
            seconds=seconds,
        )
        request = pb.RegisterApplicationRequest(client_id=client_id, settings=message)
        answer = self.do(self.world.at_registry("RegisterApplication", request))
        assert self.changed()
        app = App(
            client_id,
            confidential,
            redirect_uri,
            frozenset(scopes),
            frozenset(grants),
            acting,
            seconds or life.USUAL_ACCESS_TOKEN_SECONDS,
        )
        if confidential:
            app.secrets.append(Secret(answer.application.secrets[0].secret_id, answer.client_secret))
        self.model.apps[client_id] = app

    # Applications

    @precondition(lambda self: len(self.model.apps) < 4)
    @rule(confidential=st.booleans(), scopes=SCOPES, grants=GRANTS, account=st.booleans(), seconds=SECONDS)
    def register_application(
        self, confidential: bool, scopes: Sequence[str], grants: Sequence[str], account: bool, seconds: int
    ) -> None:
        self.register(scopes, grants, confidential=confidential, account=account, seconds=seconds)

    def of_application(self, app: App, method: str, request: Any) -> Any:
        """Carry out a command; an application that is gone refuses every one."""
        answer = self.attempt(self.world.at_registry(method, request))
        if app.gone and method != "UninstallApplication":
            assert isinstance(answer, Refusal)
            assert answer.code == "application_not_found"
            assert self.observe() == 0
            return None
        return answer

    @rule(which=PICK, scopes=SCOPES, grants=GRANTS)
    def change_application(self, which: int, scopes: Sequence[str], grants: Sequence[str]) -> None:
        app = self.app(which)
        if not app.confidential:
            grants = [grant for grant in grants if grant != "client_credentials"]
        if app.account is not None and "client_credentials" not in grants:
            grants = [*grants, "client_credentials"]
        settings = pb.ApplicationSettings(scopes=scopes, grants=["authorization_code", *grants])
        request = pb.ChangeApplicationRequest(
            client_id=app.client_id, settings=settings, mask=FieldMask(paths=["scopes", "grants"])
        )
        answer = self.of_application(app, "ChangeApplication", request)
        if answer is None:
            return
        assert not isinstance(answer, Refusal), answer
        # The order of scopes and grants is a setting too, so something may be written where nothing is lost.
        self.changed()
        if app.scopes - set(scopes) or app.grants - set(grants):
            app.stops.cut_offs.append(self.model.head)
        app.scopes, app.grants = frozenset(scopes), frozenset(grants)

    @rule(which=PICK, on=st.sampled_from([True, False, True]))
    def switch_application(self, which: int, on: bool) -> None:
        app = self.app(which)
        if on:
            answer = self.of_application(app, "EnableApplication", pb.EnableApplicationRequest(client_id=app.client_id))
        else:
            answer = self.of_application(
                app, "DisableApplication", pb.DisableApplicationRequest(client_id=app.client_id)
            )
        if answer is not None and self.changed():
            app.stops.switch(self.model.head, on=on)
        assert app.stops.is_off(self.model.head) == (app.gone or not on)

    @precondition(lambda self: len(self.model.apps) > 2)
    @rule(which=PICK)
    def uninstall_application(self, which: int) -> None:
        app = self.app(which)
        self.of_application(app, "UninstallApplication", pb.UninstallApplicationRequest(client_id=app.client_id))
        assert self.changed() != app.gone
        if not app.gone:
            app.stops.switch(self.model.head, on=False)
            app.gone = True

    @rule(which=PICK, secret=PICK, what=st.sampled_from(["add", "add", "revoke", "report"]))
    def change_secrets(self, which: int, secret: int, what: str) -> None:
        app = self.app(which)
        if what == "add" or not app.secrets:
            self.add_secret(app)
            return
        chosen = self.pick(app.secrets, secret)
        named = {"client_id": app.client_id, "secret_id": chosen.secret_id}
        if what == "report":
            answer = self.of_application(app, "ReportSecretCompromised", pb.ReportSecretCompromisedRequest(**named))
        else:
            answer = self.of_application(app, "RevokeSecret", pb.RevokeSecretRequest(**named))
        if answer is None:
            return
        if what == "report" and not chosen.compromised:
            assert self.changed()
            app.stops.cut_offs.append(self.model.head)
            chosen.compromised = chosen.revoked = True
        else:
            assert self.changed() != chosen.revoked
            chosen.revoked = True

    def add_secret(self, app: App) -> None:
        answer = self.of_application(app, "AddSecret", pb.AddSecretRequest(client_id=app.client_id))
        if answer is None:
            return
        if not app.confidential or sum(not secret.revoked for secret in app.secrets) >= 5:
            assert isinstance(answer, Refusal)
            return
        assert self.changed()
        app.secrets.append(Secret(answer.secret_id, answer.client_secret))

    # Users

    @precondition(lambda self: len(self.people()) < 4)
    @rule()
    def register_user(self) -> None:
        self.add_user(PASSWORD)

    @rule(which=PICK, on=st.sampled_from([True, False, True]))
    def switch_user(self, which: int, on: bool) -> None:
        user, accounts = self.user(which), self.world.identity.accounts
        if on:
            answer = self.attempt(accounts.enable(user.sub, self.world.context()))
        else:
            answer = self.attempt(accounts.disable(user.sub, "", self.world.context(), by="administrator"))
        if self.refused_as_erased(user, answer):
            return
        if self.changed():
            user.stops.switch(self.model.head, on=on)
        assert user.stops.is_off(self.model.head) != on

    def people(self) -> list[User]:
        """Those who can sign in, or will when they are enabled."""
        return [user for user in self.model.users.values() if user.password is not None and not user.gone]

    def refused_as_erased(self, user: User, answer: object) -> bool:
        """Whether it was done to somebody who was erased, to whom nothing can be done."""
        assert isinstance(answer, Refusal) == user.gone, answer
        if isinstance(answer, Refusal):
            assert answer.code == "user_erased"
            assert self.observe() == 0
        return user.gone

    @rule(which=PICK, account=SELDOM)
    def erase_user(self, which: int, account: bool) -> None:
        """Somebody, who may have been erased before; or an account of services. Somebody else comes in their place."""
        user = self.user(which) if account else self.person(which)
        self.do(self.world.erase(user.sub))
        assert self.changed() != user.gone
        if not user.gone:
            self.saw("a user was erased")
            user.stops.switch(self.model.head, on=False)
            user.gone = True
            if not self.people():
                self.add_user(PASSWORD)

    @rule(which=PICK)
    def reset_password(self, which: int) -> None:
        user = self.person(which)

        async def reset() -> None:
            row = await self.world.identity.questions.user(user.sub)
            assert (row is None) == user.gone
            if row is None:
                return
            await self.world.identity.accounts.reset_password(row, self.new_password(user), self.world.context())

        self.do(reset())
        assert self.changed() != user.gone
        if user.gone:
            return
        user.password = self.new_password(user)
        user.resets.append(self.model.head)
        user.stops.cut_offs.append(self.model.head)

    @staticmethod
    def new_password(user: User) -> str:
        return f"{PASSWORD}-{len(user.resets) + len(user.changes)}"

    @rule(which=PICK, roles=st.sampled_from([(), (Role.AUDITOR,), (Role.ADMINISTRATOR, Role.AUDITOR)]))
    def change_roles(self, which: int, roles: Sequence[Role]) -> None:
        user = self.person(which)
        if self.refused_as_erased(user, self.attempt(self.world.change_roles(user.sub, roles))):
            return
        wanted = frozenset(role.value for role in roles)
        assert self.changed() == (wanted != user.roles)
        if user.roles - wanted:
            user.stops.cut_offs.append(self.model.head)
        user.roles = wanted
