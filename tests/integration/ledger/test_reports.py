"""The reports over gRPC, from facts alone."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from protos.stagedoor.ledger.v1 import ledger_pb2 as pb
from services.identity import events as identity
from services.ledger import past, permission
from services.registry import events as registry
from services.resource import events as resource
from services.token_issuer import events as issuer
from shared.log.event import Personal
from tests.integration.ledger.serving import Serving
from tests.integration.ledger.test_looking_back import CLIENT, FAR, SETTINGS, opened, redeemed
from tests.support.facts import Facts

OTHER = "com.example/other"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def report(ledger: Serving, *, token: str = "auditor", **asked: Any) -> list[dict[str, Any]]:
    """All rows; what begins a report is looked at."""
    request = pb.ReportRequest(**asked)
    metadata = (("authorization", f"Bearer {token}"),)
    begins, *answers = [one async for one in ledger.stub.Report(request, metadata=metadata, timeout=20)]
    assert begins.begins.pruned_before == 0
    rows: list[dict[str, Any]] = [json.loads(answer.row) for answer in answers]
    assert all(list(row) == list(begins.begins.columns) for row in rows)
    return rows


def reference(jti: str, sub: str = "freddie") -> issuer.ReferenceTokenIssued:
    return issuer.ReferenceTokenIssued(
        jti=jti,
        digest="d" * 64,
        kind=issuer.ReferenceKind.PERSONAL,
        client_id=CLIENT,
        sub=sub,
        scopes=("read",),
        audiences=("https://api.example",),
        expires_at=FAR,
    )


async def a_story(facts: Facts) -> None:
    """Two users, two applications, and what they let each other do."""
    for client_id in (CLIENT, OTHER):
        registered = registry.ApplicationRegistered(client_id=client_id, settings=SETTINGS)
        await facts.write(f"application-{client_id}", registered)
    for sub in ("freddie", "brian"):
        await facts.write(
            f"user-{sub}",
            identity.UserRegistered(
                sub=sub,
                user_name=Personal(sub),
                kind=identity.UserKind.INTERNAL,
                profile=identity.Profile(given_name=Personal(sub)),
                roles=(identity.Role.AUDITOR,) if sub == "brian" else (),
            ),
        )
    await facts.write(
        f"consent-freddie.{CLIENT}", identity.ConsentGiven(sub="freddie", client_id=CLIENT, scopes=("read",))
    )
    await facts.write("grant-gid", opened())
    await facts.write("grant-gid", redeemed())
    await facts.write("grant-brians", opened(gid="brians", sub="brian", sid="another"))
    await facts.write("reference-key", reference("key"))


def means(rows: list[dict[str, Any]]) -> set[tuple[str, str, str, str]]:
    return {(row["sub"], row["client_id"], row["means"], row["state"]) for row in rows}


async def test_who_has_access_now_and_who_had(ledger: Serving) -> None:
    facts = ledger.facts
    await a_story(facts)
    head = (await (await facts.log("ledger")).head()).position
    freddies = {("freddie", CLIENT, one) for one in ("consent", "grant", "pat")}
    itself = {(client_id, client_id, "client_credentials", "active") for client_id in (CLIENT, OTHER)}
    everything = {
        *((*one, "active") for one in freddies),
        *itself,
        ("brian", CLIENT, "grant", "active"),
        ("brian", "", "role", "active"),
    }
    assert means(await report(ledger, access=pb.AccessReport())) == everything
    # Disabled, they have what they had as soon as they are enabled again.
    await facts.write("user-freddie", identity.UserDisabled(sub="freddie", reason=""))
    disabled = means(await report(ledger, access=pb.AccessReport(sub="freddie")))
    assert disabled == {(*one, "user_disabled") for one in freddies}
    await facts.write("user-freddie", identity.UserEnabled(sub="freddie"))
    await facts.write(f"application-{CLIENT}", registry.ApplicationDisabled(client_id=CLIENT, reason=""))
    off = means(await report(ledger, access=pb.AccessReport(client_id=CLIENT, sub="freddie")))
    assert off == {(*one, "application_disabled") for one in freddies}
    await facts.write(f"application-{CLIENT}", registry.ApplicationEnabled(client_id=CLIENT))
    # A token that is taken back leaves its grant; a cut-off ends the grants of before for good.
    await facts.write("revocation-jti", issuer.AccessTokenRevoked(jti="jti", client_id=CLIENT, token_ends_at=FAR))
    assert means(await report(ledger, access=pb.AccessReport())) == everything
    await facts.write(f"consent-freddie.{CLIENT}", identity.ConsentWithdrawn(sub="freddie", client_id=CLIENT))
    await facts.write(
        "grant-brians",
        issuer.GrantEnded(gid="brians", reason=issuer.GrantEndReason.CODE_REUSED, tokens_end_at=FAR),
    )
    assert means(await report(ledger, access=pb.AccessReport())) == {*itself, ("brian", "", "role", "active")}
    await facts.write(f"application-{OTHER}", registry.ApplicationUninstalled(client_id=OTHER))
    assert means(await report(ledger, access=pb.AccessReport(client_id=OTHER))) == set()
    await facts.write("user-brian", identity.UserErased(sub="brian"))
    assert means(await report(ledger, access=pb.AccessReport(sub="brian"))) == set()
    then = await report(ledger, access=pb.AccessReport(), moment=pb.Moment(position=head))
    assert means(then) == everything


async def test_who_may_go_on_with_what_it_is_sent(ledger: Serving) -> None:
    facts, client_id = ledger.facts, "com.tourbus/api"
    settings = SETTINGS.model_copy(update={"grants": (registry.GrantType.TOKEN_EXCHANGE,)})
    stream = f"application-{client_id}"
    await facts.write(stream, registry.ApplicationRegistered(client_id=client_id, settings=settings))
    assert means(await report(ledger, access=pb.AccessReport())) == {("", client_id, "token_exchange", "active")}
    await facts.write(stream, registry.ApplicationDisabled(client_id=client_id, reason=""))
    off = means(await report(ledger, access=pb.AccessReport(client_id=client_id)))
    assert off == {("", client_id, "token_exchange", "application_disabled")}
    await facts.write(stream, registry.ApplicationUninstalled(client_id=client_id))
    assert means(await report(ledger, access=pb.AccessReport())) == set()


async def test_it_is_read_page_by_page(ledger: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    await a_story(ledger.facts)
    whole = means(await report(ledger, access=pb.AccessReport()))
    monkeypatch.setattr(past, "_STRETCH", 3)
    monkeypatch.setattr(past, "_PAGE", 2)
    assert means(await report(ledger, access=pb.AccessReport())) == whole
    rows = await report(ledger, applications=pb.ApplicationsReport())
    assert [row["client_id"] for row in rows] == [OTHER, CLIENT]


async def test_a_reader_whose_role_was_taken_is_cut_off(ledger: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    await a_story(ledger.facts)
    monkeypatch.setattr(permission, "QUIET_SECONDS", 0.0)
    ledger.people.roles = _OnceOnly(ledger.people.roles)
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await report(ledger, access=pb.AccessReport())
    assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert refusal.value.details() == "the role was removed"


class _OnceOnly(dict[str, set[str]]):
    """Roles that somebody has when they ask, and not any more when they are looked at again."""

    def __getitem__(self, token: str) -> set[str]:
        roles = super().__getitem__(token)
        self[token] = set()
        return roles


async def test_who_changed_an_application_and_what(ledger: Serving) -> None:
    facts = ledger.facts
    await a_story(facts)
    changed = SETTINGS.model_copy(update={"scopes": ("read", "update"), "display_name": "=1+1"})
    await facts.write(
        f"application-{CLIENT}",
        registry.ApplicationChanged(client_id=CLIENT, settings=changed, narrowed=False),
        registry.ApplicationDisabled(client_id=CLIENT, reason="lost"),
    )
    rows = await report(ledger, changes=pb.ChangesReport(client_id=CLIENT))
    assert [(row["what"].partition(".")[2], row["member"], row["before"], row["after"]) for row in rows] == [
        ("ApplicationRegistered", "state", None, "trusted"),
        ("ApplicationChanged", "display_name", "An application", "=1+1"),
        ("ApplicationChanged", "scopes", ["read"], ["read", "update"]),
        ("ApplicationDisabled", "enabled", True, False),
        ("ApplicationDisabled", "reason", None, "lost"),
    ]
    assert {row["actor"] for row in rows} == {"service:registry"}
    with pytest.raises(grpc.aio.AioRpcError, match="no such application"):
        await report(ledger, changes=pb.ChangesReport(client_id="com.example/nobody"))


async def test_applications_by_their_last_use(ledger: Serving) -> None:
    facts = ledger.facts
    await a_story(facts)
    by_key = await facts.write("use-one", issuer.ReferenceTokenUsed(jti="key", used_at=NOW))
    rows = await report(ledger, applications=pb.ApplicationsReport())
    assert [(row["client_id"], row["last_use"], row["position"]) for row in rows] == [
        (OTHER, "", None),
        (CLIENT, "token_issuer.ReferenceTokenUsed", by_key.position),
    ]
    renewed = issuer.RefreshTokenRotated(
        gid="gid",
        jti="next",
        presented_digest="r" * 64,
        refresh_digest="s" * 64,
        scopes=("read",),
        audiences=("https://api.example",),
        access_token_seconds=3600,
        rotated_at=NOW,
        tokens_end_at=FAR,
    )
    last = await facts.write("grant-gid", renewed)
    await facts.write("revocation-next", issuer.AccessTokenRevoked(jti="next", client_id=CLIENT, token_ends_at=FAR))
    rows = await report(ledger, applications=pb.ApplicationsReport())
    assert (rows[-1]["last_use"], rows[-1]["position"]) == ("token_issuer.RefreshTokenRotated", last.position)


async def test_reference_tokens_by_their_last_use(ledger: Serving) -> None:
    facts = ledger.facts
    await a_story(facts)
    await facts.write("reference-other", reference("other", sub="brian"))
    used = await facts.write("use-one", issuer.ReferenceTokenUsed(jti="key", used_at=NOW))
    rows = await report(ledger, references=pb.ReferencesReport())
    assert [(row["jti"], row["last_used_at"] is None) for row in rows] == [("other", True), ("key", False)]
    assert rows[1]["last_used_at"].startswith(used.recorded_at.isoformat()[:19])
    assert await report(ledger, references=pb.ReferencesReport(unused_days=1)) == []
    await facts.write("user-brian", identity.PasswordReset(sub="brian"))
    assert [row["jti"] for row in await report(ledger, references=pb.ReferencesReport())] == ["key"]


async def test_what_somebody_did(ledger: Serving) -> None:
    facts = ledger.facts
    await a_story(facts)
    through = await facts.write("tour-one", resource.TourRemoved(tour_id="one", sub="freddie", client_id=CLIENT))
    await facts.write("tour-two", resource.TourRemoved(tour_id="two", sub="freddie", client_id=OTHER))
    await report(ledger, token="brian", applications=pb.ApplicationsReport())
    rows = await report(ledger, actions=pb.ActionsReport(sub="brian"))
    assert [(row["what"], row["details"]["question"]) for row in rows] == [("ledger.LogQueried", "report")]
    rows = await report(ledger, actions=pb.ActionsReport(client_id=CLIENT))
    assert [(row["position"], row["sub"], row["details"]) for row in rows] == [
        (through.position, "freddie", {"tour_id": "one"})
    ]
    later = pb.ActionsReport(client_id=CLIENT)
    later.since.FromDatetime(through.recorded_at + timedelta(microseconds=1))
    assert await report(ledger, actions=later) == []


async def test_failed_sign_ins(ledger: Serving) -> None:
    facts = ledger.facts
    for sub, wrong in (("freddie", 3), (None, 40)):
        failed = identity.SignInsFailed(sub=sub, wrong=wrong, not_looked_at=1, first_at=NOW, last_at=NOW)
        await facts.write(f"failures-{wrong}", failed)
    rows = await report(ledger, failed_sign_ins=pb.FailedSignInsReport())
    assert [(row["sub"], row["wrong"], row["not_looked_at"]) for row in rows] == [("freddie", 3, 1), (None, 40, 1)]
    rows = await report(ledger, failed_sign_ins=pb.FailedSignInsReport(sub="freddie"))
    assert [row["wrong"] for row in rows] == [3]


async def test_each_report_is_one_fact_and_what_is_none_is_refused(ledger: Serving) -> None:
    await a_story(ledger.facts)
    log = await ledger.facts.log("ledger")
    head = (await log.head()).position
    await report(ledger, access=pb.AccessReport(sub="freddie"))
    (asked,) = await log.read_rows(head, limit=10)
    assert json.loads(asked.data)["matching"] == ["report=access", "sub=freddie"]
    head = asked.position
    for wrong in (
        {},
        {"actions": pb.ActionsReport()},
        {"actions": pb.ActionsReport(sub="a", client_id="b")},
        {"changes": pb.ChangesReport()},
        {"access": pb.AccessReport(sub="a b")},
        {"references": pb.ReferencesReport(unused_days=-1)},
        {"applications": pb.ApplicationsReport(), "moment": pb.Moment(position=head + 1)},
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await report(ledger, **wrong)
        assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await report(ledger, token="freddie", applications=pb.ApplicationsReport())
    assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert (await log.head()).position == head
