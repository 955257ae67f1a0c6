"""Registers the suite's applications at the local system, and writes the configuration that its plans are created from.

    python -m infra.conformance [--suite https://localhost.emobix.co.uk:8443] [--alias stagedoor]

As whoever is signed in at the `stagedoor` command. It may be run again: applications that are there get other secrets.
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from infra.conformance import browser
from infra.local.home import Home
from protos.stagedoor.registry.v1 import registry_pb2 as pb
from services.cli import profile
from services.cli.connection import Connection
from shared.errors import Kind, Refusal

SUITE = "https://localhost.emobix.co.uk:8443"
"""Where the suite is when it runs on the same machine, as its own instructions have it."""
ALIAS = "stagedoor"
CLIENTS = {
    "client": "client_secret_basic",
    "client2": "client_secret_basic",
    "client_secret_post": "client_secret_post",
}
"""The suite's names for them, and how each authenticates."""


def settings(alias: str, suite: str, auth_method: str) -> pb.ApplicationSettings:
    """An application of the suite's. Its requests have no PKCE, but for those of the module about it."""
    here = f"{suite}/test/a/{alias}"
    return pb.ApplicationSettings(
        display_name="Conformance suite",
        type="confidential",
        redirect_uris=[f"{here}/callback"],
        post_logout_redirect_uris=[f"{here}/post_logout_redirect"],
        backchannel_logout_uri=f"{here}/backchannel_logout",
        backchannel_logout_session_required=True,
        scopes=[],
        grants=["authorization_code", "refresh_token"],
        auth_method=auth_method,
        require_pkce=False,
    )


def configuration(issuer: str, suite: str, alias: str, clients: dict[str, dict[str, str]]) -> dict[str, Any]:
    """One configuration for all plans that `docs/conformance.md` names."""
    return {
        "alias": alias,
        "description": "Stagedoor",
        "server": {
            "discoveryUrl": f"{issuer}/.well-known/openid-configuration",
            "login_hint": browser.USER_NAME,
        },
        **clients,
        "browser": browser.usual(issuer, suite),
        "override": {module: {"browser": entries} for module, entries in browser.of_modules(issuer, suite).items()},
    }


async def registered(path: Path, client_id: str, wanted: pb.ApplicationSettings) -> dict[str, str]:
    """The application's name and a secret of it."""
    async with Connection(path) as services:
        try:
            request = pb.RegisterApplicationRequest(client_id=client_id, settings=wanted)
            secret = (await services.ask(services.registry.RegisterApplication, request)).client_secret
        except Refusal as refusal:
            if refusal.kind is not Kind.ALREADY_EXISTS:
                raise
            known = await services.ask(services.registry.GetApplication, pb.GetApplicationRequest(client_id=client_id))
            for old in known.application.secrets:
                revoked = pb.RevokeSecretRequest(client_id=client_id, secret_id=old.secret_id)
                await services.ask(services.registry.RevokeSecret, revoked)
            added = await services.ask(services.registry.AddSecret, pb.AddSecretRequest(client_id=client_id))
            secret = added.client_secret
    return {"client_id": client_id, "client_secret": str(secret)}


async def write(suite: str, alias: str) -> Path:
    """Register, and write `conformance.json` into the home; answers where it is."""
    path = profile.default_path()
    clients = {
        name: await registered(
            path, f"net.openid.conformance/{alias}-{name.replace('_', '-')}", settings(alias, suite, method)
        )
        for name, method in CLIENTS.items()
    }
    home = Home(profile.home())
    file = home.path / "conformance.json"
    document = configuration(profile.read(path).issuer, suite, alias, clients)
    home.write_private(file, json.dumps(document, indent=2) + "\n")
    return file


def main() -> None:
    """Exit status 1 and one line on standard error where the system refuses."""
    parser = argparse.ArgumentParser(prog="python -m infra.conformance", description="Prepare for OpenID's suite.")
    parser.add_argument("--suite", default=SUITE, help="where the suite is, without a slash at the end")
    parser.add_argument("--alias", default=ALIAS, help="its name for this run; part of the redirect URIs")
    asked = parser.parse_args()
    try:
        print(asyncio.run(write(asked.suite, asked.alias)))
    except Refusal as refusal:
        print(f"stagedoor: {refusal.message} ({refusal.code})", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
