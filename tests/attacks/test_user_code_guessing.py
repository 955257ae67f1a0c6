"""Somebody tries user codes, to let a device of theirs in, or somebody else's (RFC 8628 section 5.1).

How often that may be tried is for the pages, and tested there (`pages/test_user_code_guessing.py`).
"""

from datetime import timedelta

import pytest

from services.token_issuer.authorization import device
from services.token_issuer.authorization.device_codes import ALPHABET, new_user_code
from shared.errors import Refusal
from tests.support.devices import PUBLIC_DEVICE, TELEVISION, allowed, ask, begin, refuse
from tests.support.issuing import Stage


async def answer(stage: Stage, typed: str) -> tuple[str, str]:
    with pytest.raises(Refusal) as refused:
        await device.begin(stage.issuer, typed)
    return refused.value.code, refused.value.message


async def test_unknown_expired_and_used_codes_get_one_answer(stage: Stage) -> None:
    client = await stage.register(PUBLIC_DEVICE, TELEVISION, resources=True)
    used, person = await allowed(stage, client, await stage.user())
    said_no = await ask(stage, client)
    await refuse(stage, await begin(stage, said_no), person)
    expired = await ask(stage, client)
    stage.clock.ahead = timedelta(seconds=600)
    tried = (used.user_code, said_no.user_code, expired.user_code, new_user_code(), "", "AEIOU", "'; --", "B" * 9000)
    assert {await answer(stage, typed) for typed in tried} == {
        ("user_code_unknown", "This code is not known here, is too old, or was used before.")
    }


async def test_a_code_that_is_nearly_right_is_wrong(stage: Stage) -> None:
    client = await stage.register(PUBLIC_DEVICE, TELEVISION, resources=True)
    code = (await ask(stage, client)).user_code.replace("-", "")
    for place, letter in enumerate(code):
        other = ALPHABET[(ALPHABET.index(letter) + 1) % len(ALPHABET)]
        assert (await answer(stage, code[:place] + other + code[place + 1 :]))[0] == "user_code_unknown"


async def test_where_two_devices_show_one_code_neither_is_let_in(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody could tell whose it is, so the person begins anew."""
    client = await stage.register(PUBLIC_DEVICE, TELEVISION, resources=True)
    monkeypatch.setattr(device, "new_user_code", lambda: "WDJBMJHT")
    first = await ask(stage, client)
    await begin(stage, first)
    await ask(stage, client)
    assert (await answer(stage, first.user_code))[0] == "user_code_unknown"


async def test_a_code_is_no_key_to_the_tokens(stage: Stage) -> None:
    """Whoever looks over a shoulder sees the user code, which the token endpoint does not take."""
    client = await stage.register(PUBLIC_DEVICE, TELEVISION, resources=True)
    asked, _ = await allowed(stage, client, await stage.user())
    for code in (asked.user_code, asked.user_code.replace("-", "")):
        got = await stage.token(client, grant_type="urn:ietf:params:oauth:grant-type:device_code", device_code=code)
        assert got.json()["error"] == "invalid_grant"
