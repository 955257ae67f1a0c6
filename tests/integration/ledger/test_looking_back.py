"""What was at a moment, and why a token was accepted or refused, over gRPC and from facts alone."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from protos.stagedoor.ledger.v1 import ledger_pb2 as pb
from services.identity import events as identity
from services.identity.domain.consent import consent_id
from services.ledger import past
from services.registry import events as registry
from services.token_issuer import events as issuer
from shared.log.append import Appended
from shared.log.event import Event, Personal
from tests.integration.ledger.serving import Serving

CLIENT = "com.example/app"
FAR = datetime(2100, 1, 1, tzinfo=UTC)
SETTINGS = registry.ApplicationSettings(
    display_name="An application",
    type=registry.ApplicationType.CONFIDENTIAL,
    auth_method=registry.AuthMethod.CLIENT_SECRET_BASIC,
    scopes=("read",),
    grants=(registry.GrantType.CLIENT_CREDENTIALS,),
)


def opened(**other: Any) -> issuer.GrantOpened:
    values: dict[str, Any] = {
        "gid": "gid",
        "client_id": CLIENT,
        "sub": "freddie",
        "sid": "sid",
        "scopes": ("read",),
        "audiences": ("https://api.example",),
        "redirect_uri": "https://app.example/callback",
        "redirect_uri_given": True,
        "code_digest": "c" * 64,
        "code_challenge": "challenge",
        "nonce": "nonce",
        "auth_time": datetime(2026, 1, 1, tzinfo=UTC),
        "amr": ("pwd",),
        "opened_at": datetime(2026, 1, 1, tzinfo=UTC),
        "code_expires_at": FAR,
        "refresh_expires_at": FAR,
    }
    return issuer.GrantOpened(**{**values, **other})


def redeemed(jti: str = "jti", seconds: int = 3600) -> issuer.CodeRedeemed:
    return issuer.CodeRedeemed(
        gid="gid",
        jti=jti,
        scopes=("read",),
        audiences=("https://api.example",),
        access_token_seconds=seconds,
        refresh_digest="r" * 64,
        tokens_end_at=FAR,
    )


def key(kid: str) -> issuer.SigningKeyCreated:
    return issuer.SigningKeyCreated(kid=kid, algorithm="ES256", use=issuer.KeyUse.ACCESS_TOKEN, public_jwk={})


@dataclass
class Asking:
    """Somebody who asks about the past, and whoever writes it."""

    ledger: Serving

    async def write(self, stream: str, *events: Event) -> Appended:
        return await self.ledger.facts.write(stream, *events)

    async def as_of(self, kind: str, its_id: str, *, token: str = "auditor", **asked: Any) -> pb.State:
        request = pb.AsOfRequest(kind=kind, id=its_id, moment=_moment(asked), **asked)
        answers = await self._ask(self.ledger.stub.AsOf, request, token)
        state: pb.State = answers[-1].state
        return state

    async def told(self, kind: str, its_id: str, **asked: Any) -> dict[str, Any]:
        state = await self.as_of(kind, its_id, **asked)
        assert state.knowledge == "known"
        found: dict[str, Any] = json.loads(state.data)
        return found

    async def explain(self, jti: str, *, token: str = "auditor", **asked: Any) -> pb.Explanation:
        request = pb.ExplainRequest(jti=jti, moment=_moment(asked), **asked)
        answers = await self._ask(self.ledger.stub.Explain, request, token)
        explanation: pb.Explanation = answers[-1].explanation
        return explanation

    async def refused(self, asking: Any) -> str:
        """The code of a refusal, which writes nothing down."""
        head = (await (await self.ledger.facts.log("ledger")).head()).position
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await asking
        assert (await (await self.ledger.facts.log("ledger")).head()).position == head
        return f"{refusal.value.code().name}: {refusal.value.details()}"

    async def a_token(self) -> int:
        """An application, a user, a key and a token; answers the token's position."""
        await self.write(f"application-{CLIENT}", registry.ApplicationRegistered(client_id=CLIENT, settings=SETTINGS))
        await self.write("keys-signing", key("kid"), issuer.SigningKeyActivated(kid="kid"))
        await self.write("grant-gid", opened())
        return (await self.write("grant-gid", redeemed())).position

    async def _ask(self, method: Any, request: Any, token: str) -> list[Any]:
        metadata = (("authorization", f"Bearer {token}"),)
        return [answer async for answer in method(request, metadata=metadata, timeout=20)]


