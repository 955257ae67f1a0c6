"""The custom resources that the chart and its examples use, as far as they do: names and kinds of their fields.

Of cert-manager.io/v1 and postgresql.cnpg.io/v1. A field that is not here is either misspelt or has to be looked up in
their reference before it is used.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
Duration = Annotated[str, StringConstraints(pattern=r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$", min_length=2)]
Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|Ki|Mi|Gi|Ti)?$")]


class Strict(BaseModel):
    """Every field is known, and has its type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Metadata(Strict):
    name: Name
    namespace: Name | None = None
    labels: dict[str, str] = {}


class PrivateKey(Strict):
    algorithm: Literal["RSA", "ECDSA", "Ed25519"]
    size: int
    rotationPolicy: Literal["Never", "Always"] | None = None  # noqa: N815  (their names)


class IssuerRef(Strict):
    name: Name
    kind: Literal["Issuer", "ClusterIssuer"]
    group: str


class CertificateSpec(Strict):
    secretName: Name  # noqa: N815
    commonName: Annotated[str, Field(max_length=64)] | None = None  # noqa: N815
    isCA: bool = False  # noqa: N815
    duration: Duration
    renewBefore: Duration  # noqa: N815
    privateKey: PrivateKey  # noqa: N815
    usages: list[Literal["digital signature", "server auth", "client auth", "cert sign", "crl sign"]]
    uris: list[str] = []
    dnsNames: list[str] = []  # noqa: N815
    issuerRef: IssuerRef  # noqa: N815


class Certificate(Strict):
    apiVersion: Literal["cert-manager.io/v1"]  # noqa: N815
    kind: Literal["Certificate"]
    metadata: Metadata
    spec: CertificateSpec


class Authority(Strict):
    secretName: Name  # noqa: N815


class IssuerSpec(Strict):
    selfSigned: dict[str, Any] | None = None  # noqa: N815
    ca: Authority | None = None


class Issuer(Strict):
    apiVersion: Literal["cert-manager.io/v1"]  # noqa: N815
    kind: Literal["Issuer"]
    metadata: Metadata
    spec: IssuerSpec


class InitDb(Strict):
    database: str
    owner: str
    encoding: str
    dataChecksums: bool  # noqa: N815


class Bootstrap(Strict):
    initdb: InitDb


class Storage(Strict):
    size: Quantity


class Synchronous(Strict):
    method: Literal["any", "first"]
    number: Annotated[int, Field(ge=1)]
    dataDurability: Literal["required", "preferred"]  # noqa: N815


class PostgresqlSettings(Strict):
    synchronous: Synchronous
    parameters: dict[str, str]


class Affinity(Strict):
    enablePodAntiAffinity: bool  # noqa: N815
    topologyKey: str  # noqa: N815


class ClusterSpec(Strict):
    instances: Annotated[int, Field(ge=1)]
    imageName: str = ""  # noqa: N815
    enableSuperuserAccess: bool  # noqa: N815
    bootstrap: Bootstrap
    storage: Storage
    walStorage: Storage  # noqa: N815
    postgresql: PostgresqlSettings
    affinity: Affinity
    resources: dict[str, dict[str, str]]


class Cluster(Strict):
    apiVersion: Literal["postgresql.cnpg.io/v1"]  # noqa: N815
    kind: Literal["Cluster"]
    metadata: Metadata
    spec: ClusterSpec


KINDS: dict[str, type[Strict]] = {"Certificate": Certificate, "Issuer": Issuer, "Cluster": Cluster}


def check(document: dict[str, Any]) -> None:
    """Raise `ValidationError` if the resource is not one."""
    KINDS[document["kind"]].model_validate(document)
