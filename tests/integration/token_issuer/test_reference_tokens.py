"""Reference tokens on a real log: who may have which made, what they say, and what ends them."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from services.identity import events as identity
from services.identity.events import Role, UserKind
from services.registry import events as registry
from services.registry.events import ReferenceTokens
from services.token_issuer.events import (
    ReferenceEndReason,
    ReferenceKind,
    ReferenceTokenIssued,
    ReferenceTokenRevoked,
    ReferenceTokenUsed,
)
from services.token_issuer.references.issuing import Maker, issue, revoke
from services.token_issuer.references.tables import ListedReference
from shared.errors import Refusal
from shared.ids import digest, new_id
from tests.support.issuing import API, HUB, ISSUER, MANAGEMENT, Stage, replica
from tests.support.postgres import Database
from tests.support.references import OPEN, change, context, judge, make, open_hub, wanted


async def refused(
    stage: Stage, sub: str, code: str, kind: ReferenceKind = ReferenceKind.PERSONAL, **asked: object
) -> None:
    with pytest.raises(Refusal) as refusal:
        await make(stage, sub, kind, **asked)
    assert refusal.value.code == code, refusal.value.message


async def listed(stage: Stage, sub: str) -> list[ListedReference]:
    await stage.follow()
    return await stage.issuer.questions.references.page(sub, None, stage.clock(), before=None, limit=100)


async def state(stage: Stage, sub: str) -> str:
    (only,) = await listed(stage, sub)
    return only.state


async def test_it_says_what_an_access_token_would(stage: Stage) -> None:
    await open_hub(stage)
    freddie = await stage.user()
    made = await make(stage, freddie)
    answer = await judge(stage, made.token, API, "read")
    assert answer.allowed
    (row,) = [r for r in await stage.issuer.log.read_rows(0, limit=1000) if r.type == ReferenceTokenIssued.stored_as]
    assert dict(answer.claims) == {
        "iss": ISSUER,
        "sub": freddie,
        "aud": [API],
        "client_id": HUB,
        "scope": "read",
        "iat": int(row.recorded_at.timestamp()),
        "exp": int(made.event.expires_at.timestamp()),
        "jti": made.event.jti,
        "pos": made.position,
        "epoch": row.epoch,
        "reference": "pat",
    }
    assert row.actor == f"user:{freddie}"


async def test_only_its_digest_is_kept_and_its_label_is_not_in_the_log(stage: Stage) -> None:
    await open_hub(stage)
    freddie = await stage.user()
    made = await make(stage, freddie, label="Mary's laptop")
    for row in await stage.issuer.log.read_rows(0, limit=1000):
        assert made.token not in row.data
        assert made.token[14:57] not in row.data
        assert "Mary" not in row.data
    assert made.event.digest == digest(made.token)
    assert made.token not in repr(made)
    (only,) = await listed(stage, freddie)
    assert (only.label, only.state, only.last_used_at) == ("Mary's laptop", "active", None)
    await revoke(stage.issuer, made.event.jti, ReferenceEndReason.BY_OWNER, freddie, context())
    (only,) = await listed(stage, freddie)
    assert (only.label, only.state) == ("", "revoked")


async def test_without_scopes_it_has_all_of_the_application(stage: Stage) -> None:
    await open_hub(stage)
    made = await make(stage, await stage.user(), scopes=())
    assert made.event.scopes == ("read", "update")
    assert (await judge(stage, made.token, API, "read", "update")).allowed


async def test_scopes_and_audiences_are_held_to(stage: Stage) -> None:
    await open_hub(stage)
    made = await make(stage, await stage.user())
    assert (await judge(stage, made.token, API, "update")).reason == "insufficient_scope"
    assert (await judge(stage, made.token, MANAGEMENT)).reason == "wrong_audience"
    assert (await judge(stage, made.token, None)).allowed


async def test_which_scopes_there_are(stage: Stage) -> None:
    await open_hub(stage, scopes=("read", "update", "sec"))
    brian = await stage.user(UserKind.INTERNAL, Role.ADMINISTRATOR)
    for scope in ("sec", "openid", "offline_access", "erase", "read sec", "x\ny"):
        await refused(stage, brian, "invalid_scope", scopes=(scope,))
    assert (await make(stage, brian, scopes=())).event.scopes == ("read", "update")


@pytest.mark.parametrize(
    ("policy", "roles", "code"),
    [
        (ReferenceTokens.NONE, (Role.ADMINISTRATOR,), "reference_tokens_not_allowed"),
        (ReferenceTokens.ADMINISTRATORS_ONLY, (), "reference_tokens_not_allowed"),
        (ReferenceTokens.ADMINISTRATORS_ONLY, (Role.AUDITOR,), "reference_tokens_not_allowed"),
        (ReferenceTokens.ADMINISTRATORS_ONLY, (Role.ADMINISTRATOR,), ""),
        (ReferenceTokens.AUTHENTICATED_USERS, (), ""),
    ],
)
async def test_the_policy_of_the_application(
    stage: Stage, policy: ReferenceTokens, roles: tuple[Role, ...], code: str
) -> None:
    await open_hub(stage, reference_tokens=policy)
    sub = await stage.user(UserKind.INTERNAL, *roles)
    if code:
        await refused(stage, sub, code)
        assert await stage.facts(ReferenceTokenIssued) == []
    else:
        assert (await judge(stage, (await make(stage, sub)).token)).allowed


async def test_which_users(stage: Stage) -> None:
    await open_hub(stage, user_kinds=(UserKind.INTERNAL,))
    fan, robot = await stage.user(UserKind.COMMUNITY), await stage.user(UserKind.SERVICE)
    await refused(stage, fan, "user_not_allowed")
    await refused(stage, robot, "user_not_allowed")
    await refused(stage, new_id(), "user_not_allowed")
    freddie = await stage.user()
    await stage.of_user(freddie, identity.UserDisabled(sub=freddie, reason=""))
    await refused(stage, freddie, "user_not_allowed")


@pytest.mark.parametrize("community", [False, True])
async def test_a_community_user_needs_the_resource_to_admit_them(stage: Stage, community: bool) -> None:
    await stage.register(OPEN)
    await stage.add_resources(community=community)
    fan = await stage.user(UserKind.COMMUNITY)
    if community:
        assert (await judge(stage, (await make(stage, fan)).token)).allowed
    else:
        await refused(stage, fan, "invalid_scope")


async def test_which_applications(stage: Stage) -> None:
    await open_hub(stage)
    freddie = await stage.user()
    await refused(stage, freddie, "application_not_found", client_id="com.mallory/app")
    await stage.of_application(registry.ApplicationDisabled(client_id=HUB, reason=""))
    await refused(stage, freddie, "application_disabled")


async def test_an_end_is_needed_and_within_bounds(stage: Stage) -> None:
    await open_hub(stage)
    freddie = await stage.user()
    for days in (-1, 367):
        await refused(stage, freddie, "invalid_expiry", expires_at=stage.clock() + timedelta(days=days))
    made = await make(stage, freddie, expires_at=stage.clock() + timedelta(hours=1))
    assert (await judge(stage, made.token)).allowed
    stage.clock.ahead += timedelta(hours=1, seconds=1)
    assert (await judge(stage, made.token)).reason == "expired"
    assert await state(stage, freddie) == "expired"


class TestServiceTokens:
    """They act as the application's service account, or as the application itself."""

    async def test_the_application_itself(self, stage: Stage) -> None:
        await open_hub(stage)
        brian = await stage.user(UserKind.INTERNAL, Role.ADMINISTRATOR)
        made = await make(stage, brian, ReferenceKind.SERVICE)
        answer = await judge(stage, made.token)
        assert (answer.claims["sub"], answer.claims["client_id"], answer.claims["reference"]) == (HUB, HUB, "sat")
        assert made.token.startswith("stagedoor_sat_")

    async def test_its_service_account(self, stage: Stage) -> None:
        robot = await stage.user(UserKind.SERVICE)
        await open_hub(stage, service_account=robot)
        brian = await stage.user(UserKind.INTERNAL, Role.ADMINISTRATOR)
        made = await make(stage, brian, ReferenceKind.SERVICE)
        assert (await judge(stage, made.token)).claims["sub"] == robot
        await stage.of_user(robot, identity.UserDisabled(sub=robot, reason=""))
        assert (await judge(stage, made.token)).reason == "denied_subject"
        await refused(stage, brian, "user_not_allowed", ReferenceKind.SERVICE)

    async def test_an_account_that_is_a_person(self, stage: Stage) -> None:
        freddie = await stage.user()
        await open_hub(stage, service_account=freddie)
        brian = await stage.user(UserKind.INTERNAL, Role.ADMINISTRATOR)
        await refused(stage, brian, "user_not_allowed", ReferenceKind.SERVICE)

    async def test_without_a_policy_there_are_none(self, stage: Stage) -> None:
        await open_hub(stage, reference_tokens=ReferenceTokens.NONE)
        await refused(stage, await stage.user(), "reference_tokens_not_allowed", ReferenceKind.SERVICE)