def _moment(asked: dict[str, Any]) -> pb.Moment:
    moment = pb.Moment()
    position, time = asked.pop("position", None), asked.pop("time", None)
    if position is not None:
        moment.position = position
    if time is not None:
        moment.time.FromDatetime(time)
    return moment


@pytest.fixture
async def asking(ledger: Serving) -> Asking:
    return Asking(ledger)


async def test_an_application_is_told_of_as_it_was_at_each_position(asking: Asking) -> None:
    stream = f"application-{CLIENT}"
    before = await asking.write("user-other", identity.PasswordSet(sub="other"))
    first = await asking.write(
        stream,
        registry.ApplicationRegistered(client_id=CLIENT, settings=SETTINGS),
        registry.SecretAdded(client_id=CLIENT, secret_id="one", secret_digest="d" * 64, expires_at=None),
    )
    off = await asking.write(stream, registry.ApplicationDisabled(client_id=CLIENT, reason="lost"))
    await asking.write(stream, registry.ApplicationEnabled(client_id=CLIENT))
    gone = await asking.write(stream, registry.ApplicationUninstalled(client_id=CLIENT))
    assert (await asking.as_of("application", CLIENT, position=before.position)).knowledge == "none"
    assert (await asking.told("application", CLIENT, position=first.position - 1))["secrets"] == []
    told = await asking.told("application", CLIENT, position=first.position)
    assert (told["state"], told["enabled"], told["display_name"]) == ("trusted", True, "An application")
    assert told["secrets"] == [
        {"secret_id": "one", "valid": True, "expires_at": None, "revoked": False, "compromised": False}
    ]
    assert "d" * 64 not in json.dumps(told)
    assert not (await asking.told("application", CLIENT, position=off.position))["enabled"]
    assert not (await asking.told("application", CLIENT, time=off.recorded_at))["enabled"]
    earlier = off.recorded_at - timedelta(microseconds=1)
    assert (await asking.told("application", CLIENT, time=earlier))["enabled"]
    assert (await asking.told("application", CLIENT, position=off.position + 1))["enabled"]
    now = await asking.as_of("application", CLIENT)
    assert json.loads(now.data) == {"client_id": CLIENT, "state": "uninstalled"}
    assert (now.changed.position, now.changed.type) == (gone.position, "registry.ApplicationUninstalled")
    assert (await asking.as_of("application", "com.example/other")).knowledge == "none"


async def test_a_resource_is_told_of_among_the_others(asking: Asking) -> None:
    scopes = (registry.Scope(name="read", description="read it"),)
    settings = registry.ResourceSettings(display_name="One", scopes=scopes)
    from services.registry.domain.resource import resource_id  # noqa: PLC0415

    for identifier in ("https://one.example", "https://two.example"):
        event = registry.ResourceRegistered(
            resource_id=resource_id(identifier), identifier=identifier, settings=settings
        )
        await asking.write("resource-catalogue", event)
    removed = await asking.write(
        "resource-catalogue", registry.ResourceRemoved(resource_id=resource_id("https://one.example"))
    )
    assert (await asking.as_of("resource", "https://one.example")).knowledge == "none"
    there = await asking.as_of("resource", "https://one.example", position=removed.position - 1)
    assert json.loads(there.data)["scopes"] == [{"name": "read", "description": "read it"}]
    assert there.changed.position == removed.position - 2


