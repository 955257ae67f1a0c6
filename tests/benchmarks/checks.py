"""P1 and P2: what a check in the resource's own process costs, beside a library and beside the bare signature."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from rich.console import Console

from stagedoor import Allowed, Guard
from stagedoor.clock import since_boot
from stagedoor.denials import Denial, DenialKind, DenialRule, Snapshot
from stagedoor.token import AccessToken
from stagedoor.token import read as read_token
from tests.benchmarks.load import pinned
from tests.benchmarks.options import Options
from tests.benchmarks.result import Result, Target
from tests.benchmarks.rounds import Spread, percentile
from tests.support import sdk_tokens
from tests.support.sdk_tokens import AUDIENCE, ISSUER, SigningKey

_TOKENS = 1_000
_DENIALS = 10_000
_WARM_PASSES = 100
_AT_ONCE = 100
"""Warm checks that are timed together: one alone is hardly longer than looking at the clock."""
_HEAD = _DENIALS + 1_000
_KINDS = (
    DenialKind.TOKEN,
    DenialKind.GRANT,
    DenialKind.SESSION,
    DenialKind.SUBJECT,
    DenialKind.SUBJECT_SESSIONS,
    DenialKind.SUBJECT_CLIENT,
    DenialKind.CLIENT,
)


@dataclass(slots=True)
class _Pace:
    """Several rounds of one thing."""

    microseconds: list[float]
    """Of processor time for each token, by round."""
    errors: int = 0

    @property
    def rates(self) -> list[float]:
        return [1e6 / each for each in self.microseconds]


class _Desk:
    """A guard with denials, and tokens that it has to allow."""

    def __init__(self) -> None:
        self.key = SigningKey()
        self.tokens = [self._sign(number) for number in range(_TOKENS)]
        self.guard = sdk_tokens.guard(self.key)
        self.refresh()

    def _sign(self, number: int) -> str:
        """A token as the issuer spells it: without spaces, and its claims in the issuer's order."""
        header = {"alg": "ES256", "typ": "at+jwt", "kid": self.key.kid}
        return self.key.sign_raw(msgspec.json.encode(header), msgspec.json.encode(_claims(number)))

    def refresh(self) -> None:
        """Have the view vouched for anew: it is not the age of the view that is measured."""
        snapshot = Snapshot(position=_HEAD, number=_DENIALS, epoch=1, denials=_denials())
        self.guard.view.replace(snapshot, since_boot())

    def forget(self) -> None:
        """As if no token had ever been seen."""
        self.guard._memory.clear()

    def signed(self) -> list[tuple[bytes, bytes]]:
        """What each token's signature is over, and the signature as `cryptography` takes it."""
        found = []
        for token in self.tokens:
            content, _, signature = token.rpartition(".")
            raw = jwt.utils.base64url_decode(signature)
            der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
            found.append((content.encode(), der))
        return found


def _claims(number: int) -> dict[str, Any]:
    sid, gid = f"sid-{number}", f"gid-{number}"
    plain = sdk_tokens.claims(sub=f"sub-{number % 200}", jti=f"jti-{number}", sid=None, gid=None, pos=_DENIALS + number)
    return {**plain, "sid": sid, "gid": gid, "auth_time": plain["iat"], "amr": ["pwd"]}


def _denials() -> tuple[Denial, ...]:
    """Of others: every look-up of a check has a full dictionary before it, and finds nothing."""
    return tuple(
        Denial(
            number=number,
            position=number,
            epoch=1,
            kind=_KINDS[number % len(_KINDS)],
            id=f"somebody-else-{number}",
            rule=DenialRule.STANDING,
        )
        for number in range(1, _DENIALS + 1)
    )


