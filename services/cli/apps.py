"""`stagedoor apps`: trusted applications."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from protos.stagedoor.registry.v1 import registration_pb2
from protos.stagedoor.registry.v1 import registry_pb2 as pb
from services.cli import output
from services.cli.connection import Connection
from services.cli.output import Json
from services.cli.profile import default_path

app = typer.Typer(help="Trusted applications.", no_args_is_help=True)

ClientId = Annotated[str, typer.Argument(help="Its name, like com.example/app.", show_default=False)]

Name = Annotated[str | None, typer.Option("--name", help="What people read at sign-in and consent.")]
LogoUri = Annotated[str | None, typer.Option(help="Address of its logo.")]
Contact = Annotated[str | None, typer.Option(help="How to reach the people who run it.")]
RedirectUris = Annotated[list[str] | None, typer.Option("--redirect-uri", help="May be repeated.")]
LogoutUris = Annotated[list[str] | None, typer.Option("--post-logout-redirect-uri", help="May be repeated.")]
BackchannelLogoutUri = Annotated[
    str | None, typer.Option(help="Where it is told, by a POST of the issuer, that a session has ended.")
]
BackchannelLogoutSession = Annotated[
    bool | None,
    typer.Option(
        "--backchannel-logout-session-required/--no-backchannel-logout-session-required",
        help="It needs to be told which session.",
    ),
]
UserKinds = Annotated[list[str] | None, typer.Option("--user-kind", help="internal, community, service; repeated.")]
ServiceAccount = Annotated[str | None, typer.Option(help="sub of the user that client credentials act as.")]
Scopes = Annotated[list[str] | None, typer.Option("--scope", help="May be repeated.")]
Grants = Annotated[
    list[str] | None,
    typer.Option(
        "--grant",
        help="authorization_code, refresh_token, client_credentials, "
        "urn:ietf:params:oauth:grant-type:token-exchange, urn:ietf:params:oauth:grant-type:device_code; repeated.",
    ),
]
AuthMethod = Annotated[
    str | None,
    typer.Option(
        help="client_secret_basic, client_secret_post, private_key_jwt, self_signed_tls_client_auth, "
        "tls_client_auth or none."
    ),
]
Jwks = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="File with the public keys that it signs with, or that its certificates are for, as a JWK Set.",
    ),
]
JwksUri = Annotated[str | None, typer.Option(help="Address of that set, instead.")]
RequirePkce = Annotated[bool | None, typer.Option("--require-pkce/--no-require-pkce", help="On unless turned off.")]
RequirePar = Annotated[
    bool | None,
    typer.Option(
        "--require-pushed-authorization-requests/--no-require-pushed-authorization-requests",
        help="It begins a sign-in in no other way (RFC 9126).",
    ),
]
RequireSigned = Annotated[
    bool | None,
    typer.Option(
        "--require-signed-request-object/--no-require-signed-request-object",
        help="It signs its authorization requests (RFC 9101); for private_key_jwt.",
    ),
]
DpopBound = Annotated[
    bool | None,
    typer.Option(
        "--dpop-bound-access-tokens/--no-dpop-bound-access-tokens",
        help="It gets tokens that are bound to a key, and no others (RFC 9449).",
    ),
]
CertificateBound = Annotated[
    bool | None,
    typer.Option(
        "--tls-client-certificate-bound-access-tokens/--no-tls-client-certificate-bound-access-tokens",
        help="It gets tokens that are bound to its client certificate, and no others (RFC 8705).",
    ),
]
SubjectDn = Annotated[
    str | None, typer.Option(help="For tls_client_auth: subject of its certificate, like CN=app,O=Example Corp.")
]
SanDns = Annotated[str | None, typer.Option(help="The same by another of its names: a host …")]
SanUri = Annotated[str | None, typer.Option(help="… a URI …")]
SanIp = Annotated[str | None, typer.Option(help="… an IP address …")]
SanEmail = Annotated[str | None, typer.Option(help="… or an e-mail address.")]
ReferenceTokens = Annotated[str | None, typer.Option(help="none, authenticated_users or administrators_only.")]
AccessSeconds = Annotated[int | None, typer.Option("--access-token-seconds", help="0: the issuer's default.")]
RefreshSeconds = Annotated[int | None, typer.Option("--refresh-token-seconds", help="0: the issuer's default.")]
FirstParty = Annotated[bool | None, typer.Option("--first-party/--not-first-party", help="Belongs to the platform.")]
UserinfoAlg = Annotated[str | None, typer.Option(help="RS256, ES256: userinfo is signed; empty: it is plain JSON.")]
IdTokenAlg = Annotated[str | None, typer.Option(help="RS256 (the default) or ES256: what ID tokens are signed with.")]
SecurityProfile = Annotated[
    str | None,
    typer.Option(help="fapi2: it is held to the FAPI 2.0 Security Profile; empty: to none."),
]
ExpiresAt = Annotated[
    datetime | None,
    typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"], help="In UTC; default: never."),
]


@app.command()
def register(  # noqa: PLR0913  (each option is a setting of an application)
    client_id: ClientId,
    *,
    name: Annotated[str, typer.Option("--name", help="What people read at sign-in and consent.")],
    type: Annotated[str, typer.Option(help="confidential, public or native.")] = "confidential",  # noqa: A002
    logo_uri: LogoUri = None,
    contact: Contact = None,
    redirect_uri: RedirectUris = None,
    post_logout_redirect_uri: LogoutUris = None,
    backchannel_logout_uri: BackchannelLogoutUri = None,
    backchannel_logout_session_required: BackchannelLogoutSession = None,
    user_kind: UserKinds = None,
    service_account: ServiceAccount = None,
    scope: Scopes = None,
    grant: Grants = None,
    auth_method: AuthMethod = None,
    jwks: Jwks = None,
    jwks_uri: JwksUri = None,
    require_pkce: RequirePkce = None,
    require_pushed_authorization_requests: RequirePar = None,
    require_signed_request_object: RequireSigned = None,
    dpop_bound_access_tokens: DpopBound = None,
    tls_client_certificate_bound_access_tokens: CertificateBound = None,
    tls_client_auth_subject_dn: SubjectDn = None,
    tls_client_auth_san_dns: SanDns = None,
    tls_client_auth_san_uri: SanUri = None,
    tls_client_auth_san_ip: SanIp = None,
    tls_client_auth_san_email: SanEmail = None,
    reference_tokens: ReferenceTokens = None,
    access_token_seconds: AccessSeconds = None,
    refresh_token_seconds: RefreshSeconds = None,
    first_party: FirstParty = None,
    userinfo_signed_response_alg: UserinfoAlg = None,
    id_token_signed_response_alg: IdTokenAlg = None,
    security_profile: SecurityProfile = None,
    as_json: Json = False,
) -> None:
    """Trust an application. Its secret is shown this once."""
    given = _given(
        display_name=name,
        type=type,
        logo_uri=logo_uri,
        contact=contact,
        redirect_uris=redirect_uri,
        post_logout_redirect_uris=post_logout_redirect_uri,
        backchannel_logout_uri=backchannel_logout_uri,
        backchannel_logout_session_required=backchannel_logout_session_required,
        user_kinds=user_kind,
        service_account=service_account,
        scopes=_words(scope),
        grants=_words(grant),
        auth_method=auth_method,
        jwks=None if jwks is None else _text(jwks),
        jwks_uri=jwks_uri,
        require_pkce=require_pkce,
        require_pushed_authorization_requests=require_pushed_authorization_requests,
        require_signed_request_object=require_signed_request_object,
        dpop_bound_access_tokens=dpop_bound_access_tokens,
        tls_client_certificate_bound_access_tokens=tls_client_certificate_bound_access_tokens,
        tls_client_auth_subject_dn=tls_client_auth_subject_dn,
        tls_client_auth_san_dns=tls_client_auth_san_dns,
        tls_client_auth_san_uri=tls_client_auth_san_uri,
        tls_client_auth_san_ip=tls_client_auth_san_ip,
        tls_client_auth_san_email=tls_client_auth_san_email,
        reference_tokens=reference_tokens,
        access_token_seconds=access_token_seconds,
        refresh_token_seconds=refresh_token_seconds,
        first_party=first_party,
        userinfo_signed_response_alg=userinfo_signed_response_alg,
        id_token_signed_response_alg=id_token_signed_response_alg,
        security_profile=security_profile,
    )

    async def work() -> None:
        request = pb.RegisterApplicationRequest(client_id=client_id, settings=pb.ApplicationSettings(**given))
        async with Connection(default_path()) as services:
            answer = await services.ask(services.registry.RegisterApplication, request)
        found = _plain(answer.application)
        if answer.client_secret:
            found["client_secret"] = answer.client_secret
        _print({**found, "position": answer.position}, as_json=as_json)
        if answer.client_secret and not as_json:
            output.say("The secret is shown this once; keep it safe.")

    output.run(work())


@app.command("list")
def list_(*, as_json: Json = False) -> None:
    """List all applications, by name."""

    async def work() -> None:
        found: list[pb.Application] = []
        request = pb.ListApplicationsRequest(page_size=1000)
        async with Connection(default_path()) as services:
            async for page in services.pages(services.registry.ListApplications, request):
                found += page.applications
        if as_json:
            output.document([_plain(one) for one in found])
        else:
            headings = ("client_id", "name", "type", "scopes", "enabled")
            output.rows(headings, [_row(one) for one in found])

    output.run(work())


@app.command()
def show(client_id: ClientId, *, as_json: Json = False) -> None:
    """Show one application."""

    async def work() -> None:
        async with Connection(default_path()) as services:
            request = pb.GetApplicationRequest(client_id=client_id)
            answer = await services.ask(services.registry.GetApplication, request)
        _print(_plain(answer.application), as_json=as_json)

    output.run(work())


@app.command()
def change(  # noqa: PLR0913  (each option is a setting of an application)
    client_id: ClientId,
    *,
    name: Name = None,
    logo_uri: LogoUri = None,
    contact: Contact = None,
    redirect_uri: RedirectUris = None,
    post_logout_redirect_uri: LogoutUris = None,
    backchannel_logout_uri: BackchannelLogoutUri = None,
    backchannel_logout_session_required: BackchannelLogoutSession = None,
    user_kind: UserKinds = None,
    service_account: ServiceAccount = None,
    scope: Scopes = None,
    grant: Grants = None,
    auth_method: AuthMethod = None,
    jwks: Jwks = None,
    jwks_uri: JwksUri = None,
    require_pkce: RequirePkce = None,
    require_pushed_authorization_requests: RequirePar = None,
    require_signed_request_object: RequireSigned = None,
    dpop_bound_access_tokens: DpopBound = None,
    tls_client_certificate_bound_access_tokens: CertificateBound = None,
    tls_client_auth_subject_dn: SubjectDn = None,
    tls_client_auth_san_dns: SanDns = None,
    tls_client_auth_san_uri: SanUri = None,
    tls_client_auth_san_ip: SanIp = None,
    tls_client_auth_san_email: SanEmail = None,
    reference_tokens: ReferenceTokens = None,
    access_token_seconds: AccessSeconds = None,
    refresh_token_seconds: RefreshSeconds = None,
    first_party: FirstParty = None,
    userinfo_signed_response_alg: UserinfoAlg = None,
    id_token_signed_response_alg: IdTokenAlg = None,
    security_profile: SecurityProfile = None,
    clear: Annotated[
        list[str] | None, typer.Option(help="Empty this setting, by its name in --json; repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Replace the settings that are named; all others stay. A list is replaced as a whole."""
    given = _given(
        display_name=name,
        logo_uri=logo_uri,
        contact=contact,
        redirect_uris=redirect_uri,
        post_logout_redirect_uris=post_logout_redirect_uri,
        backchannel_logout_uri=backchannel_logout_uri,
        backchannel_logout_session_required=backchannel_logout_session_required,
        user_kinds=user_kind,
        service_account=service_account,
        scopes=_words(scope),
        grants=_words(grant),
        auth_method=auth_method,
        jwks=None if jwks is None else _text(jwks),
        jwks_uri=jwks_uri,
        require_pkce=require_pkce,
        require_pushed_authorization_requests=require_pushed_authorization_requests,
        require_signed_request_object=require_signed_request_object,
        dpop_bound_access_tokens=dpop_bound_access_tokens,
        tls_client_certificate_bound_access_tokens=tls_client_certificate_bound_access_tokens,
        tls_client_auth_subject_dn=tls_client_auth_subject_dn,
        tls_client_auth_san_dns=tls_client_auth_san_dns,
        tls_client_auth_san_uri=tls_client_auth_san_uri,
        tls_client_auth_san_ip=tls_client_auth_san_ip,
        tls_client_auth_san_email=tls_client_auth_san_email,
        reference_tokens=reference_tokens,
        access_token_seconds=access_token_seconds,
        refresh_token_seconds=refresh_token_seconds,
        first_party=first_party,
        userinfo_signed_response_alg=userinfo_signed_response_alg,
        id_token_signed_response_alg=id_token_signed_response_alg,
        security_profile=security_profile,
    )
    named = [*given, *(clear or ())]
    if not named:
        raise typer.BadParameter("say what to change")

    async def work() -> None:
        request = pb.ChangeApplicationRequest(
            client_id=client_id, settings=pb.ApplicationSettings(**given), mask=FieldMask(paths=named)
        )
        async with Connection(default_path()) as services:
            answer = await services.ask(services.registry.ChangeApplication, request)
        _print({**_plain(answer.application), "position": answer.position}, as_json=as_json)

    output.run(work())


