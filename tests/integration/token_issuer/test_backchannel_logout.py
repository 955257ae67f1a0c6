"""Back-channel logout: who is told of which end of a session, and what they are told."""

from collections.abc import AsyncIterator
from datetime import timedelta

import jwt
import pytest

from services.identity import events as identity
from services.registry import events as registry
from services.registry.events import ResponseAlgorithm
from services.token_issuer import signing
from services.token_issuer.backchannel import deliveries
from services.token_issuer.backchannel.deliveries import WAITS
from services.token_issuer.backchannel.logout_token import EVENT, LOGOUT_TOKEN
from services.token_issuer.events import KeyUse
from services.token_issuer.pruning import prune
from services.token_issuer.signing import generate
from shared.ids import new_command_id, new_id
from shared.log.append import Context
from tests.support.backchannel import Backchannel, told
from tests.support.backchannel import backchannel as backchannel  # noqa: PLC0414  (a fixture)
from tests.support.issuing import HUB, Stage
from tests.support.log_lines import LogLines
from tests.support.log_lines import log_lines as log_lines  # noqa: PLC0414  (a fixture)
from tests.support.receiver import Receiver, receiving, status
from tests.support.work import eventually

SETLIST = "com.setlist/app"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as running:
        yield running


@pytest.fixture
async def setlist() -> AsyncIterator[Receiver]:
    async with receiving(answer=status(204)) as running:
        yield running


async def at_once(stage: Stage) -> None:
    """What waits for its next attempt is due."""
    await stage.issuer.log.pool.execute("UPDATE token_issuer.logout_deliveries SET due_at = clock_timestamp()")


async def test_the_application_is_told(backchannel: Backchannel, receiver: Receiver) -> None:
    hub = await backchannel.hub(receiver.uri)
    freddie = await backchannel.signed_in(hub)
    backchannel.deliver()
    await backchannel.sign_out(freddie)
    await eventually(backchannel.settled)
    (token,) = receiver.tokens
    claims = backchannel.claims(token)
    assert (claims["sub"], claims["sid"], claims["aud"]) == (freddie.sub, freddie.sid, HUB)
    assert claims["events"] == {EVENT: {}}
    assert claims["exp"] - claims["iat"] == 120
    assert "nonce" not in claims
    assert set(claims) == {"iss", "sub", "aud", "iat", "exp", "jti", "sid", "events"}
    assert receiver.heads[0].startswith("POST /backchannel-logout HTTP/1.1")
    assert list(receiver.forms[0]) == ["logout_token"]


async def test_it_is_told_by_the_algorithm_of_its_id_tokens(backchannel: Backchannel, receiver: Receiver) -> None:
    """Back-Channel Logout 1.0 section 2.6."""
    stage = backchannel.stage
    hub = await backchannel.hub(receiver.uri, id_token_signed_response_alg=ResponseAlgorithm.ES256)
    freddie = await backchannel.signed_in(hub)
    backchannel.deliver()
    await backchannel.sign_out(freddie)
    await eventually(backchannel.settled)
    (token,) = receiver.tokens
    header = jwt.get_unverified_header(token)
    assert (header["alg"], header["kid"]) == ("ES256", stage.issuer.keys.signer(KeyUse.ID_TOKEN_ES256).kid)
    assert signing.read(token, stage.issuer.keys.find_for_id_tokens, LOGOUT_TOKEN) is not None


async def test_everybody_of_the_session_is_told_and_nobody_else(
    backchannel: Backchannel, receiver: Receiver, setlist: Receiver
) -> None:
    hub, other = await backchannel.hub(receiver.uri), await backchannel.hub(setlist.uri, SETLIST)
    silent = await backchannel.hub(None, "com.silent/app")
    freddie = await backchannel.signed_in(hub, other, silent)
    elsewhere = await backchannel.signed_in(hub, sub=freddie.sub)
    fan = await backchannel.signed_in(hub)
    backchannel.deliver()
    await backchannel.sign_out(freddie)
    await eventually(backchannel.settled)
    assert told(receiver, backchannel) == [(freddie.sub, freddie.sid)]
    assert told(setlist, backchannel, SETLIST) == [(freddie.sub, freddie.sid)]
    await backchannel.sign_out(elsewhere)
    await backchannel.sign_out(fan)
    await eventually(backchannel.settled)
    assert set(told(receiver, backchannel)[1:]) == {(elsewhere.sub, elsewhere.sid), (fan.sub, fan.sid)}
    assert len(setlist.tokens) == 1


