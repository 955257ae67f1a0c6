"""Resources: the APIs that accept tokens, and their scopes."""

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.field_mask_pb2 import FieldMask
from starlette.requests import Request
from starlette.responses import Response

from protos.stagedoor.registry.v1 import registry_pb2 as pb
from services.console.pages.fields import Field, Shape, empty, read, typed
from services.console.pages.fields import shown as form_fields
from services.console.pages.filled import changed_meanwhile, raise_unless_about_the_form, refused_form
from services.console.pages.site import Site, confirmed, once, query
from services.console.sessions import SignedIn
from shared.errors import Refusal
from shared.http.errors import invalid_request
from shared.http.forms import Params

REGISTER: Final = "/resources/register"
CHANGE: Final = "/resources/change"
REMOVE: Final = "/resources/remove"

DONE: Final = {
    "registered": "The resource is registered: tokens are issued for it from now on.",
    "changed": "The resource is changed.",
}

_CHANGEABLE: Final = (
    Field("display_name", "Name", hint="What people read.", required=True),
    Field(
        "scopes",
        "Scopes",
        Shape.LINES,
        hint="One a line, with what an application can do with it: read=see your tours.",
        required=True,
    ),
    Field(
        "callers",
        "Who may ask about its tokens",
        Shape.LINES,
        hint="One a line: client:…, resource/…, service/…, operator. For this console: service/console.",
    ),
    Field("admits_community_users", "It admits community users", Shape.FLAG),
)
_REGISTERED: Final = (
    Field("identifier", "Identifier", hint="An absolute URI: the audience of its tokens.", required=True),
    *_CHANGEABLE,
)


class Resources:
    """The pages."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._registry = site.calls.registry

    async def list(self, request: Request, who: SignedIn) -> Response:
        """GET /resources."""
        found = await self._site.calls.ask(who, self._registry.ListResources, pb.ListResourcesRequest())
        notice = "The resource is removed." if query(request).get("done") == "removed" else ""
        fields = {"resources": list(found.resources), "notice": notice}
        return self._site.render(request, who, "resources.html", fields)

    async def show(self, request: Request, who: SignedIn) -> Response:
        """GET /resources/show."""
        asked = query(request)
        one = await self._one(who, asked.require("id"))
        fields = {"one": one, "notice": DONE.get(asked.get("done") or "", "")}
        return self._site.render(request, who, "resource.html", fields)

    async def register_form(self, request: Request, who: SignedIn) -> Response:
        """GET /resources/register."""
        await self._site.must_administer(who)
        return self._form(request, who, {field.name: empty(field) for field in _REGISTERED})

    async def register(self, request: Request, who: SignedIn, form: Params) -> Response:
        """POST /resources/register."""
        try:
            values = read(_REGISTERED, form)
            identifier = values.pop("identifier")
            wanted = pb.RegisterResourceRequest(identifier=identifier, settings=_settings(values))
            await self._site.calls.ask(who, self._registry.RegisterResource, wanted, once=once(form))
        except Refusal as refusal:
            raise_unless_about_the_form(refusal)
            return self._form(request, who, typed(_REGISTERED, form), refusal)
        return self._site.pages.see("/resources/show", id=identifier, done="registered")

    async def change_form(self, request: Request, who: SignedIn) -> Response:
        """GET /resources/change."""
        one = await self._one(who, query(request).require("id"))
        return self._form(request, who, _values(one.settings), identifier=one.identifier, position=one.position)

    async def change(self, request: Request, who: SignedIn, form: Params) -> Response:
        """POST /resources/change."""
        identifier, position = form.require("id"), form.require("position")
        try:
            values = read(_CHANGEABLE, form)
            one = await self._one(who, identifier)
            if str(one.position) != position:
                raise changed_meanwhile()
            before = _values(one.settings)
            paths = [name for name, value in values.items() if value != before[name]]
            settings = _settings({name: values[name] for name in paths})
            wanted = pb.ChangeResourceRequest(identifier=identifier, settings=settings, mask=FieldMask(paths=paths))
            if paths:
                await self._site.calls.ask(who, self._registry.ChangeResource, wanted, once=once(form))
        except Refusal as refusal:
            raise_unless_about_the_form(refusal)
            values = typed(_CHANGEABLE, form)
            return self._form(request, who, values, refusal, identifier=identifier, position=position)
        return self._site.pages.see("/resources/show", id=identifier, done="changed")

    async def remove(self, _: Request, who: SignedIn, form: Params) -> Response:
        """POST /resources/remove."""
        wanted = pb.RemoveResourceRequest(identifier=form.require("id"))
        confirmed(form, wanted.identifier)
        await self._site.calls.ask(who, self._registry.RemoveResource, wanted, once=once(form))
        return self._site.pages.see("/resources", done="removed")

    async def _one(self, who: SignedIn, identifier: str) -> pb.Resource:
        wanted = pb.GetResourceRequest(identifier=identifier)
        found: pb.GetResourceResponse = await self._site.calls.ask(who, self._registry.GetResource, wanted)
        return found.resource

    def _form(  # noqa: PLR0913  (the parts of a form)
        self,
        request: Request,
        who: SignedIn,
        values: Mapping[str, Any],
        refusal: Refusal | None = None,
        *,
        identifier: str = "",
        position: object = "",
    ) -> Response:
        fields = {
            "heading": "Change a resource" if identifier else "Register a resource",
            "lead": identifier or "From now on tokens can be issued for it.",
            "action": CHANGE if identifier else REGISTER,
            "more": {"id": identifier, "position": str(position)} if identifier else {},
            "fields": form_fields(_CHANGEABLE if identifier else _REGISTERED, values),
            "button": "Change it" if identifier else "Register it",
            "back": self._site.pages.path("/resources/show", id=identifier) if identifier else "",
        }
        return refused_form(self._site, request, who, fields, refusal)


def _values(settings: pb.ResourceSettings) -> dict[str, Any]:
    """The settings as they stand in the form."""
    values = {field.name: field.of(settings) for field in _CHANGEABLE}
    return {**values, "scopes": [f"{scope.name}={scope.description}" for scope in settings.scopes]}


def _settings(values: Mapping[str, Any]) -> pb.ResourceSettings:
    """The other way round. Raises `Refusal` for a scope of which it is not said what it is for."""
    scopes = []
    for line in values.get("scopes", ()):
        name, equals, description = line.partition("=")
        if not equals:
            raise invalid_request("a scope is written as its name, an equals sign, and what can be done with it")
        scopes.append(pb.Scope(name=name.strip(), description=description.strip()))
    return pb.ResourceSettings(**{**values, "scopes": scopes})
