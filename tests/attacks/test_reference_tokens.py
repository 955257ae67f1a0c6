"""Reference tokens in the wrong hands: guessed, altered, borrowed from others, used after their end, or fished for."""

import asyncio
import zlib
from base64 import b64encode

import pytest

from services.identity import events as identity
from services.identity.events import UserKind
from services.registry import events as registry
from services.token_issuer.events import ReferenceEndReason, ReferenceKind, ReferenceTokenRevoked
from services.token_issuer.references.issuing import Made, revoke
from services.token_issuer.references.texts import ALPHABET, new_reference, text_of
from shared.errors import Refusal
from stagedoor import Denied
from stagedoor.verdict import Reason
from tests.support.issuing import API, CONFIDENTIAL, HUB, MANAGEMENT, Stage, error
from tests.support.log_lines import LogLines
from tests.support.log_lines import log_lines as log_lines  # noqa: PLC0414  (a fixture)
from tests.support.references import OPEN, context, judge, make, open_hub

OTHER = "com.mallory/app"


def checked(text: str) -> str:
    """The text with the check that belongs to it, which anybody can compute."""
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = ALPHABET[digit] + digits
    return text + digits


class TestGuessing:
    async def test_a_well_formed_guess_is_unknown(self, stage: Stage) -> None:
        await open_hub(stage)
        await make(stage, await stage.user())
        for number in (0, 1, (1 << 256) - 1):
            for kind in ReferenceKind:
                assert (await judge(stage, text_of(kind, number))).reason == "unknown_token"

    async def test_a_wrong_check_asks_nobody(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        await open_hub(stage)
        made = await make(stage, await stage.user())

        async def asked(_: str) -> None:
            raise AssertionError("the database was asked")

        monkeypatch.setattr(stage.issuer.questions.references, "by_digest", asked)
        text = made.token
        flipped = text[:-1] + ("0" if text[-1] != "0" else "1")
        swapped = text[:20] + text[21] + text[20] + text[22:] if text[20] != text[21] else flipped
        for wrong in (flipped, swapped, text[:-6], text + "0", text[:57] + "000000", f"{text}\n", text.upper()):
            assert (await stage.references.judge(wrong, audience=API)).reason == "malformed"

    async def test_the_same_unknown_one_over_and_over_asks_once(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = 0

        async def counting(_: str) -> None:
            nonlocal asked
            asked += 1

        monkeypatch.setattr(stage.issuer.questions.references, "by_digest", counting)
        guess = new_reference(ReferenceKind.PERSONAL)
        for _ in range(50):
            assert (await stage.references.judge(guess, audience=API)).reason == "unknown_token"
        assert asked == 1

    async def test_a_flood_of_guesses_takes_no_memory_and_none_of_the_good_ones(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("services.token_issuer.references.checks._REMEMBERED", 100)
        await open_hub(stage)
        made = await make(stage, await stage.user())
        for number in range(500):
            await stage.references.judge(text_of(ReferenceKind.PERSONAL, number), audience=API)
        assert len(stage.references._seen) <= 100
        assert (await judge(stage, made.token)).allowed


class TestAltering:
    async def test_the_other_kind_with_a_right_check(self, stage: Stage) -> None:
        await open_hub(stage)
        made = await make(stage, await stage.user())
        forged = checked("stagedoor_sat_" + made.token[14:57])
        assert (await judge(stage, forged)).reason == "unknown_token"

    async def test_a_kind_that_does_not_exist(self, stage: Stage) -> None:
        await open_hub(stage)
        made = await make(stage, await stage.user())
        forged = checked("stagedoor_xat_" + made.token[14:57])
        verdict = await stage.validate(forged)
        assert isinstance(verdict, Denied)
        assert verdict.reason is Reason.MALFORMED

    async def test_an_access_token_behind_the_prefix(self, stage: Stage) -> None:
        hub = await open_hub(stage)
        body = await stage.tokens(hub, await stage.user())
        for text in (f"stagedoor_pat_{body['access_token']}", checked("stagedoor_pat_" + body["access_token"])):
            assert (await judge(stage, text)).reason == "malformed"
            assert (await stage.introspect(hub, text)).json() == {"active": False}

    async def test_its_digest_is_no_token(self, stage: Stage) -> None:
        await open_hub(stage)
        made = await make(stage, await stage.user())
        for text in (made.event.digest, made.event.jti, f"stagedoor_pat_{made.event.digest[:49]}"):
            assert not (await judge(stage, text)).allowed

    @pytest.mark.parametrize(
        "text", ["stagedoor_pat_" + "0" * 100_000, "stagedoor_pat_\0", "stagedoor_pat_é" + "0" * 48]
    )
    async def test_what_no_token_can_be(self, stage: Stage, text: str) -> None:
        assert (await stage.references.judge(text, audience=API)).reason == "malformed"


class TestUsingItAfterItsEnd:
    async def test_of_a_disabled_user(self, stage: Stage) -> None:
        await open_hub(stage)
        freddie = await stage.user()
        made = await make(stage, freddie)
        assert (await judge(stage, made.token)).allowed
        await stage.of_user(freddie, identity.UserDisabled(sub=freddie, reason=""))
        assert (await judge(stage, made.token)).reason == "denied_subject"

    async def test_within_the_second_of_its_revocation(self, stage: Stage) -> None:
        """From the answer to the revocation on, not one is accepted, by those who ask without a position either."""
        await open_hub(stage)
        freddie = await stage.user()
        for _ in range(10):
            made = await make(stage, freddie)
            assert (await stage.references.judge(made.token, audience=API)).allowed
            position = await revoke(stage.issuer, made.event.jti, ReferenceEndReason.BY_OWNER, freddie, context())
            answer = await stage.references.judge(made.token, audience=API, min_position=position)
            assert answer.reason == "denied_token"
            assert (await stage.references.judge(made.token, audience=API)).reason == "denied_token"

    async def test_one_made_for_an_application_that_is_gone(self, stage: Stage) -> None:
        await open_hub(stage)
        made = await make(stage, await stage.user())
        await stage.of_application(registry.ApplicationUninstalled(client_id=HUB))
        assert (await judge(stage, made.token)).reason == "denied_client"

    async def test_racing_the_kill_switch(self, stage: Stage) -> None:
        """Whatever is made while the application is being disabled is refused afterwards."""
        await open_hub(stage)
        freddie = await stage.user()
        outcomes = await asyncio.gather(
            *(make(stage, freddie) for _ in range(10)),
            stage.of_application(registry.ApplicationDisabled(client_id=HUB, reason="")),
            *(make(stage, freddie) for _ in range(10)),
            return_exceptions=True,
        )
        for made in outcomes:
            if isinstance(made, Made):
                assert (await judge(stage, made.token)).reason == "denied_client"


class TestBorrowing:
    """A client asks about, or takes back, what is another's."""

    async def test_introspection_tells_a_stranger_nothing(self, stage: Stage) -> None:
        hub = await open_hub(stage)
        mallory = await stage.register(CONFIDENTIAL, OTHER)
        made = await make(stage, await stage.user())
        assert (await stage.introspect(mallory, made.token)).json() == {"active": False}
        assert (await stage.introspect(mallory, new_reference(ReferenceKind.PERSONAL))).json() == {"active": False}
        found = (await stage.introspect(hub, made.token)).json()
        assert (found["active"], found["jti"], found["scope"]) == (True, made.event.jti, "read")

    async def test_a_resource_learns_of_its_own_only(self, stage: Stage) -> None:
        await stage.register(OPEN)
        api = await stage.register(CONFIDENTIAL, "com.example/api")
        other = await stage.register(CONFIDENTIAL, OTHER)
        await stage.add_resources(callers=("client:com.example/api",))
        made = await make(stage, await stage.user())
        assert (await stage.introspect(api, made.token)).json()["active"] is True
        assert (await stage.introspect(other, made.token)).json() == {"active": False}

    async def test_a_stranger_revokes_nothing(self, stage: Stage) -> None:
        hub = await open_hub(stage)
        mallory = await stage.register(CONFIDENTIAL, OTHER)
        made = await make(stage, await stage.user())
        answer = await stage.revoke(mallory, made.token)
        assert (answer.status_code, error(answer)) == (400, "unauthorized_client")
        assert (await judge(stage, made.token)).allowed
        assert (await stage.revoke(mallory, new_reference(ReferenceKind.PERSONAL))).status_code == 200
        answer = await stage.revoke(hub, made.token)
        assert (answer.status_code, int(answer.headers["stagedoor-position"]) > made.position) == (200, True)
        assert (await judge(stage, made.token)).reason == "denied_token"
        assert (await stage.introspect(hub, made.token)).json() == {"active": False}
        (fact,) = await stage.facts(ReferenceTokenRevoked)
        assert fact.reason is ReferenceEndReason.BY_APPLICATION  # type: ignore[attr-defined]

    async def test_nobody_without_a_secret(self, stage: Stage) -> None:
        hub = await open_hub(stage)
        made = await make(stage, await stage.user())
        pair = b64encode(f"{hub.client_id.replace('/', '%2F')}:wrong".encode()).decode()
        for path in ("introspect", "revocation"):
            answer = await stage.http.post(
                f"/id/connect/{path}", data={"token": made.token}, headers={"Authorization": f"Basic {pair}"}
            )
            assert answer.status_code == 401
        assert (await judge(stage, made.token)).allowed

    async def test_another_audience(self, stage: Stage) -> None:
        await open_hub(stage)
        made = await make(stage, await stage.user())
        assert (await judge(stage, made.token, MANAGEMENT)).reason == "wrong_audience"

    async def test_it_is_no_refresh_token_and_no_code(self, stage: Stage) -> None:
        hub = await open_hub(stage)
        made = await make(stage, await stage.user())
        assert error(await stage.refresh(hub, made.token)) == "invalid_grant"
        assert error(await stage.redeem(hub, made.token)) == "invalid_grant"
        assert (await judge(stage, made.token)).allowed


async def test_it_is_in_no_line_of_the_log(stage: Stage, log_lines: LogLines) -> None:
    hub = await open_hub(stage)
    freddie = await stage.user()
    made = await make(stage, freddie)
    for text in (made.token, made.token + "x", new_reference(ReferenceKind.PERSONAL)):
        await judge(stage, text)
        await stage.introspect(hub, text)
        await stage.revoke(hub, text)
    assert log_lines.read()
    assert "stagedoor_pat_" not in log_lines.text
    assert made.token[14:40] not in log_lines.text


async def test_who_is_no_person_makes_none(stage: Stage) -> None:
    await open_hub(stage)
    with pytest.raises(Refusal) as refusal:
        await make(stage, await stage.user(UserKind.SERVICE))
    assert refusal.value.code == "user_not_allowed"