async def test_who_redeemed_no_code_signed_nobody_in(backchannel: Backchannel, receiver: Receiver) -> None:
    stage = backchannel.stage
    hub = await backchannel.hub(receiver.uri)
    freddie = await backchannel.signed_in()
    person, position = await stage.sign_in(freddie.sub)
    await stage.issue(await stage.begin(hub), person, position)
    backchannel.deliver()
    await stage.of_user(freddie.sub, identity.PasswordReset(sub=freddie.sub))
    await backchannel.follow()
    await eventually(backchannel.settled)
    assert receiver.tokens == []


async def test_a_password_ends_the_other_sessions(backchannel: Backchannel, receiver: Receiver) -> None:
    hub = await backchannel.hub(receiver.uri)
    here = await backchannel.signed_in(hub)
    there = await backchannel.signed_in(hub, sub=here.sub)
    over = await backchannel.signed_in(hub, sub=here.sub)
    backchannel.deliver()
    await backchannel.sign_out(over)
    await eventually(backchannel.settled)
    changed = identity.PasswordChanged(sub=here.sub, kept_session=here.sid)
    await backchannel.stage.of_user(here.sub, changed)
    await backchannel.follow()
    await eventually(backchannel.settled)
    assert told(receiver, backchannel) == [(over.sub, over.sid), (there.sub, there.sid)]


@pytest.mark.parametrize("how", ["reset", "disabled"])
async def test_whatever_ends_all_sessions(backchannel: Backchannel, receiver: Receiver, how: str) -> None:
    hub = await backchannel.hub(receiver.uri)
    here = await backchannel.signed_in(hub)
    there = await backchannel.signed_in(hub, sub=here.sub)
    fan = await backchannel.signed_in(hub)
    backchannel.deliver()
    facts = {
        "reset": identity.PasswordReset(sub=here.sub),
        "disabled": identity.UserDisabled(sub=here.sub, reason=""),
    }
    await backchannel.stage.of_user(here.sub, facts[how])
    await backchannel.follow()
    await eventually(backchannel.settled)
    assert set(told(receiver, backchannel)) == {(here.sub, here.sid), (there.sub, there.sid)}
    assert fan.sid not in {sid for _, sid in told(receiver, backchannel)}


async def test_what_ends_no_session(backchannel: Backchannel, receiver: Receiver) -> None:
    stage, hub = backchannel.stage, await backchannel.hub(receiver.uri)
    freddie = await backchannel.signed_in(hub)
    backchannel.deliver()
    removed = identity.RolesChanged(sub=freddie.sub, roles=(), removed=(identity.Role.ADMINISTRATOR,))
    await stage.of_user(freddie.sub, removed, identity.UserDisabled(sub=freddie.sub, reason=""))
    await stage.of_user(freddie.sub, identity.UserEnabled(sub=freddie.sub))
    await stage.write(stage.identity, "consent-c", identity.ConsentWithdrawn(sub=freddie.sub, client_id=HUB))
    await backchannel.follow()
    await eventually(backchannel.settled)
    assert told(receiver, backchannel) == [(freddie.sub, freddie.sid)], "of being disabled"


async def test_it_is_tried_again_with_another_token(
    backchannel: Backchannel, receiver: Receiver, log_lines: LogLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "WAITS", (timedelta(hours=1),))
    receiver.answer = status(500)
    freddie = await backchannel.signed_in(await backchannel.hub(receiver.uri))
    backchannel.deliver()
    position = await backchannel.sign_out(freddie)
    await eventually(lambda: len(receiver.tokens) == 1)
    await eventually(lambda: bool(log_lines.named("logout_not_delivered")))

    async def kept() -> bool:
        (one,) = await backchannel.left()
        return one.attempts == 1 and one.failure == "status_500" and one.position == position

    await eventually(kept)
    receiver.answer = status(200)
    await at_once(backchannel.stage)
    await eventually(backchannel.settled)
    first, second = (backchannel.claims(token) for token in receiver.tokens)
    assert first["sid"] == second["sid"] == freddie.sid
    assert first["jti"] != second["jti"]
    for token in receiver.tokens:
        assert token not in log_lines.text


