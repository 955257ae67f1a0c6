"""Makes what the containers of `infra/compose.yaml` are given beside their secrets; running it again changes nothing.

    python -m infra.compose.prepare <secrets> <prepared> [--own]

<secrets>                   what `secrets.sh` made; may hold `door.pem` and `door.key`, a certificate for the public
                            host, and `door-ca.pem`, its authority, where that is none that the world believes
<prepared>/authority/       the authority of the instance and all that it signed
<prepared>/<party>/         certificate.pem, key.pem and ca.pem of one party: a service, the console, postgres, nats-1
                            to nats-3, door; and issuer-ca.pem, what the public host's certificate is checked against
<prepared>/trust/           ca.pem alone, for the migration, which shows no certificate
<prepared>/nats-<n>/        its configuration, too, with the passwords
<prepared>/operator/        the same for the `stagedoor` command, and a profile that nobody is signed in with
<prepared>/data/            folders for the data of NATS and the ledger, and for what is received of PostgreSQL

With `--own`, as root, each folder is given to the user that its container runs as. Otherwise all stays with the caller.
Certificates last for two years, and are made anew at a run within the last third of that.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from datetime import timedelta
from json import dumps
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import certifi

from infra.local.certificates import Authority, Shown
from infra.local.failure import SystemFailure
from infra.local.nats import USERS
from infra.local.ports import SERVICES
from services.cli import profile
from shared.settings import as_browsers_write, read_secret

STAGEDOOR_USER: Final = 10001
"""User and group that the image of the services runs as, and the containers of NATS and of the door."""
POSTGRES_USER: Final = 999
"""User and group of the official image of PostgreSQL."""
NODES: Final = ("nats-1", "nats-2", "nats-3")
_LIFETIME: Final = timedelta(days=730)
_NATS: Final = Path(__file__).resolve().parent.parent / "nats.conf"
_GRPC: Final = {"registry": 9401, "identity": 9402, "token_issuer": 9403, "ledger": 9405}
"""Where Compose publishes what the `stagedoor` command calls."""


class Preparation:
    """One run."""

    def __init__(self, secrets: Path, prepared: Path, *, own: bool) -> None:
        self._secrets = secrets
        self._prepared = prepared
        self._own = own
        self._authority = Authority(prepared / "authority", leaf_lifetime=_LIFETIME)
        self._given = Shown(secrets / "door.pem", secrets / "door.key")
        if self._given.certificate.exists() != self._given.key.exists():
            raise SystemFailure(f"{self._given.certificate} and {self._given.key.name}: one of them is missing")

    def run(self, origin: str) -> None:
        """Make all that is missing or nears its end; `origin` is the public one."""
        for service in (*SERVICES, "console"):
            self._party(service, self._authority.service(service))
        self._party("postgres", self._authority.server("postgres", ("postgres", "localhost")), POSTGRES_USER)
        for node in NODES:
            # Whoever is told of a node by another may come by any of the names.
            self._party(node, self._authority.server(node, (node, *NODES, "nats", "localhost")))
            self._configure(node)
            self._data(node)
        trust = self._folder(self._prepared / "trust", STAGEDOOR_USER)
        self._write(trust / "ca.pem", self._authority.certificate.read_text(), 0o444, STAGEDOOR_USER)
        self._door(urlsplit(origin).hostname or "")
        self._operator(origin)
        self._data("evidence")
        self._data("archive", POSTGRES_USER)

    def _party(self, name: str, shown: Shown, user: int = STAGEDOOR_USER) -> Path:
        folder = self._folder(self._prepared / name, user)
        for file, source, mode in (
            ("ca.pem", self._authority.certificate, 0o444),
            ("issuer-ca.pem", self._issuer_authorities(), 0o444),
            ("certificate.pem", shown.certificate, 0o444),
            ("key.pem", shown.key, 0o400),
        ):
            self._write(folder / file, source.read_text(), mode, user)
        return folder

    def _issuer_authorities(self) -> Path:
        if not self._given.key.exists():
            return self._authority.certificate
        own = self._secrets / "door-ca.pem"
        return own if own.exists() else Path(certifi.where())

    def _data(self, name: str, user: int = STAGEDOOR_USER) -> None:
        self._folder(self._prepared / "data" / name, user)

    def _configure(self, node: str) -> None:
        """A node's configuration: the users as everywhere, and what is this node's."""
        folder = self._prepared / node
        self._write(folder / "nats.conf", _NATS.read_text(), 0o400, STAGEDOOR_USER)
        passwords = {user: self._secret(f"{user}.nats") for user in USERS}
        text = node_configuration(node, passwords, self._secret("route.nats"))
        self._write(folder / "local.conf", text, 0o400, STAGEDOOR_USER)

    def _door(self, host: str) -> None:
        """The certificate that clients are shown: the operator's own, or one of the instance's authority."""
        given = self._given.key.exists()
        self._party("door", self._given if given else self._authority.server("door", (host,)))

    def _operator(self, origin: str) -> None:
        folder = self._party("operator", self._authority.operator())
        path = folder / "profile.toml"
        if not path.exists():
            known = profile.Profile(
                issuer=f"{origin}/id",
                origin=origin,
                ca_file=folder / "ca.pem",
                certificate_file=folder / "certificate.pem",
                key_file=folder / "key.pem",
                grpc={name: f"127.0.0.1:{port}" for name, port in _GRPC.items()},
            )
            profile.write(path, known)
            self._give(path, STAGEDOOR_USER)

    def _secret(self, name: str) -> str:
        return read_secret(self._secrets / name, f"the secret {name}")

    def _folder(self, path: Path, user: int) -> Path:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._give(path, user)
        path.chmod(0o700)
        return path

    def _write(self, path: Path, text: str, mode: int, user: int) -> None:
        """Write a file that has all of the text or does not change."""
        if path.exists() and path.read_text() == text:
            return
        draft = path.with_name(f".{path.name}.new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
            file.write(text)
        self._give(draft, user)
        draft.replace(path)

    def _give(self, path: Path, user: int) -> None:
        if self._own:
            shutil.chown(path, user, user)


def node_configuration(node: str, passwords: Mapping[str, str], route: str) -> str:
    """What differs between the nodes of a cluster (`local.conf`, included by `nats.conf`).

    Clients and nodes show certificates of the instance's authority. A node has to know the password of routes besides:
    a stolen service's certificate makes nobody a node.
    """
    routes = [f"nats-route://route:{route}@{other}:6222" for other in NODES if other != node]
    tls = 'cert_file: "/tls/certificate.pem", key_file: "/tls/key.pem", ca_file: "/tls/ca.pem", verify: true'
    return "\n".join(_lines(node, passwords, route, routes, tls)) + "\n"


def _lines(node: str, passwords: Mapping[str, str], route: str, routes: list[str], tls: str) -> Iterable[str]:
    yield 'listen: "0.0.0.0:4222"'
    yield 'http: "0.0.0.0:8222"'
    yield f'server_name: "{node}"'
    yield 'jetstream { store_dir: "/data", max_memory_store: 64MB }'
    yield f"tls {{ {tls}, handshake_first: true }}"
    yield "cluster {"
    yield "  name: stagedoor"
    yield '  listen: "0.0.0.0:6222"'
    yield "  no_advertise: true"
    yield f"  authorization {{ user: route, password: {dumps(route)} }}"
    yield f"  tls {{ {tls} }}"
    yield f"  routes: {dumps(routes)}"
    yield "}"
    for user, password in passwords.items():
        yield f"{user.upper()}_PASSWORD: {dumps(password)}"


def main() -> None:
    """Prepare the folder that the arguments name, for the origin in `STAGEDOOR_ORIGIN`."""
    parser = argparse.ArgumentParser(description="Make the certificates and configurations of a Compose deployment.")
    parser.add_argument("secrets", type=Path)
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--own", action="store_true", help="give each folder to the user of its container; needs root")
    arguments = parser.parse_args()
    origin = as_browsers_write(os.environ.get("STAGEDOOR_ORIGIN", ""))
    if urlsplit(origin).scheme != "https" or not urlsplit(origin).hostname or origin.endswith("/"):
        sys.exit("stagedoor: STAGEDOOR_ORIGIN is the public origin, https://host or https://host:port")
    try:
        Preparation(arguments.secrets, arguments.prepared, own=arguments.own).run(origin)
    except SystemFailure as failure:
        sys.exit(f"stagedoor: {failure}")
    except OSError as failure:
        sys.exit(f"stagedoor: {failure.filename}: {failure.strerror}")


if __name__ == "__main__":
    main()
