"""`stagedoor resources`: the APIs that accept tokens, and their scopes."""

from typing import Annotated, Any

import typer
from google.protobuf.field_mask_pb2 import FieldMask

from protos.stagedoor.registry.v1 import registry_pb2 as pb
from services.cli import output
from services.cli.connection import Connection
from services.cli.output import Json
from services.cli.profile import default_path

app = typer.Typer(help="Resources: the APIs that accept tokens.", no_args_is_help=True)

Identifier = Annotated[str, typer.Argument(help="Its identifier, the audience of its tokens.", show_default=False)]
Scopes = Annotated[
    list[str] | None,
    typer.Option("--scope", help='"read=see your tours": its name, and what an application can do with it; repeated.'),
]
Callers = Annotated[
    list[str] | None,
    typer.Option("--caller", help="Who may ask about its tokens: client:…, resource/…, service/…, operator; repeated."),
]
Community = Annotated[bool | None, typer.Option("--community/--no-community", help="Admits community users.")]


@app.command()
def register(  # noqa: PLR0913  (each option is a setting of a resource)
    identifier: Identifier,
    *,
    name: Annotated[str, typer.Option("--name", help="What people read.")],
    scope: Scopes = None,
    community: Community = None,
    caller: Callers = None,
    as_json: Json = False,
) -> None:
    """Let tokens be issued for an API."""
    settings = _settings(name=name, scopes=scope, community=community, callers=caller)

    async def work() -> None:
        request = pb.RegisterResourceRequest(identifier=identifier, settings=pb.ResourceSettings(**settings))
        async with Connection(default_path()) as services:
            answer = await services.ask(services.registry.RegisterResource, request)
        _print(answer, as_json=as_json)

    output.run(work())


@app.command("list")
def list_(*, as_json: Json = False) -> None:
    """List all resources."""

    async def work() -> None:
        async with Connection(default_path()) as services:
            answer = await services.ask(services.registry.ListResources, pb.ListResourcesRequest())
        if as_json:
            output.document([_plain(one) for one in answer.resources])
            return
        output.rows(
            ("identifier", "name", "scopes"),
            [
                (one.identifier, one.settings.display_name, " ".join(scope.name for scope in one.settings.scopes))
                for one in answer.resources
            ],
        )

    output.run(work())


@app.command()
def show(identifier: Identifier, *, as_json: Json = False) -> None:
    """Show one resource."""

    async def work() -> None:
        async with Connection(default_path()) as services:
            request = pb.GetResourceRequest(identifier=identifier)
            _print(await services.ask(services.registry.GetResource, request), as_json=as_json)

    output.run(work())


@app.command()
def change(  # noqa: PLR0913  (each option is a setting of a resource)
    identifier: Identifier,
    *,
    name: Annotated[str | None, typer.Option("--name", help="What people read.")] = None,
    scope: Scopes = None,
    community: Community = None,
    caller: Callers = None,
    clear: Annotated[list[str] | None, typer.Option(help="Empty this setting, by its name in --json.")] = None,
    as_json: Json = False,
) -> None:
    """Replace the settings that are named; all others stay. A list is replaced as a whole."""
    settings = _settings(name=name, scopes=scope, community=community, callers=caller)
    named = [*settings, *(clear or ())]
    if not named:
        raise typer.BadParameter("say what to change")

    async def work() -> None:
        request = pb.ChangeResourceRequest(
            identifier=identifier, settings=pb.ResourceSettings(**settings), mask=FieldMask(paths=named)
        )
        async with Connection(default_path()) as services:
            _print(await services.ask(services.registry.ChangeResource, request), as_json=as_json)

    output.run(work())


@app.command()
def remove(
    identifier: Identifier,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Let no token be issued for an API any more."""
    if not yes:
        output.confirm(f"Remove {identifier}?")

    async def work() -> None:
        async with Connection(default_path()) as services:
            request = pb.RemoveResourceRequest(identifier=identifier)
            answer = await services.ask(services.registry.RemoveResource, request)
        if as_json:
            output.document({"identifier": identifier, "position": answer.position})
        else:
            print(f"{identifier} is removed (position {answer.position})")

    output.run(work())


def _settings(
    *,
    name: str | None,
    scopes: list[str] | None,
    community: bool | None,
    callers: list[str] | None,
) -> dict[str, Any]:
    given = {
        "display_name": name,
        "scopes": None if scopes is None else [_scope(text) for text in scopes],
        "admits_community_users": community,
        "callers": callers,
    }
    return {setting: value for setting, value in given.items() if value is not None}


def _scope(text: str) -> pb.Scope:
    name, equals, description = text.partition("=")
    if not equals:
        raise typer.BadParameter(f'a scope is given as "{name}=what an application can do with it"')
    return pb.Scope(name=name, description=description)


def _plain(resource: pb.Resource) -> dict[str, Any]:
    found = output.plain(resource)
    return {"identifier": found.pop("identifier"), **(found.pop("settings") or {}), **found}


def _print(answer: Any, *, as_json: bool) -> None:
    found = _plain(answer.resource)
    if as_json:
        output.document(found)
    else:
        output.facts({**found, "scopes": [f"{one['name']}: {one['description']}" for one in found["scopes"]]})
