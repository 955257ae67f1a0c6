"""`stagedoor users`: people, and accounts of services."""

from typing import Annotated, Any

import typer
from google.protobuf.field_mask_pb2 import FieldMask

from protos.stagedoor.identity.v1 import identity_pb2 as pb
from services.cli import output, passwords
from services.cli.connection import Connection
from services.cli.output import Json
from services.cli.passwords import PasswordFile
from services.cli.profile import default_path

app = typer.Typer(help="Users: people, and accounts of services.", no_args_is_help=True)

UserArgument = Annotated[str, typer.Argument(metavar="USER", help="The user name.", show_default=False)]
BySub = Annotated[bool, typer.Option("--sub", help="USER is the sub, not the name.")]
Roles = Annotated[list[str] | None, typer.Option("--role", help="administrator, auditor; repeated.")]
GivenName = Annotated[str | None, typer.Option()]
FamilyName = Annotated[str | None, typer.Option()]
DisplayName = Annotated[str | None, typer.Option()]
Email = Annotated[str | None, typer.Option()]
EmailVerified = Annotated[bool | None, typer.Option("--email-verified/--email-not-verified")]
Locale = Annotated[str | None, typer.Option(help="BCP 47, like en-GB.")]
Zoneinfo = Annotated[str | None, typer.Option(help="IANA, like Europe/London.")]
PhoneNumber = Annotated[str | None, typer.Option("--phone", help="E.164, like +442079460958.")]
PhoneNumberVerified = Annotated[bool | None, typer.Option("--phone-verified/--phone-not-verified")]
StreetAddress = Annotated[str | None, typer.Option("--address", help="Street and house; may have several lines.")]
Locality = Annotated[str | None, typer.Option(help="City or town.")]
Region = Annotated[str | None, typer.Option()]
PostalCode = Annotated[str | None, typer.Option()]
Country = Annotated[str | None, typer.Option()]


@app.command()
def add(  # noqa: PLR0913  (each option is an attribute of a user)
    user: UserArgument,
    *,
    kind: Annotated[str, typer.Option(help="internal, community or service.")] = "internal",
    role: Roles = None,
    given_name: GivenName = None,
    family_name: FamilyName = None,
    display_name: DisplayName = None,
    email: Email = None,
    email_verified: EmailVerified = None,
    locale: Locale = None,
    zoneinfo: Zoneinfo = None,
    phone_number: PhoneNumber = None,
    phone_number_verified: PhoneNumberVerified = None,
    street_address: StreetAddress = None,
    locality: Locality = None,
    region: Region = None,
    postal_code: PostalCode = None,
    country: Country = None,
    password_file: PasswordFile = None,
    no_password: Annotated[bool, typer.Option("--no-password", help="Cannot sign in until one is set.")] = False,
    as_json: Json = False,
) -> None:
    """Add a user. The password is asked for, or read from standard input."""
    if no_password and password_file is not None:
        raise typer.BadParameter("--no-password and --password-file contradict each other")
    without = no_password or kind == "service"
    request = pb.RegisterUserRequest(
        user_name=user,
        kind=kind,
        roles=role or (),
        password="" if without else passwords.read(password_file, "Password", confirm=True),
        profile=pb.Profile(
            **_given(
                given_name=given_name,
                family_name=family_name,
                display_name=display_name,
                email=email,
                email_verified=email_verified,
                locale=locale,
                zoneinfo=zoneinfo,
                phone_number=phone_number,
                phone_number_verified=phone_number_verified,
                street_address=street_address,
                locality=locality,
                region=region,
                postal_code=postal_code,
                country=country,
            )
        ),
    )

    async def work() -> None:
        async with Connection(default_path()) as services:
            answer = await services.ask(services.identity.RegisterUser, request)
        if as_json:
            output.document({"sub": answer.sub, "user_name": user, "position": answer.position})
        else:
            print(f"{user} is added, with sub {answer.sub} (position {answer.position})")

    output.run(work())


@app.command("list")
def list_(*, as_json: Json = False) -> None:
    """List all users."""

    async def work() -> None:
        found: list[pb.User] = []
        request = pb.ListUsersRequest(page_size=1000)
        async with Connection(default_path()) as services:
            async for page in services.pages(services.identity.ListUsers, request):
                found += page.users
        if as_json:
            output.document([_plain(one) for one in found])
        else:
            headings = ("name", "kind", "roles", "enabled", "sub")
            output.rows(headings, [(u.user_name, u.kind, " ".join(u.roles), u.enabled, u.sub) for u in found])

    output.run(work())


@app.command()
def show(user: UserArgument, *, by_sub: BySub = False, as_json: Json = False) -> None:
    """Show one user."""

    async def work() -> None:
        async with Connection(default_path()) as services:
            request = pb.GetUserRequest(user=_key(user, by_sub=by_sub))
            _print((await services.ask(services.identity.GetUser, request)).user, as_json=as_json)

    output.run(work())


