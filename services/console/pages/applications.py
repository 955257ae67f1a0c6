"""Applications: the trusted ones, what they may do, their secrets, and their end."""

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.field_mask_pb2 import FieldMask
from starlette.requests import Request
from starlette.responses import Response

from protos.stagedoor.registry.v1 import registry_pb2 as pb
from services.console.calls import PAGE_SIZE
from services.console.pages import shown
from services.console.pages.fields import Field, Shape, empty, read, typed
from services.console.pages.fields import shown as form_fields
from services.console.pages.filled import changed_meanwhile, in_words, raise_unless_about_the_form, refused_form
from services.console.pages.site import Site, confirmed, once, query
from services.console.sessions import SignedIn
from services.identity.events import UserKind
from services.registry.events import (
    ApplicationType,
    AuthMethod,
    GrantType,
    ReferenceTokens,
    ResponseAlgorithm,
    SecurityProfile,
)
from shared.errors import Refusal
from shared.http.forms import Params

REGISTER: Final = "/applications/register"
CHANGE: Final = "/applications/change"
DISABLE: Final = "/applications/disable"
ENABLE: Final = "/applications/enable"
UNINSTALL: Final = "/applications/uninstall"
ADD_SECRET: Final = "/applications/add-secret"
REVOKE_SECRET: Final = "/applications/revoke-secret"

DONE: Final = {
    "changed": "The application is changed.",
    "disabled": "The application is disabled: every token of it is refused, everywhere, until it is enabled.",
    "enabled": "The application is enabled, and the grants that it had go on.",
    "revoked": "The secret is not accepted any more.",
    "compromised": "The secret is not accepted any more, nor anything that the application was given until now.",
}

TYPE: Final = Field("type", "Type", Shape.CHOICE, (*ApplicationType,))
CHANGEABLE: Final = (
    Field("display_name", "Name", hint="What people read at sign-in and consent.", required=True),
    Field("redirect_uris", "Redirect URIs", Shape.LINES, hint="One a line, to the letter."),
    Field("post_logout_redirect_uris", "Redirect URIs after sign-out", Shape.LINES, hint="One a line."),
    Field("scopes", "Scopes", Shape.WORDS, hint="With spaces between."),
    Field("grants", "Grants", Shape.CHOICES, (*GrantType,)),
    Field("user_kinds", "Users", Shape.CHOICES, (*UserKind,)),
    Field(
        "auth_method",
        "Proves itself by",
        Shape.CHOICE,
        ("", *AuthMethod),
        hint="Empty: what is usual for its type.",
    ),
    Field(
        "jwks",
        "Public keys",
        Shape.AREA,
        hint="A JWK Set, for private_key_jwt and self_signed_tls_client_auth; or its address below.",
    ),
    Field("jwks_uri", "Address of the public keys"),
    Field("tls_client_auth_subject_dn", "Subject of its certificate", hint="For tls_client_auth; of these five, one."),
    Field("tls_client_auth_san_dns", "DNS name of its certificate"),
    Field("tls_client_auth_san_uri", "URI of its certificate"),
    Field("tls_client_auth_san_ip", "IP address of its certificate"),
    Field("tls_client_auth_san_email", "E-mail address of its certificate"),
    Field("service_account", "Service account", hint="The sub of the user that it acts as when it acts for itself."),
    Field("contact", "Contact", hint="How to reach the people who run it."),
    Field("logo_uri", "Address of its logo"),
    Field("backchannel_logout_uri", "Back-channel logout URI"),
    Field("backchannel_logout_session_required", "It needs to be told which session has ended", Shape.FLAG),
    Field("reference_tokens", "Reference tokens", Shape.CHOICE, (*ReferenceTokens,)),
    Field(
        "access_token_seconds", "Life of access tokens, in seconds", Shape.NUMBER, hint="Empty: as the issuer has it."
    ),
    Field("refresh_token_seconds", "Life of refreshing, in seconds", Shape.NUMBER, hint="Empty: as the issuer has it."),
    Field("id_token_signed_response_alg", "ID tokens are signed with", Shape.CHOICE, (*ResponseAlgorithm,)),
    Field("userinfo_signed_response_alg", "Userinfo is signed with", Shape.CHOICE, ("", *ResponseAlgorithm)),
    Field("require_pkce", "It has to use PKCE", Shape.FLAG),
    Field("require_pushed_authorization_requests", "It has to push its authorization requests", Shape.FLAG),
    Field("require_signed_request_object", "It has to sign its authorization requests", Shape.FLAG),
    Field("dpop_bound_access_tokens", "Its tokens are bound to a key (DPoP)", Shape.FLAG),
    Field(
        "tls_client_certificate_bound_access_tokens", "Its tokens are bound to its certificate (mutual TLS)", Shape.FLAG
    ),
    Field(
        "security_profile",
        "Security profile",
        Shape.CHOICE,
        ("", *SecurityProfile),
        hint="fapi2: the FAPI 2.0 Security Profile. To begin it ends whatever it was given.",
    ),
    Field("first_party", "It belongs to the platform", Shape.FLAG),
)
_REGISTERED: Final = (
    Field("client_id", "Its client_id", hint="Like com.example/app; never used again.", required=True),
    TYPE,
    *CHANGEABLE,
)
_USUAL: Final = {
    "type": "confidential",
    "grants": ["authorization_code"],
    "user_kinds": ["internal"],
    "reference_tokens": "none",
    "id_token_signed_response_alg": "RS256",
    "require_pkce": True,
}