async def warm(options: Options, console: Console) -> list[Result]:
    """P1: a token that was seen before."""
    console.print(f"  P1: {_TOKENS:,} tokens, {_DENIALS:,} denials")
    desk = _Desk()
    key = desk.key.ec.public_key()
    check = desk.guard.check
    scopes = ("read",)

    def checked() -> int:
        return sum(type(check(token, scopes=scopes)) is not Allowed for token in desk.tokens)

    def decoded() -> int:
        return sum(_decode(token, key)["iss"] != ISSUER for token in desk.tokens)

    first, second = _Pace([]), _Pace([])
    fifty, ninety_nine = [], []
    with pinned():
        errors = checked() + decoded()
        for _ in range(options.rounds):
            desk.refresh()
            errors += checked()
            _measure(first, checked, _WARM_PASSES)
            _measure(second, decoded, 1)
            times = _times(desk.guard, desk.tokens, scopes)
            fifty.append(percentile(times, 50))
            ninety_nine.append(percentile(times, 99))
    errors += first.errors + second.errors
    found = Spread.of(first.rates)
    what = f"warm check with {_DENIALS:,} denials"
    return [
        Result.of("P1", f"{what}, a core", "per s", found, target=Target(">=", 300_000), errors=errors),
        Result.of(
            "P1",
            f"{what}, beside PyJWT's decode of ES256",
            "per s",
            found,
            baseline=Spread.of(second.rates),
            ratio=Spread.ratio(first.rates, second.rates),
            target=Target(">=", 50, "ratio"),
            errors=errors,
        ),
        Result.of("P1", f"{what}: p50 (means of {_AT_ONCE})", "µs", Spread.of(fifty)),
        Result.of("P1", f"{what}: p99 (means of {_AT_ONCE})", "µs", Spread.of(ninety_nine)),
    ]


async def cold(options: Options, console: Console) -> list[Result]:
    """P2: a token that was never seen."""
    console.print(f"  P2: {_TOKENS:,} tokens")
    desk = _Desk()
    key, algorithm = desk.key.ec.public_key(), ec.ECDSA(SHA256())
    signed = desk.signed()

    def checked() -> int:
        desk.forget()
        return sum(type(desk.guard.check(token)) is not Allowed for token in desk.tokens)

    def read() -> int:
        keys = desk.guard._keys
        return sum(not isinstance(read_token(token, keys, ISSUER), AccessToken) for token in desk.tokens)

    def verified() -> int:
        for content, signature in signed:
            key.verify(signature, content, algorithm)  # raises for a wrong one
        return 0

    whole, reading, raw = _Pace([]), _Pace([]), _Pace([])
    with pinned():
        checked()
        verified()
        for _ in range(options.rounds):
            desk.refresh()
            _measure(raw, verified, 1)
            _measure(whole, checked, 1)
            _measure(reading, read, 1)
    return [
        Result.of(
            "P2",
            "cold check, beside a bare ES256 verification",
            "µs",
            Spread.of(whole.microseconds),
            baseline=Spread.of(raw.microseconds),
            ratio=Spread.ratio(whole.microseconds, raw.microseconds),
            target=Target("<=", 1.15, "ratio"),
            errors=whole.errors,
        ),
        Result.of(
            "P2",
            "of it, reading the token (form, JSON, signature, claims)",
            "µs",
            Spread.of(reading.microseconds),
            baseline=Spread.of(raw.microseconds),
            errors=reading.errors,
        ),
    ]


def _measure(pace: _Pace, work: Callable[[], int], passes: int) -> None:
    began = process_time()
    for _ in range(passes):
        pace.errors += work()
    pace.microseconds.append((process_time() - began) / passes / _TOKENS * 1e6)


def _times(guard: Guard, tokens: Sequence[str], scopes: tuple[str, ...]) -> list[float]:
    """Microseconds for a check, from the clock on the wall."""
    times = []
    for _ in range(20):
        for start in range(0, len(tokens), _AT_ONCE):
            began = perf_counter()
            for token in tokens[start : start + _AT_ONCE]:
                guard.check(token, scopes=scopes)
            times.append((perf_counter() - began) / _AT_ONCE * 1e6)
    return times


def _decode(token: str, key: ec.EllipticCurvePublicKey) -> dict[str, Any]:
    """What a careful resource would ask of PyJWT."""
    found: dict[str, Any] = jwt.decode(
        token,
        key,
        algorithms=["ES256"],
        audience=AUDIENCE,
        issuer=ISSUER,
        leeway=5,
        options={"require": ["exp", "iat", "aud", "iss", "sub"]},
    )
    return found