async def test_of_a_user_nothing_personal_is_told_and_what_was_erased_is_said_to_be(asking: Asking) -> None:
    profile = identity.Profile(given_name=Personal("Freddie"), email=Personal("f@example.org"), email_verified=True)
    registered = await asking.write(
        "user-freddie",
        identity.UserRegistered(
            sub="freddie",
            user_name=Personal("freddie"),
            kind=identity.UserKind.INTERNAL,
            profile=profile,
            roles=(identity.Role.AUDITOR,),
        ),
    )
    await asking.write("user-freddie", identity.UserDisabled(sub="freddie", reason="left"))
    told = await asking.told("user", "freddie", position=registered.position)
    assert told == {
        "sub": "freddie",
        "kind": "internal",
        "enabled": True,
        "roles": ["auditor"],
        "has_password": False,
        "second_factor": None,
        "passkeys": 0,
        "erased": False,
        "profile": {
            "given_name": "(personal)",
            "email": "(personal)",
            "email_verified": True,
            "phone_number_verified": False,
        },
    }
    assert not (await asking.told("user", "freddie"))["enabled"]
    await asking.write("user-freddie", identity.UserErased(sub="freddie"))
    now = await asking.told("user", "freddie")
    assert (now["erased"], now["enabled"], now["roles"]) == (True, False, [])
    then = await asking.told("user", "freddie", position=registered.position)
    assert (then["erased"], then["roles"]) == (False, ["auditor"])
    assert (then["profile"]["given_name"], then["profile"]["email"]) == ("(erased)", "(erased)")


async def test_a_grant_is_told_of_without_what_stands_for_its_secrets(asking: Asking) -> None:
    await asking.a_token()
    ended = await asking.write(
        "grant-gid", issuer.GrantEnded(gid="gid", reason=issuer.GrantEndReason.CODE_REUSED, tokens_end_at=FAR)
    )
    before = await asking.told("grant", "gid", position=ended.position - 1)
    assert (before["redeemed"], before["refreshable"], before["ended"], before["jti"]) == (True, True, None, "jti")
    assert not {name for name in before if "digest" in name or name in {"nonce", "code_challenge"}}
    after = await asking.told("grant", "gid")
    assert (after["refreshable"], after["ended"]) == (False, "code_reused")


async def test_a_token_is_explained_by_the_facts_that_decide(asking: Asking) -> None:
    position = await asking.a_token()
    stream = f"application-{CLIENT}"
    off = await asking.write(stream, registry.ApplicationDisabled(client_id=CLIENT, reason="lost"))
    on = await asking.write(stream, registry.ApplicationEnabled(client_id=CLIENT))
    left = await asking.write(
        "session-sid",
        identity.SessionEnded(sub="freddie", sid="sid", reason=identity.SessionEndReason.SIGNED_OUT, tokens_end_at=FAR),
    )
    before = await asking.explain("jti", position=position - 1, issued_position=position)
    assert (before.verdict, before.reason) == ("refused", "not_issued")
    issued = await asking.explain("jti", position=position)
    assert (issued.verdict, issued.reason) == ("accepted", "")
    assert (issued.token.sub, issued.token.gid, issued.token.kid) == ("freddie", "gid", "kid")
    assert [(fact.position, fact.type) for fact in issued.facts] == [(position, "token_issuer.CodeRedeemed")]
    refused = await asking.explain("jti", position=off.position)
    assert (refused.verdict, refused.reason) == ("refused", "denied_client")
    assert [(fact.position, fact.decides) for fact in refused.facts] == [(position, False), (off.position, True)]
    lifted = await asking.explain("jti", position=on.position)
    assert lifted.verdict == "accepted"
    assert [fact.what for fact in lifted.facts[1:]] == [
        "denies the application while it stands, and was lifted",
        "lifts what stood against the application",
    ]
    ended = await asking.explain("jti")
    assert (ended.verdict, ended.reason) == ("refused", "denied_session")
    assert [fact.position for fact in ended.facts if fact.decides] == [left.position]
    # By where it was issued it is found without looking for it.
    assert (await asking.explain("jti", issued_position=position)).reason == "denied_session"
    state = await asking.told("token", "jti", position=off.position)
    assert (state["accepted"], state["reason"], state["position"]) == (False, "denied_client", position)
    assert (await asking.as_of("token", "jti", position=position - 1)).knowledge == "none"


async def test_the_key_that_is_named_decides_and_else_the_one_that_signed_then(asking: Asking) -> None:
    await asking.a_token()
    await asking.write("keys-signing", key("next"), issuer.SigningKeyActivated(kid="next", instead_of="kid"))
    await asking.write("keys-signing", issuer.SigningKeyCompromised(kid="next"))
    assert (await asking.explain("jti")).verdict == "accepted"
    named = await asking.explain("jti", kid="next")
    assert (named.verdict, named.reason, named.token.kid) == ("refused", "denied_key", "next")
    await asking.write("keys-signing", issuer.SigningKeyCompromised(kid="kid"))
    assert (await asking.explain("jti")).reason == "denied_key"
    assert (await asking.explain("jti", kid="forged")).reason == "unknown_key"