async def test_in_the_end_it_is_given_up_and_can_be_tried_by_hand(
    backchannel: Backchannel, receiver: Receiver, log_lines: LogLines
) -> None:
    stage = backchannel.stage
    receiver.answer = status(400)
    freddie = await backchannel.signed_in(await backchannel.hub(receiver.uri))
    backchannel.deliver()
    await backchannel.sign_out(freddie)
    for attempt in range(1, len(WAITS) + 2):

        async def failed(attempts: int = attempt) -> bool:
            return [one.attempts for one in await backchannel.left()] == [attempts]

        await eventually(failed)
        if attempt <= len(WAITS):
            await at_once(stage)
    (given_up,) = await backchannel.left(given_up=True)
    assert (given_up.due_at, given_up.failure, given_up.client_id) == (None, "status_400", HUB)
    assert len(log_lines.named("logout_given_up")) == 1
    assert len(receiver.tokens) == len(WAITS) + 1

    receiver.answer = status(200)
    assert await backchannel.questions.again([given_up.delivery_id + 1], None) == 0
    assert await backchannel.questions.again(None, SETLIST) == 0
    assert await backchannel.questions.again([given_up.delivery_id], HUB) == 1
    await eventually(backchannel.settled)


def test_the_waits_grow() -> None:
    assert list(WAITS) == sorted(WAITS)
    assert deliveries.wait_after(1) == WAITS[0]
    assert deliveries.wait_after(len(WAITS)) == WAITS[-1]
    assert deliveries.wait_after(len(WAITS) + 1) is None
    assert sum(WAITS, timedelta()) > timedelta(hours=12)


async def test_a_disabled_application_is_told_when_it_is_enabled(backchannel: Backchannel, receiver: Receiver) -> None:
    stage = backchannel.stage
    freddie = await backchannel.signed_in(await backchannel.hub(receiver.uri))
    await stage.of_application(registry.ApplicationDisabled(client_id=HUB, reason=""))
    await stage.follow()
    backchannel.deliver()
    await backchannel.sign_out(freddie)

    async def planned() -> bool:
        return [one.attempts for one in await backchannel.left()] == [0]

    await eventually(planned)
    assert receiver.tokens == []
    await stage.of_application(registry.ApplicationEnabled(client_id=HUB))
    await stage.follow()
    await eventually(backchannel.settled)
    assert told(receiver, backchannel) == [(freddie.sub, freddie.sid)]


async def test_what_nobody_can_be_told_any_more_is_let_go(backchannel: Backchannel, receiver: Receiver) -> None:
    stage, pool = backchannel.stage, backchannel.stage.issuer.log.pool
    receiver.answer = status(500)
    hub, other = await backchannel.hub(receiver.uri), await backchannel.hub(receiver.uri, SETLIST)
    backchannel.deliver()
    for client in (hub, other):
        await backchannel.sign_out(await backchannel.signed_in(client))

    async def failed(count: int = 2) -> bool:
        return [one.attempts for one in await backchannel.left()] == [1] * count

    await eventually(failed)
    await prune(pool)
    assert len(await backchannel.left()) == 2
    await stage.of_application(registry.ApplicationUninstalled(client_id=SETLIST), client_id=SETLIST)
    await stage.follow()
    await prune(pool)
    assert [one.client_id for one in await backchannel.left()] == [HUB]
    await pool.execute(
        "UPDATE token_issuer.logout_deliveries SET due_at = NULL, failed_at = failed_at - interval '29 days'"
    )
    await prune(pool)
    assert len(await backchannel.left()) == 1
    await pool.execute("UPDATE token_issuer.logout_deliveries SET failed_at = failed_at - interval '2 days'")
    await prune(pool)
    assert await backchannel.left() == []


async def test_a_grant_is_remembered_while_its_session_goes_on(backchannel: Backchannel, receiver: Receiver) -> None:
    """A session may be set to last for longer than anything that it gave."""
    pool = backchannel.stage.issuer.log.pool
    freddie = await backchannel.signed_in(await backchannel.hub(receiver.uri))
    for column in ("code_expires_at", "tokens_end_at", "refresh_expires_at"):
        await pool.execute(f"UPDATE token_issuer.grants SET {column} = {column} - interval '90 days'")  # noqa: S608
    await prune(pool)
    backchannel.deliver()
    await backchannel.sign_out(freddie)
    await eventually(backchannel.settled)
    assert told(receiver, backchannel) == [(freddie.sub, freddie.sid)]
    await prune(pool)
    assert await pool.fetchval("SELECT count(*) FROM token_issuer.grants") == 0


