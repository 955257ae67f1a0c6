"""Vendors that describe their applications in a document on this machine, for a registry in demo mode."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.web import Web, web

JSON = b"Content-Type: application/json\r\n"


@dataclass
class Vendor:
    """A web server with one document."""

    web: Web

    @property
    def document(self) -> str:
        return self.web.uri

    def describe(self, client_id: str = "example.setlist/app", **metadata: Any) -> None:
        """From now on the document says this; what is left out is right."""
        self.web.answer(200, json.dumps(described(client_id, **metadata)).encode(), JSON)


def described(client_id: str = "example.setlist/app", **metadata: Any) -> dict[str, Any]:
    """An application that signs people in, and has keys."""
    said = {
        "client_id": client_id,
        "client_name": "Setlist",
        "redirect_uris": ["https://setlist.example/callback"],
        "token_endpoint_auth_method": "private_key_jwt",
        "jwks_uri": "https://setlist.example/keys",
        "scope": "openid read",
        **metadata,
    }
    return {name: value for name, value in said.items() if value is not None}


@asynccontextmanager
async def vendor() -> AsyncIterator[Vendor]:
    """One that describes an application."""
    async with web() as running:
        found = Vendor(running)
        found.describe()
        yield found