@app.command()
def disable(
    client_id: ClientId,
    *,
    reason: Annotated[str, typer.Option(help="Kept in the log.")] = "",
    as_json: Json = False,
) -> None:
    """Refuse every token of an application, everywhere, at once, until it is enabled."""
    request = pb.DisableApplicationRequest(client_id=client_id, reason=reason)
    _write("DisableApplication", request, f"{client_id} is disabled", as_json=as_json)


@app.command()
def enable(client_id: ClientId, *, as_json: Json = False) -> None:
    """Let an application, and the grants it had, go on."""
    request = pb.EnableApplicationRequest(client_id=client_id)
    _write("EnableApplication", request, f"{client_id} is enabled", as_json=as_json)


@app.command()
def uninstall(
    client_id: ClientId,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """End an application for ever; its name is never used again."""
    if not yes:
        output.confirm(f"End {client_id} for ever?")
    request = pb.UninstallApplicationRequest(client_id=client_id)
    _write("UninstallApplication", request, f"{client_id} is uninstalled", as_json=as_json)


@app.command("rotate-secret")
def rotate_secret(
    client_id: ClientId,
    *,
    expires_at: ExpiresAt = None,
    revoke_others: Annotated[bool, typer.Option(help="Revoke all others at once, instead of one by one.")] = False,
    as_json: Json = False,
) -> None:
    """Add a secret, shown this once; the others stay valid until each is revoked."""
    request = pb.AddSecretRequest(client_id=client_id)
    if expires_at is not None:
        request.expires_at.CopyFrom(_timestamp(expires_at))

    async def work() -> None:
        async with Connection(default_path()) as services:
            registry = services.registry
            answer = await services.ask(registry.AddSecret, request)
            position = answer.position
            revoked = []
            if revoke_others:
                asked = pb.GetApplicationRequest(client_id=client_id, minimum_position=position)
                found = await services.ask(registry.GetApplication, asked)
                others = [one.secret_id for one in found.application.secrets if one.secret_id != answer.secret_id]
                for secret_id in others:
                    end = pb.RevokeSecretRequest(client_id=client_id, secret_id=secret_id)
                    position = (await services.ask(registry.RevokeSecret, end)).position
                    revoked.append(secret_id)
        found_now = {
            "client_id": client_id,
            "secret_id": answer.secret_id,
            "client_secret": answer.client_secret,
            "revoked": revoked,
            "position": position,
        }
        _print(found_now, as_json=as_json)
        if not as_json:
            output.say("The secret is shown this once; keep it safe.")

    output.run(work())


@app.command("revoke-secret")
def revoke_secret(
    client_id: ClientId,
    *,
    secret_id: Annotated[str, typer.Argument(show_default=False)],
    compromised: Annotated[
        bool, typer.Option("--compromised", help="Also end whatever the application was given until now.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Accept a secret no longer."""
    if compromised:
        report = pb.ReportSecretCompromisedRequest(client_id=client_id, secret_id=secret_id)
        _write("ReportSecretCompromised", report, f"{secret_id} is revoked, with all before", as_json=as_json)
    else:
        request = pb.RevokeSecretRequest(client_id=client_id, secret_id=secret_id)
        _write("RevokeSecret", request, f"{secret_id} is revoked", as_json=as_json)


@app.command("revoke-registration-token")
def revoke_registration_token(client_id: ClientId, *, as_json: Json = False) -> None:
    """Let an application that a program registered not manage itself any more (RFC 7592)."""
    request = registration_pb2.RevokeRegistrationAccessTokenRequest(client_id=client_id)

    async def work() -> None:
        async with Connection(default_path()) as services:
            answer = await services.ask(services.registration.RevokeRegistrationAccessToken, request)
        if as_json:
            output.document({"client_id": client_id, "position": answer.position})
        else:
            print(f"{client_id} is managed by administrators alone (position {answer.position})")

    output.run(work())


def _write(method: str, request: Any, done: str, *, as_json: bool) -> None:
    async def work() -> None:
        async with Connection(default_path()) as services:
            answer = await services.ask(getattr(services.registry, method), request)
        if as_json:
            output.document({"client_id": request.client_id, "position": answer.position})
        else:
            print(f"{done} (position {answer.position})")

    output.run(work())


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _words(values: list[str] | None) -> list[str] | None:
    """Several may come in one value, as in `--scope "read update"`."""
    return None if values is None else [word for value in values for word in value.split()]


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise typer.BadParameter(f"{file} cannot be read") from None


def _timestamp(at: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(at)
    return message


def _plain(application: pb.Application) -> dict[str, Any]:
    """On one level, as people think of it."""
    found = output.plain(application)
    settings = found.pop("settings") or {}
    return {"client_id": found.pop("client_id"), **settings, **found}


def _row(application: pb.Application) -> tuple[object, ...]:
    settings = application.settings
    return (
        application.client_id,
        settings.display_name,
        settings.type,
        " ".join(settings.scopes),
        application.enabled,
    )


def _print(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.document(found)
        return
    secrets = [
        f"{one['secret_id']}  added {one['added_at']}" + (f", until {one['expires_at']}" if one["expires_at"] else "")
        for one in found.get("secrets", ())
    ]
    output.facts({**found, **({"secrets": secrets} if secrets else {})})