class Applications:
    """The pages."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._registry = site.calls.registry

    async def list(self, request: Request, who: SignedIn) -> Response:
        """GET /applications."""
        asked = query(request)
        wanted = pb.ListApplicationsRequest(page_size=PAGE_SIZE, page_token=who.place(asked.get("from")))
        found = await self._site.calls.ask(who, self._registry.ListApplications, wanted)
        more = who.remember_place(found.next_page_token) if found.next_page_token else ""
        notice = "The application is uninstalled." if asked.get("done") == "uninstalled" else ""
        fields = {"applications": list(found.applications), "more": more, "notice": notice}
        return self._site.render(request, who, "applications.html", fields)

    async def show(self, request: Request, who: SignedIn) -> Response:
        """GET /applications/show."""
        asked = query(request)
        one = await self._one(who, asked.require("id"))
        settings = one.settings
        facts = [(field.label, in_words(field.of(settings))) for field in (TYPE, *CHANGEABLE)]
        secrets = [
            {
                "id": secret.secret_id,
                "added": shown.field(secret, "added_at"),
                "ends": shown.field(secret, "expires_at"),
            }
            for secret in one.secrets
        ]
        fields = {
            "one": one,
            "registered": shown.field(one, "registered_at"),
            "facts": [(label, words) for label, words in facts if words],
            "secrets": secrets,
            "has_secrets": settings.auth_method.startswith("client_secret"),
            "notice": DONE.get(asked.get("done") or "", ""),
        }
        return self._site.render(request, who, "application.html", fields)

    async def register_form(self, request: Request, who: SignedIn) -> Response:
        """GET /applications/register."""
        await self._site.must_administer(who)
        return self._form(request, who, {field.name: _USUAL.get(field.name, empty(field)) for field in _REGISTERED})

    async def register(self, request: Request, who: SignedIn, form: Params) -> Response:
        """POST /applications/register: the answer has the secret, once."""
        try:
            values = read(_REGISTERED, form)
            client_id = values.pop("client_id")
            wanted = pb.RegisterApplicationRequest(client_id=client_id, settings=pb.ApplicationSettings(**values))
            found = await self._site.calls.ask(who, self._registry.RegisterApplication, wanted, once=once(form))
        except Refusal as refusal:
            raise_unless_about_the_form(refusal)
            return self._form(request, who, typed(_REGISTERED, form), refusal)
        if not found.client_secret:
            return self._site.pages.see("/applications/show", id=client_id)
        return self._secret(request, who, client_id, found.client_secret)

    async def change_form(self, request: Request, who: SignedIn) -> Response:
        """GET /applications/change."""
        one = await self._one(who, query(request).require("id"))
        values = {field.name: field.of(one.settings) for field in CHANGEABLE}
        return self._form(request, who, values, client_id=one.client_id, position=one.position)

    async def change(self, request: Request, who: SignedIn, form: Params) -> Response:
        """POST /applications/change: what was changed on the page, and nothing that somebody else changed meanwhile."""
        client_id, position = form.require("id"), form.require("position")
        try:
            values = read(CHANGEABLE, form)
            one = await self._one(who, client_id)
            if str(one.position) != position:
                raise changed_meanwhile()
            paths = [field.name for field in CHANGEABLE if values[field.name] != field.of(one.settings)]
            wanted = pb.ChangeApplicationRequest(
                client_id=client_id,
                settings=pb.ApplicationSettings(**{name: values[name] for name in paths}),
                mask=FieldMask(paths=paths),
            )
            if paths:
                await self._site.calls.ask(who, self._registry.ChangeApplication, wanted, once=once(form))
        except Refusal as refusal:
            raise_unless_about_the_form(refusal)
            values = typed(CHANGEABLE, form)
            return self._form(request, who, values, refusal, client_id=client_id, position=position)
        return self._done(client_id, "changed")

    async def disable(self, _: Request, who: SignedIn, form: Params) -> Response:
        """POST /applications/disable."""
        wanted = pb.DisableApplicationRequest(client_id=form.require("id"), reason=form.get("reason") or "")
        await self._site.calls.ask(who, self._registry.DisableApplication, wanted, once=once(form))
        return self._done(wanted.client_id, "disabled")

    async def enable(self, _: Request, who: SignedIn, form: Params) -> Response:
        """POST /applications/enable."""
        wanted = pb.EnableApplicationRequest(client_id=form.require("id"))
        await self._site.calls.ask(who, self._registry.EnableApplication, wanted, once=once(form))
        return self._done(wanted.client_id, "enabled")

    async def uninstall(self, _: Request, who: SignedIn, form: Params) -> Response:
        """POST /applications/uninstall."""
        wanted = pb.UninstallApplicationRequest(client_id=form.require("id"))
        confirmed(form, wanted.client_id)
        await self._site.calls.ask(who, self._registry.UninstallApplication, wanted, once=once(form))
        return self._site.pages.see("/applications", done="uninstalled")

    async def add_secret(self, request: Request, who: SignedIn, form: Params) -> Response:
        """POST /applications/add-secret: the others stay valid, so that a rotation has no gap."""
        wanted = pb.AddSecretRequest(client_id=form.require("id"))
        found = await self._site.calls.ask(who, self._registry.AddSecret, wanted, once=once(form))
        return self._secret(request, who, wanted.client_id, found.client_secret)

    async def revoke_secret(self, _: Request, who: SignedIn, form: Params) -> Response:
        """POST /applications/revoke-secret."""
        client_id, secret_id = form.require("id"), form.require("secret")
        if "compromised" in form:
            report = pb.ReportSecretCompromisedRequest(client_id=client_id, secret_id=secret_id)
            await self._site.calls.ask(who, self._registry.ReportSecretCompromised, report, once=once(form))
            return self._done(client_id, "compromised")
        wanted = pb.RevokeSecretRequest(client_id=client_id, secret_id=secret_id)
        await self._site.calls.ask(who, self._registry.RevokeSecret, wanted, once=once(form))
        return self._done(client_id, "revoked")

    async def _one(self, who: SignedIn, client_id: str) -> pb.Application:
        wanted = pb.GetApplicationRequest(client_id=client_id)
        found: pb.GetApplicationResponse = await self._site.calls.ask(who, self._registry.GetApplication, wanted)
        return found.application

    def _done(self, client_id: str, what: str) -> Response:
        return self._site.pages.see("/applications/show", id=client_id, done=what)

    def _secret(self, request: Request, who: SignedIn, client_id: str, secret: str) -> Response:
        back = self._site.pages.path("/applications/show", id=client_id)
        fields = {"of": client_id, "secret": secret, "back": back}
        return self._site.render(request, who, "secret.html", fields)

    def _form(  # noqa: PLR0913  (the parts of a form)
        self,
        request: Request,
        who: SignedIn,
        values: Mapping[str, Any],
        refusal: Refusal | None = None,
        *,
        client_id: str = "",
        position: object = "",
    ) -> Response:
        fields = {
            "heading": f"Change {client_id}" if client_id else "Register an application",
            "lead": "" if client_id else "From now on it is trusted. Its secret is shown once.",
            "action": CHANGE if client_id else REGISTER,
            "more": {"id": client_id, "position": str(position)} if client_id else {},
            "fields": form_fields(CHANGEABLE if client_id else _REGISTERED, values),
            "button": "Change it" if client_id else "Register it",
            "back": self._site.pages.path("/applications/show", id=client_id) if client_id else "",
        }
        return refused_form(self._site, request, who, fields, refusal)
