"""Users: people, and accounts of services."""

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.field_mask_pb2 import FieldMask
from starlette.requests import Request
from starlette.responses import Response

from protos.stagedoor.identity.v1 import identity_pb2 as pb
from services.console.calls import PAGE_SIZE
from services.console.pages import shown
from services.console.pages.fields import Field, Shape, empty, read, typed
from services.console.pages.fields import shown as form_fields
from services.console.pages.filled import changed_meanwhile, in_words, raise_unless_about_the_form, refused_form
from services.console.pages.site import Site, confirmed, once, query
from services.console.sessions import SignedIn
from services.identity.events import Role, UserKind
from shared.errors import Refusal
from shared.http.errors import invalid_request
from shared.http.forms import Params

FIND: Final = "/users/find"
ADD: Final = "/users/add"
CHANGE: Final = "/users/change"
DISABLE: Final = "/users/disable"
ENABLE: Final = "/users/enable"
ERASE: Final = "/users/erase"
RESET_PASSWORD: Final = "/users/reset-password"
RESET_SECOND_FACTOR: Final = "/users/reset-second-factor"
END_SESSION: Final = "/users/end-session"

DONE: Final = {
    "added": "The user is added.",
    "changed": "The user is changed.",
    "disabled": "The user is disabled: sign-ins and every token that names them are refused until they are enabled.",
    "enabled": "The user is enabled, and the grants that they gave go on.",
    "password": "The user has another password; all their sessions, grants and personal access tokens have ended.",
    "second-factor": "The user has no second factor any more; all their sessions, grants and tokens have ended.",
    "session": "That session has ended.",
}

_PROFILE: Final = (
    Field("given_name", "Given name"),
    Field("family_name", "Family name"),
    Field("display_name", "Display name"),
    Field("email", "E-mail"),
    Field("email_verified", "The e-mail address was proved to be theirs", Shape.FLAG),
    Field("locale", "Language", hint="BCP 47, like en-GB."),
    Field("zoneinfo", "Time zone", hint="IANA, like Europe/London."),
    Field("phone_number", "Telephone", hint="E.164, like +442079460958."),
    Field("phone_number_verified", "The telephone number was proved to be theirs", Shape.FLAG),
    Field("street_address", "Street and house", Shape.AREA),
    Field("locality", "City or town"),
    Field("region", "Region"),
    Field("postal_code", "Postal code"),
    Field("country", "Country"),
)
_ROLES: Final = Field("roles", "Roles", Shape.CHOICES, (*Role,))
_CHANGEABLE: Final = (*_PROFILE, _ROLES)
_ADDED: Final = (
    Field("user_name", "User name", required=True),
    Field("kind", "Kind", Shape.CHOICE, (*UserKind,)),
    Field("password", "Password", Shape.PASSWORD, hint="Empty: they cannot sign in until one is set."),
    _ROLES,
    *_PROFILE,
)