@app.command()
def change(  # noqa: PLR0913  (each option is an attribute of a user)
    user: UserArgument,
    *,
    role: Roles = None,
    no_roles: Annotated[bool, typer.Option("--no-roles", help="Take all roles away.")] = False,
    given_name: GivenName = None,
    family_name: FamilyName = None,
    display_name: DisplayName = None,
    email: Email = None,
    email_verified: EmailVerified = None,
    locale: Locale = None,
    zoneinfo: Zoneinfo = None,
    phone_number: PhoneNumber = None,
    phone_number_verified: PhoneNumberVerified = None,
    street_address: StreetAddress = None,
    locality: Locality = None,
    region: Region = None,
    postal_code: PostalCode = None,
    country: Country = None,
    by_sub: BySub = False,
    as_json: Json = False,
) -> None:
    """Replace the attributes that are named; all others stay. An empty value takes one away."""
    profile = _given(
        given_name=given_name,
        family_name=family_name,
        display_name=display_name,
        email=email,
        email_verified=email_verified,
        locale=locale,
        zoneinfo=zoneinfo,
        phone_number=phone_number,
        phone_number_verified=phone_number_verified,
        street_address=street_address,
        locality=locality,
        region=region,
        postal_code=postal_code,
        country=country,
    )
    named = [f"profile.{name}" for name in profile] + (["roles"] if role or no_roles else [])
    if not named or (role and no_roles):
        raise typer.BadParameter("say what to change")

    async def work() -> None:
        request = pb.ChangeUserRequest(
            user=_key(user, by_sub=by_sub),
            profile=pb.Profile(**profile),
            roles=role or (),
            mask=FieldMask(paths=named),
        )
        async with Connection(default_path()) as services:
            _print((await services.ask(services.identity.ChangeUser, request)).user, as_json=as_json)

    output.run(work())


@app.command()
def disable(
    user: UserArgument,
    *,
    reason: Annotated[str, typer.Option(help="Kept in the log for ever, in the clear; nothing about a person.")] = "",
    by_sub: BySub = False,
    as_json: Json = False,
) -> None:
    """Refuse the user's sign-ins and every token that names them, at once, until they are enabled."""
    request = pb.DisableUserRequest(user=_key(user, by_sub=by_sub), reason=reason)
    _write("DisableUser", request, user, "is disabled", as_json=as_json)


@app.command()
def enable(user: UserArgument, *, by_sub: BySub = False, as_json: Json = False) -> None:
    """Let the user, and the grants they gave, go on."""
    request = pb.EnableUserRequest(user=_key(user, by_sub=by_sub))
    _write("EnableUser", request, user, "is enabled", as_json=as_json)


@app.command()
def erase(
    user: UserArgument,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    by_sub: BySub = False,
    as_json: Json = False,
) -> None:
    """Leave nothing that tells who the user was, for ever. The log keeps that there was somebody, and proves it."""

    async def work() -> None:
        async with Connection(default_path()) as services:
            sub = user
            if not by_sub:
                request = pb.GetUserRequest(user=_key(user, by_sub=False))
                sub = (await services.ask(services.identity.GetUser, request)).user.sub
            if not yes:
                output.confirm(f"Erase {user} for ever? This cannot be undone.")
            answer = await services.ask(services.identity.EraseUser, pb.EraseUserRequest(sub=sub))
        if as_json:
            output.document({"user": user, "sub": sub, "position": answer.position})
        else:
            print(f"{user} is erased, sub {sub} (position {answer.position})")

    output.run(work())


@app.command("set-password")
def set_password(
    user: UserArgument,
    *,
    password_file: PasswordFile = None,
    by_sub: BySub = False,
    as_json: Json = False,
) -> None:
    """Set another password; all sessions and grants of the user end. It is asked for, or read from standard input."""
    password = passwords.read(password_file, "New password", confirm=True)
    request = pb.ResetPasswordRequest(user=_key(user, by_sub=by_sub), password=password)
    _write("ResetPassword", request, user, "has another password", as_json=as_json)


@app.command("reset-second-factor")
def reset_second_factor(user: UserArgument, *, by_sub: BySub = False, as_json: Json = False) -> None:
    """Take second factor and passkeys of somebody away who has lost them; all sessions and grants of the user end."""
    request = pb.ResetSecondFactorRequest(user=_key(user, by_sub=by_sub))
    _write("ResetSecondFactor", request, user, "has no second factor any more", as_json=as_json)


def _write(method: str, request: Any, user: str, done: str, *, as_json: bool) -> None:
    async def work() -> None:
        async with Connection(default_path()) as services:
            answer = await services.ask(getattr(services.identity, method), request)
        if as_json:
            output.document({"user": user, "position": answer.position})
        else:
            print(f"{user} {done} (position {answer.position})")

    output.run(work())


def _key(user: str, *, by_sub: bool) -> pb.UserKey:
    return pb.UserKey(sub=user) if by_sub else pb.UserKey(user_name=user)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _plain(user: pb.User) -> dict[str, Any]:
    """On one level, as people think of it."""
    found = output.plain(user)
    return {"sub": found.pop("sub"), "user_name": found.pop("user_name"), **(found.pop("profile") or {}), **found}


def _print(user: pb.User, *, as_json: bool) -> None:
    if as_json:
        output.document(_plain(user))
    else:
        output.facts(_plain(user))
