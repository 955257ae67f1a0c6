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
from tests.properties.token_life.clients import DEVICE, NEED_PROOF, app_settings, scopes_of_api
from tests.properties.token_life.model import App, Secret, User
from tests.properties.token_life.playing import GRANTS, PASSWORD, PICK, REFERENCES, SCOPES, SECONDS, SELDOM, Playing
from tests.properties.token_life.world import API, APPS, name_of_app


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
        references: str = "none",
    ) -> None:
        self.names += 1
        assert self.names < APPS
        client_id = name_of_app(self.names)
        redirect_uri = f"http://localhost:84{self.names:02}/callback"
        if not confidential:
            grants = [grant for grant in grants if grant not in NEED_PROOF]
        scopes = [scope for scope in scopes if scope in self.model.api_scopes]
        acting = self.service_account() if account and "client_credentials" in grants else None
        message = app_settings(
            confidential=confidential,
            scopes=scopes,
            grants=("authorization_code", DEVICE, *grants),
            redirect_uri=redirect_uri,
            account=acting,
            seconds=seconds,
            references=references,
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
            references,
        )
        if confidential:
            app.secrets.append(Secret(answer.application.secrets[0].secret_id, answer.client_secret))
        self.model.apps[client_id] = app

    def service_account(self) -> str:
        return next(user.sub for user in self.model.users.values() if user.password is None)

    # Applications

    @precondition(lambda self: len(self.model.apps) < 4)
    @rule(
        confidential=st.booleans(),
        scopes=SCOPES,
        grants=GRANTS,
        account=st.booleans(),
        seconds=SECONDS,
        references=REFERENCES,
    )
    def register_application(
        self,
        confidential: bool,
        scopes: Sequence[str],
        grants: Sequence[str],
        account: bool,
        seconds: int,
        references: str,
    ) -> None:
        self.register(
            scopes, grants, confidential=confidential, account=account, seconds=seconds, references=references
        )

    def of_application(self, app: App, method: str, request: Any) -> Any:
        """Carry out a command; an application that is gone refuses every one."""
        answer = self.attempt(self.world.at_registry(method, request))
        if app.gone and method != "UninstallApplication":
            assert isinstance(answer, Refusal)
            assert answer.code == "application_not_found"
            assert self.observe() == 0
            return None
        return answer

    @rule(
        which=PICK,
        scopes=SCOPES,
        grants=GRANTS,
        kinds=st.sampled_from([("internal",), ("internal", "community"), ("internal", "community")]),
    )
    def change_application(
        self, which: int, scopes: Sequence[str], grants: Sequence[str], kinds: Sequence[str]
    ) -> None:
        app = self.app(which)
        if not app.confidential:
            grants = [grant for grant in grants if grant not in NEED_PROOF]
        if app.account is not None and app.references == "none" and "client_credentials" not in grants:
            grants = [*grants, "client_credentials"]
        settings = pb.ApplicationSettings(
            scopes=scopes, grants=["authorization_code", DEVICE, *grants], user_kinds=kinds
        )
        answer = self.change(app, settings, "scopes", "grants", "user_kinds")
        if answer is None:
            return
        unknown = set(scopes) - app.scopes - self.model.api_scopes
        assert isinstance(answer, Refusal) == bool(unknown), answer
        if isinstance(answer, Refusal):
            assert answer.code == "invalid_scope"
            assert self.observe() == 0
            return
        # The order of scopes and grants is a setting too, so something may be written where nothing is lost.
        self.changed()
        if app.scopes - set(scopes) or app.grants - set(grants) or app.user_kinds - set(kinds):
            app.stops.cut_offs.append(self.model.head)
        app.scopes, app.grants, app.user_kinds = frozenset(scopes), frozenset(grants), frozenset(kinds)

    def change(self, app: App, settings: pb.ApplicationSettings, *paths: str) -> Any:
        request = pb.ChangeApplicationRequest(
            client_id=app.client_id, settings=settings, mask=FieldMask(paths=list(paths))
        )
        return self.of_application(app, "ChangeApplication", request)

    @rule(which=PICK, references=REFERENCES, account=st.booleans())
    def change_reference_tokens(self, which: int, references: str, account: bool) -> None:
        """Who may have them, and whom those of the application itself act as."""
        app = self.app(which)
        if account and references == "none" and "client_credentials" not in app.grants:
            account = False
        acting = self.service_account() if account else None
        settings = pb.ApplicationSettings(reference_tokens=references, service_account=acting or "")
        answer = self.change(app, settings, "reference_tokens", "service_account")
        if answer is None:
            return
        assert not isinstance(answer, Refusal), answer
        assert self.changed() == ((references, acting) != (app.references, app.account))
        fewer = _ADMITTED.index(references) < _ADMITTED.index(app.references)
        if app.references != "none" and (fewer or acting != app.account):
            app.reference_cut_offs.append(self.model.head)
        if acting != app.account:
            self.all_follow()  # what acts as the one of before stays, and may be given until this is heard of
        app.references, app.account = references, acting

    @rule(scopes=SCOPES, anew=SELDOM)
    def change_api(self, scopes: Sequence[str], anew: bool) -> None:
        """It gets scopes, or loses some, which are not issued from then on; tokens of before stay what they are."""
        wanted = scopes_of_api(scopes)
        if anew:
            found = self.do(self.world.at_registry("GetResource", pb.GetResourceRequest(identifier=API)))
            settings = found.resource.settings
            del settings.scopes[:]
            settings.scopes.extend(wanted)
            self.do(self.world.at_registry("RemoveResource", pb.RemoveResourceRequest(identifier=API)))
            request = pb.RegisterResourceRequest(identifier=API, settings=settings)
            self.do(self.world.at_registry("RegisterResource", request))
        else:
            mask = FieldMask(paths=["scopes"])
            change = pb.ChangeResourceRequest(identifier=API, settings=pb.ResourceSettings(scopes=wanted), mask=mask)
            self.do(self.world.at_registry("ChangeResource", change))
        # The order of scopes is a setting too.
        changed = self.changed()
        assert changed or self.model.api_scopes == set(scopes)
        if anew:
            self.apis.append(frozenset())
        self.apis.append(frozenset(scopes))
        self.model.api_scopes = frozenset(scopes)

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

    @rule(which=PICK, secret=PICK, what=st.sampled_from(["add", "add", "revoke", "report", "show"]))
    def change_secrets(self, which: int, secret: int, what: str) -> None:
        app = self.app(which)
        if what == "show" and app.confidential:
            self.show_in_another_way(app)
            return
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

    def show_in_another_way(self, app: App) -> None:
        """Its secrets are good in the form instead of a header, or the other way round; its tokens stay."""
        way = "client_secret_basic" if app.in_form else "client_secret_post"
        answer = self.change(app, pb.ApplicationSettings(auth_method=way), "auth_method")
        if answer is not None:
            assert not isinstance(answer, Refusal), answer
            assert self.changed()
            app.in_form = not app.in_form

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


_ADMITTED = ("none", "administrators_only", "authenticated_users")
"""Who may have reference tokens, from nobody to everybody."""
