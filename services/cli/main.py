"""`stagedoor`: the commands, put together."""

import contextlib
import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated, Any

import typer

from protos.stagedoor.identity.v1 import identity_pb2 as identity
from services.cli import (
    apps,
    audit,
    evidence,
    initial_access,
    installing,
    keys,
    logouts,
    looking_back,
    oauth,
    output,
    passwords,
    profile,
    rebuild,
    reports,
    resources,
    tokens,
    users,
)
from services.cli.connection import Connection
from services.cli.output import Json
from services.cli.passwords import PasswordFile
from services.cli.profile import Profile
from shared.errors import Kind, Refusal

app = typer.Typer(
    name="stagedoor",
    help="Identity and access control: applications, resources, users, tokens, and the log of it all.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Boxes as wide as a terminal cut the names of options off, of which help is the place to read them.
    rich_markup_mode=None,
    add_completion=False,
)
apps.app.command("install")(installing.install)
app.add_typer(apps.app, name="apps")
app.add_typer(initial_access.app, name="initial-access")
app.add_typer(resources.app, name="resources")
app.add_typer(users.app, name="users")
app.add_typer(tokens.app, name="tokens")
app.add_typer(keys.app, name="keys")
app.add_typer(logouts.app, name="logouts")
audit.app.add_typer(evidence.app)
audit.app.add_typer(looking_back.app)
audit.app.add_typer(reports.app, name="report")
app.add_typer(audit.app, name="audit")
app.command("rebuild")(rebuild.rebuild)

Issuer = Annotated[str | None, typer.Option(help="The issuer, as its metadata says it.")]
Origin = Annotated[str | None, typer.Option(help="The instance's public origin.")]
Services = Annotated[
    list[str] | None,
    typer.Option("--service", help="NAME=HOST:PORT of registry, identity, token_issuer or ledger; repeated."),
]
CaFile = Annotated[Path | None, typer.Option(help="Authority of the services' certificates.")]
CertificateFile = Annotated[Path | None, typer.Option(help="The operator's certificate.")]
KeyFile = Annotated[Path | None, typer.Option(help="Its key.")]


@app.command()
def login(  # noqa: PLR0913  (each option says where something is)
    *,
    issuer: Issuer = None,
    origin: Origin = None,
    service: Services = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    device: Annotated[
        bool, typer.Option("--device", help="Show a code for a browser on another device, and wait for it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Sign in with the browser. Where the instance is, is taken from the profile, or is this machine's."""
    path = profile.default_path()

    async def work() -> None:
        there = _instance(path, issuer, origin, service, ca_file, certificate_file, key_file)
        signed_in = await (oauth.sign_in_elsewhere(there, _show) if device else oauth.sign_in(there, _open))
        async with profile.locked(path):
            profile.write(path, signed_in)
        if as_json:
            output.document({"issuer": signed_in.issuer, "profile": str(path), "expires_at": signed_in.expires_at})
        else:
            print(f"signed in at {signed_in.issuer}; the profile is {path}")

    output.run(work())


@app.command()
def bootstrap(  # noqa: PLR0913  (each option says where or who something is)
    user_name: Annotated[str, typer.Argument(help="Name of the first administrator.", show_default=False)],
    *,
    deploy_secret_file: Annotated[
        Path | None, typer.Option(help="Read the one-time deploy secret from this file; otherwise it is asked for.")
    ] = None,
    password_file: PasswordFile = None,
    issuer: Issuer = None,
    origin: Origin = None,
    service: Services = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Create the first administrator of a new instance; possible once."""
    path = profile.default_path()
    request = identity.BootstrapRequest(
        deploy_secret=passwords.read(deploy_secret_file, "Deploy secret"),
        user_name=user_name,
        password=passwords.read(password_file, "Password", confirm=True),
    )

    async def work() -> None:
        there = _instance(path, issuer, origin, service, ca_file, certificate_file, key_file)
        async with Connection(path, there) as services:
            answer = await services.ask(services.identity.Bootstrap, request, as_person=False)
        if as_json:
            output.document({"sub": answer.sub, "user_name": user_name, "position": answer.position})
        else:
            print(f"{user_name} is the first administrator; sign in: stagedoor login")

    output.run(work())


@app.command()
def migrate(
    *, check: Annotated[bool, typer.Option("--check", help="Change nothing; say which steps are pending.")] = False
) -> None:
    """Bring the database to what this version needs; may be run again at any time. It reads STAGEDOOR_MIGRATION_*."""
    # Whoever only calls services needs nothing of a database.
    from infra import migrate as migration  # noqa: PLC0415

    migration.run(only_check=check)


@app.command()
def up() -> None:
    """Run the local system with the demo data, until Ctrl-C."""
    # Only this command needs the local system's parts, which an installation elsewhere does not have.
    from infra.local import supervisor  # noqa: PLC0415

    supervisor.main()


def _instance(  # noqa: PLR0913, PLR0917  (the options, as they came)
    path: Path,
    issuer: str | None,
    origin: str | None,
    services: list[str] | None,
    ca_file: Path | None,
    certificate_file: Path | None,
    key_file: Path | None,
) -> Profile:
    """Where the instance is: as the options say, else as the profile says, else on this machine."""
    known = profile.read(path) if path.exists() else profile.local(profile.home(), _base())
    grpc = dict(known.grpc)
    for text in services or ():
        name, equals, address = text.partition("=")
        if name not in profile.SERVICES or not equals or ":" not in address:
            raise typer.BadParameter(f"a service is given as NAME=HOST:PORT, of {', '.join(profile.SERVICES)}")
        grpc[name] = address
    given: dict[str, Any] = {
        "issuer": issuer,
        "origin": origin,
        "ca_file": ca_file and ca_file.absolute(),
        "certificate_file": certificate_file and certificate_file.absolute(),
        "key_file": key_file and key_file.absolute(),
    }
    changed = {name: value for name, value in given.items() if value is not None}
    return known.model_copy(update={**changed, "grpc": grpc})


def _base() -> int:
    text = os.environ.get("STAGEDOOR_PORT_BASE", "8400")
    if not (text.isascii() and text.isdigit()):
        raise Refusal(Kind.INVALID, "bad_setting", "STAGEDOOR_PORT_BASE is not a number")
    return int(text)


def _open(address: str) -> None:
    """Show the address, and open a browser where there is one that would not take the terminal."""
    output.say(f"Sign in here:\n\n  {address}\n")
    windows = sys.platform in {"darwin", "win32"} or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")))
    if windows:
        with contextlib.suppress(webbrowser.Error):
            webbrowser.open(address)


def _show(code: oauth.DeviceCode) -> None:
    """Say where to type what."""
    output.say(f"Go to this address with a browser on any device:\n\n  {code.verification_uri}\n")
    output.say(f"and type this code:\n\n  {code.user_code}\n")
    if code.verification_uri_complete:
        output.say(f"Or go there with the code in it:\n\n  {code.verification_uri_complete}\n")


def main() -> None:
    """The program: exit status 0 done, 1 refused, 2 wrong usage."""
    app()


if __name__ == "__main__":
    main()