async def test_replicas_share_the_work(backchannel: Backchannel, receiver: Receiver) -> None:
    """Each logout is delivered once as long as nobody is killed, however many deliver."""
    hub = await backchannel.hub(receiver.uri)
    people = [await backchannel.signed_in(hub) for _ in range(12)]
    for _ in range(3):
        backchannel.deliver()
    for person in people:
        await backchannel.sign_out(person)
    await eventually(backchannel.settled)
    assert sorted(told(receiver, backchannel)) == sorted((person.sub, person.sid) for person in people)


async def test_what_a_killed_replica_had_taken_is_due_again(backchannel: Backchannel, receiver: Receiver) -> None:
    freddie = await backchannel.signed_in(await backchannel.hub(receiver.uri))
    position = await backchannel.sign_out(freddie)
    await backchannel.questions.plan(position, 10)
    lease = timedelta(seconds=60)
    (taken,) = await backchannel.questions.take({}, limit=10, each=4, lease=lease)
    assert await backchannel.questions.take({}, limit=10, each=4, lease=lease) == []
    assert (taken.sid, taken.uri) == (freddie.sid, receiver.uri)
    await at_once(backchannel.stage)
    backchannel.deliver()
    await eventually(backchannel.settled)
    assert told(receiver, backchannel) == [(freddie.sub, freddie.sid)]


async def test_who_comes_back_late_spoils_nothing(backchannel: Backchannel, receiver: Receiver) -> None:
    """A replica that was stopped in the middle, and says of an attempt that another has made since that it failed."""
    freddie = await backchannel.signed_in(await backchannel.hub(receiver.uri))
    await backchannel.questions.plan(await backchannel.sign_out(freddie), 10)
    (late,) = await backchannel.questions.take({}, limit=10, each=4, lease=timedelta())
    (now,) = await backchannel.questions.take({}, limit=10, each=4, lease=timedelta(seconds=60))
    await backchannel.questions.failed(late, "timeout", None)
    (left,) = await backchannel.left()
    assert (left.attempts, left.failure) == (0, None)
    assert await backchannel.questions.again(None, None) == 0, "somebody is sending it"
    await backchannel.questions.failed(now, "status_500", timedelta(seconds=60))
    (left,) = await backchannel.left()
    assert (left.attempts, left.failure) == (1, "status_500")


async def test_the_key_of_the_moment_signs(
    backchannel: Backchannel, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.token_issuer.key_changes.generate", generate)
    stage, hub = backchannel.stage, await backchannel.hub(receiver.uri)
    freddie = await backchannel.signed_in(hub)
    before = stage.issuer.keys.signer(KeyUse.ID_TOKEN).kid
    await stage.issuer.keys.compromise(before, Context("user:brian", new_id(), new_command_id()))
    backchannel.deliver()
    await backchannel.sign_out(freddie)
    await eventually(backchannel.settled)
    (token,) = receiver.tokens
    after = stage.issuer.keys.signer(KeyUse.ID_TOKEN).kid
    assert after != before
    assert backchannel.claims(token)["sid"] == freddie.sid


async def test_a_replica_that_is_behind_waits_until_it_knows_the_application(
    backchannel: Backchannel, receiver: Receiver
) -> None:
    """The address was registered after everything else that this replica has heard of the registry."""
    stage = backchannel.stage
    hub = await backchannel.hub(None)
    freddie = await backchannel.signed_in(hub)
    row = await stage.issuer.questions.known(HUB)
    assert row.application is not None
    told_at = row.application.settings.model_copy(update={"backchannel_logout_uri": receiver.uri})
    await stage.of_application(registry.ApplicationChanged(client_id=HUB, settings=told_at, narrowed=False))
    backchannel.deliver()
    await backchannel.sign_out(freddie)
    await eventually(backchannel.settled)
    assert told(receiver, backchannel) == [(freddie.sub, freddie.sid)]
