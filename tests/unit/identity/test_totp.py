"""Codes that change with the time, and those for when the telephone is gone."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.identity.read_model import RECOVERY_CODES, VAULT
from services.identity.recovery_codes import RecoveryCodes
from services.identity.totp import Seed, Seeds
from shared.keys import MasterKey
from shared.log.event import Put

MASTER, OTHER = MasterKey(b"a" * 32), MasterKey(b"b" * 32)
RFC = Seed(b"12345678901234567890")
"""RFC 6238 appendix B."""
NOW = datetime(1985, 7, 13, 12, 0, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_the_codes_are_those_of_the_standard(seconds: int, code: str) -> None:
    moment = datetime.fromtimestamp(seconds, UTC)
    assert RFC.code(moment) == code[2:]  # six digits are the last of its eight
    assert RFC.step_of(code[2:], moment) == seconds // 30


@given(st.integers(min_value=-6, max_value=6))
def test_a_step_before_and_one_after_count(steps: int) -> None:
    code = RFC.code(NOW + timedelta(seconds=30 * steps))
    found = RFC.step_of(code, NOW)
    assert found == (int(NOW.timestamp()) // 30 + steps if abs(steps) <= 1 else None)


@given(st.text(max_size=12))
def test_whatever_else_is_typed_is_no_code(typed: str) -> None:
    right = {RFC.code(NOW + timedelta(seconds=30 * steps)) for steps in (-1, 0, 1)}
    assert (RFC.step_of(typed, NOW) is not None) is (typed in right)


def test_a_seed_is_random_and_long_enough() -> None:
    seeds = Seeds(MASTER)
    assert len({seeds.new().raw for _ in range(100)}) == 100
    assert len(seeds.new().raw) == 20  # RFC 4226 section 4, R6
    assert seeds.new().raw.hex() not in repr(seeds.new())


def test_a_seed_opens_for_its_user_and_under_its_key_alone() -> None:
    seeds, seed = Seeds(MASTER), Seeds(MASTER).new()
    sealed = seeds.seal("freddie", seed)
    assert seeds.open("freddie", sealed) == seed
    assert seed.raw not in sealed
    for other, sub, text in (
        (seeds, "brian", sealed),
        (Seeds(OTHER), "freddie", sealed),
        (seeds, "freddie", sealed[:-1]),
        (seeds, "freddie", b"\x02" + sealed[1:]),
        (seeds, "freddie", b""),
    ):
        with pytest.raises(ValueError, match="sealed seed"):
            other.open(sub, text)


def test_what_is_used_up_is_the_step_of_this_seed() -> None:
    seeds, seed = Seeds(MASTER), Seeds(MASTER).new()
    used = seeds.used("freddie", seed, 7)
    assert used == seeds.used("freddie", seed, 7)
    others = (
        seeds.used("freddie", seed, 8),
        seeds.used("brian", seed, 7),
        seeds.used("freddie", seeds.new(), 7),
        Seeds(OTHER).used("freddie", seed, 7),
    )
    assert used.digest not in {other.digest for other in others}
    assert used.expires_at == datetime.fromtimestamp(7 * 30, UTC) + timedelta(days=1)


def test_the_address_for_the_app_says_all_that_it_needs() -> None:
    address = urlsplit(RFC.address("freddie", "Stagedoor login.example.com"))
    assert (address.scheme, address.netloc) == ("otpauth", "totp")
    assert unquote(address.path) == "/Stagedoor login.example.com:freddie"
    said = parse_qs(address.query)
    assert said["secret"] == [RFC.text.replace(" ", "")]
    assert (said["digits"], said["period"], said["algorithm"]) == (["6"], ["30"], ["SHA1"])


def test_recovery_codes_are_known_by_their_digests() -> None:
    codes = RecoveryCodes(MASTER)
    shown, rows = codes.new("freddie")
    left: dict[str, bytes] = {}
    for row in rows:
        assert isinstance(row, Put)
        assert (row.table, row.row["sub"]) == (VAULT, "freddie")
        value = row.row["value"]
        assert isinstance(value, bytes)
        left[str(row.row["kind"])] = value
    assert tuple(left) == RECOVERY_CODES
    names = set()
    for code in shown:
        for typed in (code, code.upper(), code.replace("-", ""), f" {code.replace('-', ' ')} "):
            found = codes.find("freddie", typed, left)
            assert found is not None
            names.add(found[0].digest)
        assert codes.find("brian", code, left) is None
        assert RecoveryCodes(OTHER).find("freddie", code, left) is None
    assert len(names) == 10
    for wrong in ("", "aaaa-aaaa-aaaa-aaaa", shown[0][:-1], shown[0] + "a", "1" * 500, "é" * 16):
        assert codes.find("freddie", wrong, left) is None
    assert codes.find("freddie", shown[0], {}) is None
