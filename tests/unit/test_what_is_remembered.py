"""What a process remembers from one request to the next has a bound, however many different ones come."""

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import pytest

from services.identity import failed_sign_ins
from services.identity.failed_sign_ins import FailedSignIns
from services.registry.events import ApplicationSettings, ApplicationType, AuthMethod
from services.token_issuer import read_model, remembered
from services.token_issuer.assertions import keys as client_keys
from services.token_issuer.read_model import Asked, Questions
from services.token_issuer.references import uses
from services.token_issuer.references.uses import Uses
from services.token_issuer.remembered import Remembered
from services.token_issuer.same_as_before import SameAsBefore
from services.token_issuer.views import Application, Known
from shared import telemetry
from shared.evidence import tiles
from shared.evidence.tiles import Tiles
from shared.log.append import Append, AsOf, LogUnavailable
from stagedoor import denials, token
from stagedoor.denials import Denial, DenialKind, DenialRule, DenialView, Snapshot

NOW = datetime(1985, 7, 13, 18, 41, tzinfo=UTC)
MOST = 10


def view() -> DenialView:
    found = DenialView()
    found.replace(Snapshot(position=10, number=0, epoch=1, denials=()), 0.0)
    return found


def denial(number: int, kind: DenialKind = DenialKind.SESSION) -> Denial:
    return Denial(number=number, position=10 + number, epoch=1, kind=kind, id=f"{number}", rule=DenialRule.STANDING)


def test_answers_of_rules() -> None:
    same = SameAsBefore[str](MOST)
    part = object()
    for number in range(3 * MOST + 1):
        assert same.of(number, (part,), lambda: "found") == "found"
        assert 0 < len(same._answers) <= MOST
        assert same.of(number, (part,), lambda: "anew") == "found"


def test_answers_about_applications(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_model, "_MOST_REMEMBERED", MOST)
    questions = Questions(cast("Any", None))
    settings = ApplicationSettings(display_name="A", type=ApplicationType.NATIVE, auth_method=AuthMethod.NONE)
    application = Application("app", settings, enabled=True, secrets=())
    known = Known(1, AsOf(1, {}), application, ())
    for number in range(3 * MOST):
        questions._remember(Asked(f"app{number}", None, None, None, "[]"), known, "{}", 0.0)
        assert len(questions._remembered) == min(number + 1, MOST)
    assert Asked(f"app{3 * MOST - 1}", None, None, None, "[]") in questions._remembered
    questions._remembered.clear()
    questions._remember(Asked("nobody", None, None, None, "[]"), Known(1, AsOf(1, {}), None, ()), "{}", 0.0)
    questions._remember(Asked("app", "a-grant", None, None, "[]"), known, "{}", 0.0)
    assert not questions._remembered


def test_questions_that_were_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "_MOST", MOST)
    found = Remembered(view(), lambda: 1.0)
    for number in range(3 * MOST):
        caller = f"caller{number % 3}"
        found.of(caller)
        found.add(caller, b"%d" % number, found.stand, 60.0)
    assert sum(map(len, found._allowed.values())) == MOST


def test_addresses_of_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_keys, "_MOST_SETS", MOST)
    found = client_keys.ClientKeys()
    for number in range(3 * MOST):
        kept = found._of("https://first.example/jwks")
        found._of(f"https://{number}.example/jwks")
        assert found._of("https://first.example/jwks") is kept, "it was asked about all the while"
    assert len(found._sets) == MOST


class _OutOfReach:
    """A log, and tables, that cannot be reached. While they are asked, more comes."""

    def __init__(self) -> None:
        self.meanwhile: Any = None

    async def append(self, _: Append) -> None:
        self.meanwhile()
        raise LogUnavailable

    async def write_uses(self, _: Mapping[str, datetime]) -> list[str]:
        self.meanwhile()
        raise LogUnavailable


async def test_uses_of_reference_tokens_while_the_log_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uses, "_MOST", MOST)
    away: Any = _OutOfReach()
    found = Uses(away, away, lambda: NOW)
    more = iter(range(1000))

    def some_are_used() -> None:
        for _ in range(MOST):
            found.note(f"jti{next(more)}")

    some_are_used()
    away.meanwhile = some_are_used
    for _ in range(5):
        await found.write()
        assert len(found._seen) == MOST


async def test_failed_sign_ins_while_the_log_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failed_sign_ins, "_MOST", MOST)
    away: Any = _OutOfReach()
    found = FailedSignIns(away, lambda: NOW)
    more = iter(range(1000))

    def one_fails() -> None:
        found.wrong(f"sub{next(more)}")

    for _ in range(MOST):
        one_fails()
    away.meanwhile = one_fails
    for _ in range(5):
        await found.write()
        assert len(found._counts) <= MOST + 1
    assert sum(count.wrong for count in found._counts.values()) == next(more), "none is forgotten"


def test_paths_in_the_access_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "_MOST_PATHS", MOST)
    requests = telemetry._Requests()
    for number in range(3 * MOST):
        assert requests._path(f"/api/{number}") == f'"/api/{number}"'
        assert 0 < len(requests._paths) <= MOST


def test_scopes_of_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token, "_MOST_SCOPES", MOST)
    monkeypatch.setattr(token, "_SCOPES", {})
    for number in range(3 * MOST):
        assert token.scopes_of(f"read {number}") == {"read", str(number)}
        assert 0 < len(token._SCOPES) <= MOST


def test_denials_that_wait_for_one_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denials, "_HELD_BACK", MOST)
    found = view()
    for number in range(2, 3 * denials._UNANSWERED):
        found.apply(denial(number))
        found.vouch(1000 + number, 1000 + number, 1)
        assert 0 < len(found._early) <= MOST
    assert len(found._vouchers) == denials._UNANSWERED
    assert found.incomplete


def test_keys_that_were_told_of() -> None:
    found = view()
    for number in range(1, 3 * denials._KEYS_TOLD):
        found.apply(denial(number, DenialKind.KEY))
    assert len(found.keys_told) == denials._KEYS_TOLD


def test_tiles_of_the_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "_REMEMBERED", 3)
    tree = Tiles(tmp_path)
    leaves = b"".join(sha256(b"%d" % number).digest() for number in range(8 * 256))
    tree.grow(0, leaves)
    assert len(tree._remembered) == 3
    assert tree.leaves(0, 8 * 256) == leaves
    assert len(tree._remembered) == 3
