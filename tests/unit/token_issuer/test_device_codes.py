"""The texts of device codes and user codes (RFC 8628 sections 3.2 and 6.1)."""

import math

import pytest

from services.token_issuer.authorization.device_codes import (
    ALPHABET,
    LENGTH,
    UserCodes,
    grant_of_device_code,
    new_device_code,
    new_user_code,
    read_user_code,
    shown,
)
from services.token_issuer.refreshing import RefreshTokens, grant_of_code, grant_of_refresh_token, new_code
from shared.ids import new_id
from shared.keys import MasterKey


def test_a_user_code_is_worth_34_bits_and_spells_no_word() -> None:
    assert LENGTH * math.log2(len(ALPHABET)) > 34
    assert len(set(ALPHABET)) == len(ALPHABET)
    assert not set("AEIOUY0123456789") & set(ALPHABET)
    codes = [new_user_code() for _ in range(1000)]
    assert len(set(codes)) == 1000
    assert set("".join(codes)) == set(ALPHABET)
    assert {read_user_code(shown(code)) for code in codes} == set(codes)


@pytest.mark.parametrize(
    "typed",
    [
        "WDJB-MJHT",
        "wdjb-mjht",
        "WDJBMJHT",
        " wdjb mjht ",
        "W D J B M J H T",
        "wdjb\u2013mjht",
        "WDJB\u00a0MJHT",
        "w.d_jb-mjht\n",
    ],
)
def test_it_may_be_typed_in_many_ways(typed: str) -> None:
    assert read_user_code(typed) == "WDJBMJHT"


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "WDJB",
        "WDJBMJHTX",
        "WDJBMJHA",
        "WDJB-MJH7",
        "WDJB/MJHT",
        "WDJBMJHT\0",
        "\u017fDJBMJHT",
        "\uff37\uff24\uff2a\uff22\uff2d\uff2a\uff28\uff34",
        "-" * 40 + "WDJB" + "-" * 40 + "MJHT",
        "sdd_x",
    ],
)
def test_anything_else_is_none(typed: str) -> None:
    assert read_user_code(typed) is None


def test_its_digest_needs_the_key() -> None:
    one, other = UserCodes(MasterKey(b"m" * 32)), UserCodes(MasterKey(b"x" * 32))
    assert one.digest("WDJBMJHT") == UserCodes(MasterKey(b"m" * 32)).digest("WDJBMJHT")
    assert one.digest("WDJBMJHT") != other.digest("WDJBMJHT")
    assert "WDJB" not in one.digest("WDJBMJHT")


def test_device_codes_are_told_from_other_codes() -> None:
    gid = new_id()
    code = new_device_code(gid)
    assert code != new_device_code(gid)
    assert grant_of_device_code(code) == gid
    assert grant_of_code(code) is None
    assert grant_of_refresh_token(code) is None
    for other in (
        new_code(gid),
        RefreshTokens(MasterKey(b"m" * 32)).first(gid),
        code[:-1],
        f"{code}\n",
        code.upper(),
        "",
    ):
        assert grant_of_device_code(other) is None