class TestWhatEndsThem:
    """Each at once, for whoever asks with the position of the fact."""

    async def test_the_owner(self, stage: Stage) -> None:
        await open_hub(stage)
        freddie = await stage.user()
        made = await make(stage, freddie)
        position = await revoke(stage.issuer, made.event.jti, ReferenceEndReason.BY_OWNER, freddie, context())
        assert (await judge(stage, made.token)).reason == "denied_token"
        assert await revoke(stage.issuer, made.event.jti, ReferenceEndReason.BY_OWNER, freddie, context()) == position
        (event,) = await stage.facts(ReferenceTokenRevoked)
        assert event == ReferenceTokenRevoked(
            jti=made.event.jti,
            client_id=HUB,
            sub=freddie,
            reason=ReferenceEndReason.BY_OWNER,
            expires_at=made.event.expires_at,
        )

    async def test_the_application_is_disabled_and_enabled(self, stage: Stage) -> None:
        await open_hub(stage)
        freddie = await stage.user()
        made = await make(stage, freddie)
        await stage.of_application(registry.ApplicationDisabled(client_id=HUB, reason=""))
        assert (await judge(stage, made.token)).reason == "denied_client"
        assert await state(stage, freddie) == "suspended"
        await stage.of_application(registry.ApplicationEnabled(client_id=HUB))
        assert (await judge(stage, made.token)).allowed
        assert await state(stage, freddie) == "active"

    async def test_the_user_is_disabled_and_enabled(self, stage: Stage) -> None:
        await open_hub(stage)
        freddie = await stage.user()
        made = await make(stage, freddie)
        await stage.of_user(freddie, identity.UserDisabled(sub=freddie, reason=""))
        assert (await judge(stage, made.token)).reason == "denied_subject"
        assert await state(stage, freddie) == "suspended"
        await stage.of_user(freddie, identity.UserEnabled(sub=freddie))
        assert (await judge(stage, made.token)).allowed

    async def test_somebody_else_resets_the_password(self, stage: Stage) -> None:
        await open_hub(stage)
        freddie, brian = await stage.user(), await stage.user()
        before, others = await make(stage, freddie), await make(stage, brian)
        await stage.of_user(freddie, identity.PasswordReset(sub=freddie))
        assert (await judge(stage, before.token)).reason == "denied_subject"
        assert await state(stage, freddie) == "ended"
        assert (await judge(stage, (await make(stage, freddie)).token)).allowed
        assert (await judge(stage, others.token)).allowed

    async def test_changing_ones_own_password_leaves_them(self, stage: Stage) -> None:
        await open_hub(stage)
        freddie = await stage.user()
        made = await make(stage, freddie)
        await stage.of_user(freddie, identity.PasswordChanged(sub=freddie, kept_session=None))
        assert (await judge(stage, made.token)).allowed

    async def test_consent_is_withdrawn(self, stage: Stage) -> None:
        await open_hub(stage)
        freddie, brian = await stage.user(), await stage.user()
        before, others = await make(stage, freddie), await make(stage, brian)
        await stage.write(stage.identity, f"consent-{new_id()}", identity.ConsentWithdrawn(sub=freddie, client_id=HUB))
        assert (await judge(stage, before.token)).reason == "denied_grant"
        assert (await judge(stage, others.token)).allowed
        assert (await judge(stage, (await make(stage, freddie)).token)).allowed

    async def test_the_application_is_uninstalled_for_ever(self, stage: Stage) -> None:
        await open_hub(stage)
        freddie = await stage.user()
        made = await make(stage, freddie)
        await stage.of_application(registry.ApplicationUninstalled(client_id=HUB))
        assert (await judge(stage, made.token)).reason == "denied_client"
        assert await state(stage, freddie) == "ended"

    async def test_fewer_may_have_them(self, stage: Stage) -> None:
        hub = await open_hub(stage)
        freddie = await stage.user()
        made, ordinary = await make(stage, freddie), await stage.tokens(hub, freddie)
        await change(
            stage, OPEN.model_copy(update={"reference_tokens": ReferenceTokens.NONE}), references_narrowed=True
        )
        assert (await judge(stage, made.token)).reason == "denied_token"
        assert await state(stage, freddie) == "ended"
        assert not hasattr(await stage.validate(ordinary["access_token"]), "reason")
        await change(stage, OPEN)
        assert (await judge(stage, made.token)).reason == "denied_token"
        assert (await judge(stage, (await make(stage, freddie)).token)).allowed

    async def test_the_application_may_do_less(self, stage: Stage) -> None:
        await open_hub(stage)
        made = await make(stage, await stage.user())
        await change(stage, OPEN.model_copy(update={"scopes": ("read",)}), narrowed=True)
        assert (await judge(stage, made.token)).reason == "denied_client"

    async def test_a_role_is_taken_away(self, stage: Stage) -> None:
        await open_hub(stage, reference_tokens=ReferenceTokens.ADMINISTRATORS_ONLY)
        brian = await stage.user(UserKind.INTERNAL, Role.ADMINISTRATOR)
        made = await make(stage, brian)
        await stage.of_user(brian, identity.RolesChanged(sub=brian, roles=(), removed=(Role.ADMINISTRATOR,)))
        assert (await judge(stage, made.token)).reason == "denied_subject"
        await refused(stage, brian, "reference_tokens_not_allowed")


