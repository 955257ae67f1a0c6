"""Applications, as they are registered and as they come to the token endpoint."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from protos.stagedoor.registry.v1 import registry_pb2 as registry_pb

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
NEED_PROOF = frozenset({"client_credentials", EXCHANGE})
"""Grants of applications that can prove to be themselves."""

Form = str | list[str]
"""The values of a parameter."""


@dataclass(frozen=True)
class Credentials:
    """How a client presents itself."""

    client_id: str
    secret: str | None
    in_form: bool = False

    def headers(self) -> dict[str, str]:
        if self.secret is None or self.in_form:
            return {}
        pair = f"{self.client_id.replace('/', '%2F')}:{self.secret}"
        return {"Authorization": "Basic " + b64encode(pair.encode()).decode()}

    def form(self, values: Mapping[str, Form]) -> dict[str, Form]:
        if self.secret is None:
            return {"client_id": self.client_id, **values}
        return {"client_id": self.client_id, "client_secret": self.secret, **values} if self.in_form else {**values}


def app_settings(
    *,
    confidential: bool,
    scopes: Sequence[str],
    grants: Sequence[str],
    redirect_uri: str | None = None,
    account: str | None = None,
    seconds: int = 0,
    references: str = "none",
) -> registry_pb.ApplicationSettings:
    return registry_pb.ApplicationSettings(
        display_name="An application",
        type="confidential" if confidential else "public",
        redirect_uris=[redirect_uri] if redirect_uri else [],
        service_account=account or "",
        scopes=scopes,
        grants=grants,
        access_token_seconds=seconds,
        reference_tokens=references,
    )


def scopes_of_api(names: Sequence[str]) -> list[registry_pb.Scope]:
    return [registry_pb.Scope(name=name, description=f"{name} your tours") for name in names]