async def test_a_token_ends_by_time(asking: Asking) -> None:
    await asking.write(
        "token-short",
        issuer.AccessTokenIssued(
            jti="short", client_id=CLIENT, sub=CLIENT, scopes=(), audiences=("a",), access_token_seconds=-60
        ),
    )
    ended = await asking.explain("short")
    assert (ended.verdict, ended.reason) == ("refused", "expired")


async def test_a_token_from_an_exchange_is_explained_by_its_whole_chain(asking: Asking) -> None:
    """Each of these alone refuses it, and the fact that does is told."""
    await asking.a_token()

    async def exchanged(jti: str) -> int:
        event = issuer.AccessTokenExchanged(
            jti=jti,
            client_id="com.tourbus/api",
            sub="freddie",
            sid="sid",
            gid="gid",
            scopes=("read",),
            audiences=("https://api.example",),
            actors=("com.tourbus/api", "com.middle/api", CLIENT),
            derived_from=("between", "jti"),
            access_token_seconds=3600,
            ends_by=FAR,
        )
        return (await asking.write(f"token-{jti}", event)).position

    position = await exchanged("last")
    told = await asking.explain("last")
    assert (told.verdict, told.token.client_id, told.token.gid) == ("accepted", "com.tourbus/api", "gid")
    assert list(told.token.actors) == ["com.tourbus/api", "com.middle/api", CLIENT]
    assert list(told.token.derived_from) == ["between", "jti"]
    assert [(fact.position, fact.type) for fact in told.facts] == [(position, "token_issuer.AccessTokenExchanged")]
    for client_id in ("com.tourbus/api", "com.middle/api", CLIENT):
        stream = f"application-{client_id}"
        off = await asking.write(stream, registry.ApplicationDisabled(client_id=client_id, reason=""))
        refused = await asking.explain("last")
        assert (refused.reason, [fact.position for fact in refused.facts if fact.decides]) == (
            "denied_client",
            [off.position],
        )
        await asking.write(stream, registry.ApplicationEnabled(client_id=client_id))
        withdrawn = await asking.write(
            f"consent-{consent_id('freddie', client_id)}",
            identity.ConsentWithdrawn(sub="freddie", client_id=client_id),
        )
        refused = await asking.explain("last")
        assert (refused.reason, [fact.position for fact in refused.facts if fact.decides][-1]) == (
            "denied_grant",
            withdrawn.position,
        )
    await exchanged("later")
    assert (await asking.explain("later")).verdict == "accepted"
    revoked = await asking.write(
        "revocation-between", issuer.AccessTokenRevoked(jti="between", client_id=CLIENT, token_ends_at=FAR)
    )
    refused = await asking.explain("later")
    assert (refused.reason, [fact.position for fact in refused.facts if fact.decides]) == (
        "denied_token",
        [revoked.position],
    )
    assert (await asking.told("token", "later"))["derived_from"] == ["between", "jti"]


async def test_a_reference_token_is_explained_too(asking: Asking) -> None:
    stream = f"application-{CLIENT}"
    await asking.write(
        "reference-key",
        issuer.ReferenceTokenIssued(
            jti="key",
            digest="d" * 64,
            kind=issuer.ReferenceKind.PERSONAL,
            client_id=CLIENT,
            sub="freddie",
            scopes=("read",),
            audiences=("https://api.example",),
            expires_at=FAR,
        ),
    )
    assert (await asking.explain("key")).verdict == "accepted"
    narrowed = await asking.write(
        stream,
        registry.ApplicationChanged(client_id=CLIENT, settings=SETTINGS, narrowed=False, references_narrowed=True),
    )
    refused = await asking.explain("key")
    assert (refused.verdict, refused.reason, refused.token.kind) == ("refused", "denied_token", "pat")
    assert [fact.position for fact in refused.facts if fact.decides] == [narrowed.position]


async def test_an_unknown_token_is_unknown(asking: Asking) -> None:
    await asking.a_token()
    answer = await asking.explain("nobodys")
    assert (answer.verdict, answer.reason, answer.HasField("token")) == ("refused", "unknown_token", False)
    assert (await asking.as_of("token", "nobodys")).knowledge == "none"