async def test_nothing_is_made_past_a_kill_switch_that_was_not_heard_of(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await open_hub(stage)
    freddie = await stage.user()
    await stage.follow()
    append = stage.issuer.log.append

    async def late(command: object) -> object:
        monkeypatch.setattr(stage.issuer.log, "append", append)
        await stage.of_user(freddie, identity.UserDisabled(sub=freddie, reason=""))
        return await append(command)  # type: ignore[arg-type]

    monkeypatch.setattr(stage.issuer.log, "append", late)
    await refused(stage, freddie, "user_not_allowed")
    assert await stage.facts(ReferenceTokenIssued) == []


async def test_a_request_that_is_repeated_makes_no_second_one(stage: Stage) -> None:
    await open_hub(stage)
    freddie = await stage.user()
    asked, same = wanted(stage), context()
    outcomes = await asyncio.gather(
        *(issue(stage.issuer, asked, Maker(freddie), same) for _ in range(5)), return_exceptions=True
    )
    made = [one for one in outcomes if not isinstance(one, BaseException)]
    assert len(made) == 1
    assert {one.code for one in outcomes if isinstance(one, Refusal)} == {"reference_exists"}
    assert len(await stage.facts(ReferenceTokenIssued)) == 1
    another = await issue(stage.issuer, asked, Maker(await stage.user()), same)
    assert another.event.jti != made[0].event.jti


class TestSessions:
    """A maker who names a session has to have it."""

    async def test_an_open_one_of_theirs(self, stage: Stage) -> None:
        await open_hub(stage)
        freddie = await stage.user()
        person, _ = await stage.sign_in(freddie)
        made = await issue(stage.issuer, wanted(stage), Maker(freddie, person.sid), context())
        assert (await judge(stage, made.token)).allowed

    async def test_any_other(self, stage: Stage) -> None:
        await open_hub(stage)
        freddie, brian = await stage.user(), await stage.user()
        others, _ = await stage.sign_in(brian)
        ended, _ = await stage.sign_in(freddie)
        old, _ = await stage.sign_in(freddie, ago=timedelta(days=8))
        await stage.write(
            stage.identity,
            f"session-{ended.sid}",
            identity.SessionEnded(
                sub=freddie,
                sid=ended.sid,
                reason=identity.SessionEndReason.SIGNED_OUT,
                tokens_end_at=stage.clock() + timedelta(days=1),
            ),
        )
        for sid in (others.sid, ended.sid, old.sid, new_id()):
            with pytest.raises(Refusal) as refusal:
                await issue(stage.issuer, wanted(stage), Maker(freddie, sid), context())
            assert refusal.value.code == "session_over"
        assert await stage.facts(ReferenceTokenIssued) == []


class TestLastUse:
    """Told to the minute, and written seldom."""

    async def test_a_use_is_written_with_the_others(self, stage: Stage) -> None:
        await open_hub(stage)
        freddie = await stage.user()
        used, unused = await make(stage, freddie), await make(stage, freddie)
        for _ in range(20):
            assert (await judge(stage, used.token)).allowed
        assert (await judge(stage, used.token, MANAGEMENT)).reason == "wrong_audience"
        assert {one.last_used_at for one in await listed(stage, freddie)} == {None}
        await stage.uses.write()
        found = {one.reference.jti: one.last_used_at for one in await listed(stage, freddie)}
        assert found[unused.event.jti] is None
        first = found[used.event.jti]
        assert first is not None
        stage.clock.ahead += timedelta(seconds=30)
        await judge(stage, used.token)
        await stage.uses.write()
        assert {one.reference.jti: one.last_used_at for one in await listed(stage, freddie)} == found
        stage.clock.ahead += timedelta(seconds=40)
        await judge(stage, used.token)
        await stage.uses.write()
        later = {one.reference.jti: one.last_used_at for one in await listed(stage, freddie)}[used.event.jti]
        assert later is not None
        assert later - first > timedelta(seconds=60)

    async def test_the_first_use_on_each_day_is_a_fact_and_no_other_is(self, stage: Stage) -> None:
        await open_hub(stage)
        made = await make(stage, await stage.user())
        stage.clock.ahead += timedelta(days=1) - (stage.clock() - stage.clock().replace(hour=1))
        for hours, facts in ((0, 1), (5, 1), (12, 1), (7, 2), (2, 2)):
            stage.clock.ahead += timedelta(hours=hours)
            assert (await judge(stage, made.token)).allowed
            await stage.uses.write()
            used = [one for one in await stage.facts(ReferenceTokenUsed) if isinstance(one, ReferenceTokenUsed)]
            assert [one.jti for one in used] == [made.event.jti] * facts

    async def test_no_use_brings_back_what_was_forgotten(self, stage: Stage) -> None:
        await open_hub(stage)
        freddie = await stage.user()
        made = await make(stage, freddie)
        await judge(stage, made.token)
        await revoke(stage.issuer, made.event.jti, ReferenceEndReason.BY_OWNER, freddie, context())
        stage.clock.ahead += timedelta(minutes=2)
        await stage.uses.write()
        (only,) = await listed(stage, freddie)
        assert only.last_used_at is None

    async def test_what_cannot_be_written_waits(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        await open_hub(stage)
        freddie = await stage.user()
        made = await make(stage, freddie)
        await judge(stage, made.token)
        questions = stage.issuer.questions.references

        class Gone:
            async def fetch(self, *_: object) -> None:
                raise ConnectionError

        pool = questions._pool
        monkeypatch.setattr(questions, "_pool", Gone())
        await stage.uses.write()
        monkeypatch.setattr(questions, "_pool", pool)
        await stage.uses.write()
        (only,) = await listed(stage, freddie)
        assert only.last_used_at is not None


async def test_one_that_was_seen_needs_no_database(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    await open_hub(stage)
    made = await make(stage, await stage.user())
    asked = 0
    by_digest = stage.issuer.questions.references.by_digest

    async def counting(name: str) -> object:
        nonlocal asked
        asked += 1
        return await by_digest(name)

    monkeypatch.setattr(stage.issuer.questions.references, "by_digest", counting)
    for _ in range(10):
        assert (await stage.references.judge(made.token, audience=API)).allowed
    assert asked == 1


async def test_many_at_once_are_asked_for_together(stage: Stage) -> None:
    await open_hub(stage)
    freddie = await stage.user()
    made = [await make(stage, freddie) for _ in range(10)]
    answers = await asyncio.gather(*(judge(stage, one.token) for one in made))
    assert [one.claims["jti"] for one in answers] == [one.event.jti for one in made]


async def test_another_replica_judges_alike(stage: Stage, database: Database) -> None:
    await open_hub(stage)
    freddie = await stage.user()
    other, following = await replica(database, stage.clock)
    await following.reach((await other.log.head()).position)
    made = await issue(other, replace(wanted(stage), scopes=("update",)), Maker(freddie), context())
    assert (await judge(stage, made.token, API, "update")).allowed


async def test_nobody_has_more_than_a_hundred(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.token_issuer.references.issuing.MOST_ALIVE", 3)
    monkeypatch.setattr("services.token_issuer.domain.reference_token.MOST_ALIVE", 3)
    await open_hub(stage)
    freddie = await stage.user()
    made = [await make(stage, freddie) for _ in range(3)]
    await refused(stage, freddie, "too_many_references")
    await revoke(stage.issuer, made[0].event.jti, ReferenceEndReason.BY_OWNER, freddie, context())
    await make(stage, freddie)


async def test_what_ended_long_ago_is_found_in_the_tables(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A view is bounded, so it may have given up what stands against a token by the time that it is looked up."""
    await open_hub(stage)
    freddie, mary = await stage.user(), await stage.user()
    revoked, cut_off, good = await make(stage, freddie), await make(stage, mary), await make(stage, freddie)
    for made in (revoked, cut_off, good):
        assert (await judge(stage, made.token)).allowed
    await revoke(stage.issuer, revoked.event.jti, ReferenceEndReason.BY_OWNER, freddie, context())
    await stage.of_user(mary, identity.PasswordReset(sub=mary))
    await stage.follow()
    assert (await judge(stage, good.token)).allowed
    monkeypatch.setattr("services.token_issuer.references.matching.denied", lambda *_: None)
    monkeypatch.setattr("services.token_issuer.references.checks._DENIALS", -1)
    assert (await judge(stage, revoked.token)).reason == "denied_token"
    assert (await judge(stage, cut_off.token)).reason == "denied_subject"
    assert (await judge(stage, good.token)).allowed
