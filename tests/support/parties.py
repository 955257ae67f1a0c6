"""Parties of mutual TLS in tests: certificates of an authority, and of nobody that anybody knows."""

from pathlib import Path

import pytest

from infra.local.certificates import Authority, Shown
from shared.rpc.tls import Tls


class Parties:
    """The certificates of one development authority, as a service reads them."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)

    def service(self, name: str) -> Tls:
        return self.read(self.authority.service(name))

    def operator(self) -> Tls:
        return self.read(self.authority.operator())

    def resource(self, name: str) -> Tls:
        return self.read(self.authority.resource(name))

    def read(self, shown: Shown) -> Tls:
        return Tls.read_files(self.authority.certificate, shown.certificate, shown.key)


@pytest.fixture(scope="session")
def parties(tmp_path_factory: pytest.TempPathFactory) -> Parties:
    return Parties(tmp_path_factory.mktemp("parties"))


@pytest.fixture(scope="session")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Parties:
    """Parties of another authority, with the same names."""
    return Parties(tmp_path_factory.mktemp("strangers"))