async def test_it_is_looked_for_step_by_step(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past, "_STRETCH", 3)
    for number in range(8):
        await asking.write(f"user-{number}", identity.PasswordSet(sub=str(number)))
    position = await asking.a_token()
    for number in range(8):
        await asking.write(f"user-{number}", identity.PasswordReset(sub=str(number)))
    assert (await asking.explain("jti")).token.position == position
    assert (await asking.explain("nobodys")).reason == "unknown_token"


async def test_what_was_pruned_is_said_to_be(asking: Asking) -> None:
    position = await asking.a_token()
    facts = asking.ledger.facts
    facts.database.spoiled = True
    # As the care does it: the first partition goes as a whole, and another has been made before.
    for statement in (
        "DROP TABLE log.events_expiring_0",
        f"SELECT log.make_event_partition('expiring', {position + 1}, 16777216)",
        f"INSERT INTO log.pruned VALUES ({position}, 1, 2, 1, now())",  # noqa: S608  (a number)
    ):
        await facts.execute(statement)
    assert (await asking.explain("jti")).verdict == "pruned"
    assert (await asking.explain("jti", issued_position=position)).verdict == "pruned"
    assert (await asking.as_of("token", "jti")).knowledge == "pruned"
    assert (await asking.as_of("grant", "gid")).knowledge == "pruned"
    # A grant whose beginning is gone cannot be told of, though something of it is still there.
    await asking.write("grant-gid", redeemed("later"))
    assert (await asking.as_of("grant", "gid")).knowledge == "pruned"
    assert (await asking.explain("later")).verdict == "pruned"
    assert (await asking.told("application", CLIENT))["enabled"]


async def test_every_question_is_one_fact(asking: Asking) -> None:
    position = await asking.a_token()
    await asking.as_of("application", CLIENT, position=1)
    await asking.explain("jti")
    asked, _ = await asking.ledger.read(filter=pb.Filter(types=["ledger.LogQueried"]))
    said = [json.loads(event.data) for event in asked]
    assert said == [
        {"after": 0, "matching": ["kind=application", f"id={CLIENT}"], "question": "as_of", "until": 1},
        {"after": 0, "matching": ["jti=jti"], "question": "explanation", "until": None},
    ]
    assert [event.actor for event in asked] == ["user:auditor", "user:auditor"]
    assert [event.position for event in asked] == [position + 1, position + 2]


async def test_what_cannot_be_asked_is_refused_and_no_fact(asking: Asking) -> None:
    position = await asking.a_token()
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    for wrong in (
        asking.as_of("application", CLIENT, position=position + 1),
        asking.as_of("application", CLIENT, position=-1),
        asking.as_of("application", CLIENT, time=tomorrow),
        asking.as_of("application", CLIENT, time=datetime(1, 1, 1, tzinfo=UTC)),
        asking.as_of("application", ""),
        asking.as_of("application", "a\0b"),
        asking.as_of("application", "x" * 301),
        asking.as_of("universe", "x"),
        asking.explain("", position=1),
        asking.explain("jti", position=1, issued_position=-1),
        asking.explain("jti", position=1, kid="a b"),
    ):
        assert (await asking.refused(wrong)).startswith("INVALID_ARGUMENT")
    assert (await asking.refused(asking.as_of("user", "freddie", token="freddie"))).startswith("PERMISSION_DENIED")
    assert (await asking.refused(asking.explain("jti", token="nobody"))).startswith("UNAUTHENTICATED")
    moment = pb.Moment(time=Timestamp(seconds=-1, nanos=5))
    request = pb.AsOfRequest(kind="user", id="freddie", moment=moment)
    assert (await asking.refused(asking._ask(asking.ledger.stub.AsOf, request, "auditor"))).startswith("INVALID")


async def test_a_position_that_issued_something_else_is_refused(asking: Asking) -> None:
    position = await asking.a_token()
    with pytest.raises(grpc.aio.AioRpcError, match="did not issue this token"):
        await asking.explain("other", issued_position=position)
    with pytest.raises(grpc.aio.AioRpcError, match="has not come to"):
        await asking.explain("other", issued_position=position + 900)
