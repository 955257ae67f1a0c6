"""Tokens and registrations name an origin for ever, so a folder belongs to one."""

from pathlib import Path

import pytest

from infra.local.failure import SystemFailure
from infra.local.home import Home
from infra.local.ports import Ports, tls_wanted

PLAIN, SECURE, ELSEWHERE = Ports(8400).origin, Ports(8400, tls=True).origin, Ports(9400).origin


@pytest.mark.parametrize(
    ("first", "then", "way"),
    [
        (PLAIN, SECURE, "run it without TLS=1, or"),
        (SECURE, PLAIN, "run it with TLS=1, or"),
        (PLAIN, ELSEWHERE, "set STAGEDOOR_PORT_BASE to its port, or"),
    ],
)
def test_another_origin_is_refused_in_one_line(tmp_path: Path, first: str, then: str, way: str) -> None:
    home = Home(tmp_path)
    home.remember_origin(first)
    home.remember_origin(first)
    with pytest.raises(SystemFailure) as refused:
        home.remember_origin(then)
    said = str(refused.value)
    assert first in said
    assert way in said
    assert "\n" not in said
    assert (tmp_path / "origin").read_text() == f"{first}\n"


def test_the_addresses_over_https() -> None:
    assert SECURE == "https://localhost:8443"
    assert Ports(8400, tls=True).issuer == "https://localhost:8443/id"
    assert ("the front door", 8443) in Ports(8400, tls=True).listening()


def test_what_the_setting_says() -> None:
    assert [tls_wanted(said) for said in ({}, {"STAGEDOOR_TLS": "0"}, {"STAGEDOOR_TLS": "1"})] == [False, False, True]
    for wrong in ("yes", "2", " 1", "１"):  # noqa: RUF001  (a digit, but not of ASCII)
        with pytest.raises(SystemFailure, match="TLS has to be 1 or 0"):
            tls_wanted({"STAGEDOOR_TLS": wrong})