class Users:
    """The pages."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._identity = site.calls.identity

    async def list(self, request: Request, who: SignedIn) -> Response:
        """GET /users."""
        asked = query(request)
        wanted = pb.ListUsersRequest(page_size=PAGE_SIZE, page_token=who.place(asked.get("from")))
        found = await self._site.calls.ask(who, self._identity.ListUsers, wanted)
        more = who.remember_place(found.next_page_token) if found.next_page_token else ""
        notice = "The user is erased." if asked.get("done") == "erased" else ""
        return self._site.render(
            request, who, "users.html", {"users": list(found.users), "more": more, "notice": notice}
        )

    async def find(self, _: Request, who: SignedIn, form: Params) -> Response:
        """POST /users/find: a name belongs into no address."""
        key = pb.UserKey(user_name=(form.get("user_name") or "").strip())
        found = await self._site.calls.ask(who, self._identity.GetUser, pb.GetUserRequest(user=key))
        return self._site.pages.see("/users/show", id=found.user.sub)

    async def show(self, request: Request, who: SignedIn) -> Response:
        """GET /users/show."""
        asked = query(request)
        sub = asked.require("id")
        one = await self._one(who, sub)
        listed = pb.ListSessionsRequest(user=pb.UserKey(sub=sub))
        sessions = (await self._site.calls.ask(who, self._identity.ListSessions, listed)).sessions
        facts = [(field.label, in_words(field.of(one.profile))) for field in _PROFILE]
        fields = {
            "one": one,
            "registered": shown.field(one, "registered_at"),
            "facts": [(label, words) for label, words in facts if words],
            "sessions": [
                {
                    "sid": session.sid,
                    "began": shown.field(session, "auth_time"),
                    "ends": shown.field(session, "expires_at"),
                    "device": session.user_agent,
                    "amr": list(session.amr),
                }
                for session in sessions
            ],
            "notice": DONE.get(asked.get("done") or "", ""),
        }
        return self._site.render(request, who, "user.html", fields)

    async def add_form(self, request: Request, who: SignedIn) -> Response:
        """GET /users/add."""
        await self._site.must_administer(who)
        values = {field.name: empty(field) for field in _ADDED}
        return self._form(request, who, {**values, "kind": "internal"})

    async def add(self, request: Request, who: SignedIn, form: Params) -> Response:
        """POST /users/add."""
        try:
            values = read(_ADDED, form)
            wanted = pb.RegisterUserRequest(
                user_name=values["user_name"],
                kind=values["kind"],
                password=values["password"],
                roles=values["roles"],
                profile=pb.Profile(**{field.name: values[field.name] for field in _PROFILE}),
            )
            found = await self._site.calls.ask(who, self._identity.RegisterUser, wanted, once=once(form))
        except Refusal as refusal:
            raise_unless_about_the_form(refusal)
            return self._form(request, who, typed(_ADDED, form), refusal)
        return self._done(found.sub, "added")

    async def change_form(self, request: Request, who: SignedIn) -> Response:
        """GET /users/change."""
        one = await self._one(who, query(request).require("id"))
        return self._form(request, who, _values(one), sub=one.sub, position=one.position)

    async def change(self, request: Request, who: SignedIn, form: Params) -> Response:
        """POST /users/change."""
        sub, position = form.require("id"), form.require("position")
        try:
            values = read(_CHANGEABLE, form)
            one = await self._one(who, sub)
            if str(one.position) != position:
                raise changed_meanwhile()
            before = _values(one)
            changed = [name for name, value in values.items() if value != before[name]]
            wanted = pb.ChangeUserRequest(
                user=pb.UserKey(sub=sub),
                profile=pb.Profile(**{name: values[name] for name in changed if name != "roles"}),
                roles=values["roles"] if "roles" in changed else (),
                mask=FieldMask(paths=[name if name == "roles" else f"profile.{name}" for name in changed]),
            )
            if changed:
                await self._site.calls.ask(who, self._identity.ChangeUser, wanted, once=once(form))
        except Refusal as refusal:
            raise_unless_about_the_form(refusal)
            return self._form(request, who, typed(_CHANGEABLE, form), refusal, sub=sub, position=position)
        return self._done(sub, "changed")

    async def disable(self, _: Request, who: SignedIn, form: Params) -> Response:
        """POST /users/disable."""
        sub = form.require("id")
        wanted = pb.DisableUserRequest(user=pb.UserKey(sub=sub), reason=form.get("reason") or "")
        await self._site.calls.ask(who, self._identity.DisableUser, wanted, once=once(form))
        return self._done(sub, "disabled")

    async def enable(self, _: Request, who: SignedIn, form: Params) -> Response:
        """POST /users/enable."""
        sub = form.require("id")
        wanted = pb.EnableUserRequest(user=pb.UserKey(sub=sub))
        await self._site.calls.ask(who, self._identity.EnableUser, wanted, once=once(form))
        return self._done(sub, "enabled")

    async def erase(self, _: Request, who: SignedIn, form: Params) -> Response:
        """POST /users/erase: whoever does it types the name of who is to be gone."""
        sub = form.require("id")
        confirmed(form, (await self._one(who, sub)).user_name)
        await self._site.calls.ask(who, self._identity.EraseUser, pb.EraseUserRequest(sub=sub), once=once(form))
        return self._site.pages.see("/users", done="erased")

    async def reset_password(self, _: Request, who: SignedIn, form: Params) -> Response:
        """POST /users/reset-password."""
        sub, password = form.require("id"), form.get("password") or ""
        if password != (form.get("password_again") or ""):
            raise invalid_request("nothing was done: the new password is not the same twice")
        wanted = pb.ResetPasswordRequest(user=pb.UserKey(sub=sub), password=password)
        await self._site.calls.ask(who, self._identity.ResetPassword, wanted, once=once(form))
        return self._done(sub, "password")

    async def reset_second_factor(self, _: Request, who: SignedIn, form: Params) -> Response:
        """POST /users/reset-second-factor."""
        sub = form.require("id")
        wanted = pb.ResetSecondFactorRequest(user=pb.UserKey(sub=sub))
        await self._site.calls.ask(who, self._identity.ResetSecondFactor, wanted, once=once(form))
        return self._done(sub, "second-factor")

    async def end_session(self, _: Request, who: SignedIn, form: Params) -> Response:
        """POST /users/end-session."""
        wanted = pb.EndSessionRequest(sid=form.require("sid"))
        await self._site.calls.ask(who, self._identity.EndSession, wanted, once=once(form))
        return self._done(form.require("id"), "session")

    async def _one(self, who: SignedIn, sub: str) -> pb.User:
        wanted = pb.GetUserRequest(user=pb.UserKey(sub=sub))
        found: pb.GetUserResponse = await self._site.calls.ask(who, self._identity.GetUser, wanted)
        return found.user

    def _done(self, sub: str, what: str) -> Response:
        return self._site.pages.see("/users/show", id=sub, done=what)

    def _form(  # noqa: PLR0913  (the parts of a form)
        self,
        request: Request,
        who: SignedIn,
        values: Mapping[str, Any],
        refusal: Refusal | None = None,
        *,
        sub: str = "",
        position: object = "",
    ) -> Response:
        fields = {
            "heading": "Change a user" if sub else "Add a user",
            "lead": "",
            "action": CHANGE if sub else ADD,
            "more": {"id": sub, "position": str(position)} if sub else {},
            "fields": form_fields(_CHANGEABLE if sub else _ADDED, values),
            "button": "Change it" if sub else "Add them",
            "back": self._site.pages.path("/users/show", id=sub) if sub else "",
        }
        return refused_form(self._site, request, who, fields, refusal)


def _values(user: pb.User) -> dict[str, Any]:
    """The attributes as they stand in the form."""
    return {**{field.name: field.of(user.profile) for field in _PROFILE}, "roles": list(user.roles)}
